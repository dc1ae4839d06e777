//! Trains on CIFAR-10, fits the Gaussians, and prints the paper's table: accuracy, and AUROC against other sets.
//!
//! `cargo run --release --example train_cifar10 -- --data DIR`, where DIR holds `cifar-10-batches-bin/`, and to compare with
//! `cifar-100-binary/`, `test_32x32.mat` (SVHN), `LSUN_fix/`, `Imagenet_fix/`. Without `--data` it looks in `data/`, downloads
//! (`--features download`), or takes the embedded shapes and a small network: a minute on two cores. Ctrl-C saves a checkpoint;
//! the same command goes on. The detector in `RUN/detector` lets 95% of the held-out training images pass; PyTorch reads its
//! `model.safetensors`.

#[path = "../crates/mcl-cli/src/interrupt.rs"]
mod interrupt;
#[path = "../crates/mcl-cli/src/output.rs"]
mod output;
#[path = "shared/sets.rs"]
mod sets;

use std::path::PathBuf;
use std::{env, error::Error, io, io::Write, process::ExitCode, sync::atomic::Ordering::Relaxed};

use burn_mcl::data::{self, ImageSet, augment::SimClrAugmentConfig, shapes::ShapesSplit};
use burn_mcl::detector::{Detector, DetectorConfig};
use burn_mcl::infer::{MahalanobisConfig, Scorer, Shrinkage, SoftmaxScorer, TestTimeViews};
use burn_mcl::loss::{MclLossConfig, NtXentLossConfig, SupConLossConfig};
use burn_mcl::model::{MclModelConfig, Precision, ResNetConfig, ResNetDepth};
use burn_mcl::report::{Part, Report};
use burn_mcl::train::{
    ClassifierProbe, CrossEntropyConfig, Objective, TrainConfig, Trainer, read_history, read_validations,
};
use burn_mcl::{
    Progress::Terminal, comparison::Comparison, embed::embed, evaluation::Evaluation, scored::ScoredSet,
};
use clap::{Parser, ValueEnum};
use sets::{Sets, cifar10_sets, validation_sets, with_openood};

#[derive(Parser)]
#[command(version, about = "Trains on CIFAR-10 and prints the paper's table", args_override_self = true)]
#[command(
    after_help = "The defaults are the paper's: weeks on a CPU. A small run (docs/results.md):\n  --images 10000 \
    --depth 18 --width 16 --hidden 512 --batch 128 --steps 505"
)]
struct Settings {
    /// Folder with the data sets
    #[arg(long)]
    data: Option<PathBuf>,
    /// Folder of the run: settings, log, checkpoints, results; the same command resumes it, other settings need another
    #[arg(long, default_value = "runs/cifar10")]
    run: PathBuf,
    /// Train on the first N images only
    #[arg(long)]
    images: Option<usize>,
    /// Keep the last N training images out of training: they set the detector's threshold
    #[arg(long, default_value_t = 1000)]
    hold_out: usize,
    /// Judge by validation data instead of the test sets, to choose settings: the 5,000 training images before those held
    /// out, and 20 classes of CIFAR-100 (docs/recipe.md)
    #[arg(long)]
    validate: bool,
    /// Report the test images and the near and far sets that OpenOOD's lists name: DIR holds benchmark_imglist/ and images_classic/
    #[arg(long, value_name = "DIR", conflicts_with = "validate")]
    openood: Option<PathBuf>,
    /// Judge the network every N steps by 1,000 of the validation images and 1,000 of the anomalous ones, for the curves in
    /// RUN/report; needs --validate and a loss with a classifier
    #[arg(long, value_name = "N", requires = "validate")]
    judge_every: Option<usize>,
    /// Print all built-in scores side by side, and which to take; choose by --validate
    #[arg(long)]
    compare: bool,
    /// Settings to start from: the paper's, or those of a run of one hour or six on two CPU cores, with another network, a
    /// classifier and no rotations
    #[arg(long, value_enum, default_value_t = Recipe::Paper)]
    recipe: Recipe,
    /// Another loss than the recipe's [default: paper mcl, others mcl-cross-entropy]
    #[arg(long, value_enum)]
    loss: Option<Loss>,
    /// ResNet-18, -34 or -50 of the paper's recipe
    #[arg(long, default_value_t = 34)]
    depth: u32,
    /// Channels of the first stage of the ResNet
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// Units of the projection head's hidden layer [default: paper 2048, others 512]
    #[arg(long)]
    hidden: Option<usize>,
    /// Images in a batch; views are 8 times as many with the paper's rotations, twice with none [default: paper 256, others 512]
    #[arg(long)]
    batch: Option<usize>,
    /// [default: paper 400, fast 14, strong 45]
    #[arg(long)]
    epochs: Option<usize>,
    /// Length of the run in steps, instead of epochs
    #[arg(long)]
    steps: Option<usize>,
    /// Steps of linear warm-up; the paper has none [default: 10 epochs, at most a third of the run]
    #[arg(long)]
    warmup_steps: Option<usize>,
    /// Peak learning rate; scaled with the batch if not given
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Smallest crop of the paper's recipe, as a share of the image
    #[arg(long, default_value_t = 0.08)]
    min_crop: f64,
    /// Precision of the products on CPUs that have bf16 [default: paper f32, others bf16]
    #[arg(long, value_enum)]
    precision: Option<Products>,
    /// Added to the variances of each class; fewer images need more. Not given, the recipes fast and strong shrink the covariances
    #[arg(long)]
    ridge: Option<f64>,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Any setting of the training, by its path in RUN/config.json, as JSON: --set augment.shift=2; may be repeated
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = path_and_value)]
    others: Vec<(String, String)>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Recipe {
    Paper,
    Fast,
    Strong,
}

#[derive(Clone, Copy, ValueEnum)]
enum Products {
    F32,
    Bf16,
}

#[derive(Clone, Copy, ValueEnum)]
enum Loss {
    Mcl,
    /// MCL as in the released code, with the expectation of its attraction instead of a draw
    Released,
    NtXent,
    SupCon,
    /// A classifier of (class, rotation) alone
    CrossEntropy,
    /// MCL, and the classifier beside it
    MclCrossEntropy,
}

fn main() -> ExitCode {
    output::end(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut settings = Settings::parse();
    let device = burn_mcl::device::from_env()?;
    let mut sets = match find_cifar10(settings.data.as_ref()) {
        Some(root) if settings.validate => validation_sets(&root, settings.hold_out)?,
        Some(root) => cifar10_sets(&root, settings.hold_out)?,
        None => shapes_sets(&mut settings),
    };
    if let Some(root) = &settings.openood {
        sets = with_openood(sets, root)?;
    }
    sets.train = sets.train.take(settings.images.unwrap_or(usize::MAX));

    let config = train_config(&settings, sets.train.class_names().len())?;
    let mut gaussians = MahalanobisConfig::new();
    if settings.recipe != Recipe::Paper {
        gaussians = gaussians.with_shrinkage(Shrinkage::Oas);
    }
    gaussians.ridge = settings.ridge.unwrap_or(gaussians.ridge);
    let judging = DetectorConfig::suited_to(&config).with_gaussians(gaussians);
    let views = judging.views;
    judging.check_images(&sets.train, &sets.held_out, config.model.projection_dim)?;
    writeln!(
        io::stdout(),
        "{} images, {} steps, {:.1e} FLOP on {device:?}",
        sets.train.len(),
        config.total_steps(sets.train.len()),
        config.flop(sets.train.len(), sets.train.size())
    )?;
    interrupt::stop_on_signals();
    let mut trainer = Trainer::new(config.clone(), &device)?.run_dir(&settings.run).progress(Terminal);
    if let Some(every) = settings.judge_every {
        let few = |set: &ImageSet| set.subset(&(0..set.len().min(1000)).collect::<Vec<_>>());
        let anomalous = few(&sets.ood[0].1)?;
        trainer = trainer
            .validate(every, ClassifierProbe::new(few(&sets.test)?).anomalous(sets.ood[0].0, anomalous));
    }
    let model = trainer.observer(interrupt::unless_stopped(&interrupt::STOP)).fit(&sets.train)?;
    interrupt::STOP.store(true, Relaxed);

    let detector =
        Detector::fit(&model, config.model.clone(), &sets.train, &sets.held_out, judging, Terminal)?;
    let detector = detector.with_train_config(config.clone());
    detector.save(settings.run.join("detector"))?;
    let names = sets.train.class_names();
    let softmax = SoftmaxScorer::new(names.len(), config.aux_classes());
    // The detector's own score first, and where there is a classifier the others beside it.
    let mut ways: Vec<(&str, &dyn Scorer)> = vec![("", detector.scored_by())];
    if config.model.classifier.is_some() {
        ways.push(("the highest probability instead of the entropy", &softmax));
        ways.push(("the Gaussians of the projections", detector.scorer()));
    }
    let scorers: Vec<_> = ways.iter().map(|way| way.1).collect();
    let score = |name, set| {
        let scored = ScoredSet::each(&model, &scorers, set, views, 256, Terminal)?;
        Ok::<Vec<_>, Box<dyn Error>>(scored.into_iter().map(|scored| Part::new(name, set, scored)).collect())
    };
    let mut test = score("test", &sets.test)?;
    let mut ood = sets.ood.iter().map(|(name, set)| score(*name, set)).collect::<Result<Vec<_>, _>>()?;

    writeln!(io::stdout())?;
    for (way, (name, _)) in ways.iter().enumerate().rev() {
        let ood: Vec<_> = ood.iter_mut().map(|parts| parts.remove(way)).collect();
        let test = test.remove(way);
        let evaluation = Evaluation::new(&test, &ood, names)?;
        let evaluation =
            sets.means.iter().fold(evaluation, |table, (name, sets)| table.with_mean(name, sets));
        if way > 0 {
            writeln!(io::stdout(), "By {name}:\n{evaluation}\n")?;
            continue;
        }
        writeln!(io::stdout(), "{evaluation}")?;
        let judged = |part| judged(part, detector.config());
        let projections = embed(&model, &sets.train, TestTimeViews::Identity, 256, Terminal)?;
        let report = Report::new("train_cifar10", &sets.train, &projections, judged(test))
            .anomalous(ood.into_iter().map(judged))
            .history(read_history(&settings.run)?)
            .validations(&read_validations(&settings.run)?, config.views_per_batch())
            .settings("Training", &config)
            .settings("All ways of scoring", &evaluation);
        let page = report.write(settings.run.join("report"))?;
        writeln!(io::stdout(), "\n{}", data::printable(page))?;
    }
    if settings.compare {
        let ood: Vec<_> = sets.ood.iter().map(|(name, set)| (*name, set)).collect();
        let found = Comparison::new(&model, &sets.train, &sets.test, &ood, views, 256, Terminal)?;
        writeln!(io::stdout(), "\n{found}")?;
    }
    Ok(())
}

/// A scored set as the detector judges it.
fn judged<'a>(part: Part<'a>, config: &DetectorConfig) -> Part<'a> {
    part.judged(config.views, config.aggregation)
}

/// The two sides of `PATH=VALUE`.
fn path_and_value(text: &str) -> Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or("must be PATH=VALUE")?;
    Ok((path.into(), value.into()))
}

fn train_config(settings: &Settings, classes: usize) -> Result<TrainConfig, Box<dyn Error>> {
    let mut config = match settings.recipe {
        Recipe::Paper => paper_config(settings)?,
        Recipe::Fast => TrainConfig::fast(classes),
        Recipe::Strong => TrainConfig::strong(classes),
    };
    if let Some(loss) = settings.loss {
        config.objective = objective(loss);
        let classified = matches!(loss, Loss::CrossEntropy | Loss::MclCrossEntropy);
        config.model.classifier = classified.then_some(classes * config.aux_classes());
    }
    config.model.hidden = settings.hidden.unwrap_or(config.model.hidden);
    config.model.precision = match settings.precision {
        Some(Products::F32) => Precision::F32,
        Some(Products::Bf16) => Precision::Bf16,
        None => config.model.precision,
    };
    config.images_per_batch = settings.batch.unwrap_or(config.images_per_batch);
    config.epochs = settings.epochs.unwrap_or(config.epochs);
    config.learning_rate = settings.learning_rate.or(config.learning_rate);
    let longest = settings.steps.map_or(usize::MAX, |steps| steps / 3);
    config.warmup_steps = settings.warmup_steps.or(config.warmup_steps.map(|steps| steps.min(longest)));
    config = config.with_steps(settings.steps).with_seed(settings.seed);
    for (path, value) in &settings.others {
        config = config.with_setting(path, value)?;
    }
    Ok(config)
}

fn objective(loss: Loss) -> Objective {
    match loss {
        Loss::Mcl => Objective::Mcl(MclLossConfig::new()),
        Loss::Released => Objective::Mcl(MclLossConfig::released()),
        Loss::NtXent => Objective::NtXent(NtXentLossConfig::new()),
        Loss::SupCon => Objective::SupCon(SupConLossConfig::new()),
        Loss::CrossEntropy => Objective::CrossEntropy(CrossEntropyConfig::new()),
        Loss::MclCrossEntropy => Objective::MclCrossEntropy {
            mcl: MclLossConfig::new(),
            cross_entropy: CrossEntropyConfig::new(),
            weight: 1.0,
        },
    }
}

fn paper_config(settings: &Settings) -> Result<TrainConfig, Box<dyn Error>> {
    let depth = ResNetDepth::from_layers(settings.depth).ok_or("--depth must be 18, 34 or 50")?;
    let resnet = ResNetConfig::new(depth).with_width(settings.width);
    Ok(TrainConfig::new()
        .with_model(MclModelConfig::new(resnet))
        .with_augment(SimClrAugmentConfig::new().with_crop_scale((settings.min_crop, 1.0))))
}

/// The folder that CIFAR-10 is in: the one given, or `data`, filled by a download where that is compiled in.
fn find_cifar10(given: Option<&PathBuf>) -> Option<PathBuf> {
    let root = given.cloned().unwrap_or_else(|| "data".into());
    let there = given.is_some() || root.join("cifar-10-batches-bin").is_dir();
    #[cfg(feature = "download")]
    let there = there || {
        use data::download::{Event, Published, ensure_observed};
        let show = |event: Event<'_>| match event {
            Event::Received { file, bytes, total } => {
                eprint!("\r{file}: {} of {} MB", bytes / 1_000_000, total / 1_000_000);
            }
            _ => eprintln!("another process is downloading: waiting for it"),
        };
        let ensure = |set| ensure_observed(set, &root, &show);
        let fetched = ensure(Published::Cifar10).and_then(|()| ensure(Published::Cifar100));
        fetched.inspect_err(|error| eprintln!("{error}")).is_ok()
    };
    there.then_some(root)
}

/// The embedded set, and settings small enough for it.
fn shapes_sets(settings: &mut Settings) -> Sets {
    eprintln!(
        "\n*** CIFAR-10 was not found: this run uses the embedded shapes and a small network. ***\n\
         *** Its figures say that everything works, and nothing about CIFAR-10. Give --data DIR. ***\n"
    );
    let small = "_ --run runs/shapes --depth 18 --width 8 --hidden 128 --batch 32 --steps 300 \
                 --learning-rate 0.1 --min-crop 0.5";
    *settings = Settings::parse_from(small.split(' ').map(Into::into).chain(env::args_os().skip(1)));
    let ood = [("near shapes", ShapesSplit::NearOod), ("far textures", ShapesSplit::FarOod)];
    let generate = |split, per_class| data::shapes::generate(split, per_class, 0);
    let (train, test) = (generate(ShapesSplit::Train, 200), generate(ShapesSplit::Test, 50));
    let held_out = data::shapes::generate(ShapesSplit::Train, 50, 1); // other images of the same shapes
    let ood = ood.map(|(name, split)| (name, generate(split, 50))).into();
    Sets { train, held_out, test, ood, means: Vec::new() }
}
