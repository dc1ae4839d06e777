//! Trains on CIFAR-10, fits the Gaussians, and prints the paper's table: accuracy, and AUROC against other sets.
//!
//! ```text
//! cargo run --release --example train_cifar10 -- --data DIR
//! ```
//!
//! DIR holds `cifar-10-batches-bin/`, and beside it what there is to compare with: `cifar-100-binary/`,
//! `test_32x32.mat` (SVHN), `LSUN_fix/`, `Imagenet_fix/`. Without `--data` it looks in `data/`, downloads (with
//! `--features download`), or falls back to the embedded shapes and a small network: about three minutes on two cores.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use burn::tensor::Device;
use burn_mcl::Progress;
use burn_mcl::data::{self, ImageSet, Split, augment::SimClrAugmentConfig, shapes::ShapesSplit};
use burn_mcl::detector::fit_gaussians;
use burn_mcl::evaluation::evaluate;
use burn_mcl::infer::MahalanobisConfig;
use burn_mcl::loss::{Formulation, MclLossConfig, NtXentLossConfig, SupConLossConfig};
use burn_mcl::model::{MclModelConfig, ResNetConfig, ResNetDepth};
use burn_mcl::train::{Objective, TrainConfig, Trainer};
use clap::{Parser, ValueEnum};

#[derive(Parser)]
#[command(about = "Trains on CIFAR-10 and prints the paper's table", args_override_self = true)]
struct Settings {
    /// Folder with the data sets
    #[arg(long)]
    data: Option<PathBuf>,
    /// Folder of the run: settings, log, checkpoints, results; the same command resumes it
    #[arg(long, default_value = "runs/cifar10")]
    run: PathBuf,
    /// Train on the first N images only
    #[arg(long)]
    images: Option<usize>,
    #[arg(long, value_enum, default_value_t = Loss::Mcl)]
    loss: Loss,
    /// ResNet-18, -34 or -50
    #[arg(long, default_value_t = 34)]
    depth: u32,
    /// Channels of the first stage
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// Units of the projection head's hidden layer
    #[arg(long, default_value_t = 2048)]
    hidden: usize,
    /// Images in a batch; views are 8 times as many
    #[arg(long, default_value_t = 256)]
    batch: usize,
    #[arg(long, default_value_t = 400)]
    epochs: usize,
    /// Length of the run in steps, instead of epochs
    #[arg(long)]
    steps: Option<usize>,
    #[arg(long, default_value_t = 0)]
    warmup_steps: usize,
    /// Peak learning rate; scaled with the batch if not given
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Smallest crop, as a share of the image
    #[arg(long, default_value_t = 0.08)]
    min_crop: f64,
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Loss {
    Mcl,
    /// MCL as in the released code
    Released,
    NtXent,
    SupCon,
}

struct Sets {
    train: ImageSet,
    test: ImageSet,
    ood: Vec<(&'static str, ImageSet)>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut settings = Settings::parse();
    let device = Device::default();
    let mut sets = match find_cifar10(settings.data.as_ref()) {
        Some(root) => cifar10_sets(&root)?,
        None => shapes_sets(&mut settings),
    };
    if let Some(images) = settings.images {
        sets.train = sets.train.take(images);
    }

    let config = train_config(&settings)?;
    let (images, views) = (sets.train.len(), config.views_per_batch());
    println!("{images} training images, {} steps of {views} views on {device:?}", config.total_steps(images));
    let started = Instant::now();
    let mut waited = 0.0;
    let model = Trainer::new(config, &device)?
        .run_dir(&settings.run)
        .progress(Progress::Terminal)
        .observer(|step| {
            waited += step.data_wait * views as f64 / step.views_per_second;
            ControlFlow::Continue(())
        })
        .fit(&sets.train)?;
    let took = started.elapsed();
    println!("trained in {took:.0?}, {:.1} % of it waiting for batches", 100.0 * waited / took.as_secs_f64());

    let started = Instant::now();
    let gaussians = fit_gaussians(&model, &sets.train, &MahalanobisConfig::new(), 256, Progress::Terminal)?;
    let ood: Vec<(&str, &ImageSet)> = sets.ood.iter().map(|(name, set)| (*name, set)).collect();
    let evaluation = evaluate(&model, &gaussians, &sets.test, &ood, 128, Progress::Terminal)?;
    println!("evaluated in {:.0?}\n\n{evaluation}\n", started.elapsed());

    let results = settings.run.join("results.json");
    fs::write(&results, serde_json::to_string_pretty(&evaluation)?)?;
    println!("{}", results.display());
    Ok(())
}

fn train_config(settings: &Settings) -> Result<TrainConfig, Box<dyn Error>> {
    let depth = match settings.depth {
        18 => ResNetDepth::ResNet18,
        34 => ResNetDepth::ResNet34,
        50 => ResNetDepth::ResNet50,
        other => return Err(format!("--depth is {other}, but must be 18, 34 or 50").into()),
    };
    let objective = match settings.loss {
        Loss::Mcl => Objective::Mcl(MclLossConfig::new()),
        Loss::Released => {
            Objective::Mcl(MclLossConfig::new().with_beta(2.0).with_formulation(Formulation::Released))
        }
        Loss::NtXent => Objective::NtXent(NtXentLossConfig::new()),
        Loss::SupCon => Objective::SupCon(SupConLossConfig::new()),
    };
    let resnet = ResNetConfig::new(depth).with_width(settings.width);
    Ok(TrainConfig::new()
        .with_model(MclModelConfig::new(resnet).with_hidden(settings.hidden))
        .with_objective(objective)
        .with_augment(SimClrAugmentConfig::new().with_crop_scale((settings.min_crop, 1.0)))
        .with_images_per_batch(settings.batch)
        .with_epochs(settings.epochs)
        .with_steps(settings.steps)
        .with_warmup_steps(settings.warmup_steps)
        .with_learning_rate(settings.learning_rate)
        .with_seed(settings.seed))
}

/// The folder that CIFAR-10 is in: the one given, or `data`, filled by a download where that is compiled in.
fn find_cifar10(given: Option<&PathBuf>) -> Option<PathBuf> {
    let root = given.cloned().unwrap_or_else(|| "data".into());
    if given.is_some() || root.join("cifar-10-batches-bin").is_dir() {
        return Some(root);
    }
    #[cfg(feature = "download")]
    {
        use data::download::{Published, ensure};
        match ensure(Published::Cifar10, &root).and_then(|()| ensure(Published::Cifar100, &root)) {
            Ok(()) => return Some(root),
            Err(error) => eprintln!("{error}"),
        }
    }
    None
}

fn cifar10_sets(root: &Path) -> Result<Sets, Box<dyn Error>> {
    let candidates = [
        ("SVHN", data::svhn::load(root, Split::Test)),
        ("LSUN-Fix", data::lsun_fix::load(root)),
        ("ImageNet-Fix", data::imagenet_fix::load(root)),
        ("CIFAR-100", data::cifar100::load(root, Split::Test)),
    ];
    let mut ood = Vec::new();
    for (name, set) in candidates {
        match set {
            Ok(set) => ood.push((name, set)),
            Err(error) => eprintln!("without {name}: {error}"),
        }
    }
    let load = |split| data::cifar10::load(root, split);
    Ok(Sets { train: load(Split::Train)?, test: load(Split::Test)?, ood })
}

/// The embedded set, and settings small enough for it.
fn shapes_sets(settings: &mut Settings) -> Sets {
    eprintln!(
        "\n*** CIFAR-10 was not found: this run uses the embedded shapes and a small network. ***\n\
         *** Its figures say that everything works, and nothing about CIFAR-10. Give --data DIR. ***\n"
    );
    let small = "_ --run runs/shapes --depth 18 --width 8 --hidden 128 --batch 32 --steps 300 \
                 --warmup-steps 10 --learning-rate 0.1 --min-crop 0.5";
    *settings = Settings::parse_from(small.split(' ').map(Into::into).chain(env::args_os().skip(1)));
    let generate = |split, per_class| data::shapes::generate(split, per_class, 0);
    Sets {
        train: generate(ShapesSplit::Train, 200),
        test: generate(ShapesSplit::Test, 50),
        ood: vec![
            ("near shapes", generate(ShapesSplit::NearOod, 50)),
            ("far textures", generate(ShapesSplit::FarOod, 50)),
        ],
    }
}
