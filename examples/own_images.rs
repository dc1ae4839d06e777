//! Learns what your pictures look like, then finds those that look otherwise.
//!
//! ```text
//! cargo run --release --example own_images -- TRAIN_DIR --normal TEST_DIR --anomalous OTHER_DIR
//! ```
//!
//! Each folder holds one folder a class, or pictures only, which are then one class. TRAIN_DIR holds normal pictures, some
//! of which are held out to place the threshold; TEST_DIR holds other normal pictures, OTHER_DIR anomalies: both only to
//! see how well it works. The run folder gets the trained detector and a report. docs/own-images.md goes through it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use std::{fs, ops::ControlFlow};

use burn::tensor::Device;
use burn_mcl::Progress;
use burn_mcl::data::ImageSet;
use burn_mcl::data::augment::SimClrAugmentConfig;
use burn_mcl::data::image_folder::{ImageFolder, ImageFolderConfig};
use burn_mcl::detector::{Detector, DetectorConfig, DetectorError};
use burn_mcl::embed::embed;
use burn_mcl::infer::{InferError, MahalanobisConfig, TestTimeViews};
use burn_mcl::model::{MclModelConfig, ResNetConfig, ResNetDepth, Stem};
use burn_mcl::report::{Part, Report, Summary};
use burn_mcl::train::{Objective, TrainConfig, TrainError, Trainer, read_history};
use clap::Parser;

/// What can be said on the command line.
#[derive(Parser)]
#[command(about = "Learns what your pictures look like, then finds those that look otherwise")]
pub(crate) struct Settings {
    /// Normal pictures to learn from
    train: PathBuf,
    /// Other normal pictures, to count false alarms
    #[arg(long)]
    normal: PathBuf,
    /// Anomalous pictures, to count those found; may be given several times
    #[arg(long, required = true)]
    anomalous: Vec<PathBuf>,
    /// Folder for checkpoints, detector and report; the same command resumes the run, other settings need another
    #[arg(long, default_value = "runs/own")]
    run: PathBuf,
    /// Folder for the decoded pictures [default: RUN/cache]
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Pixels a side that pictures are resized to; a multiple of 32
    #[arg(long, default_value_t = 32)]
    size: usize,
    /// Share of unreadable pictures that are passed over
    #[arg(long, default_value_t = 0.05)]
    unreadable: f64,
    /// Share of the training pictures held out to place the threshold
    #[arg(long, default_value_t = 0.2)]
    hold_out: f64,
    /// Share of normal pictures that are to pass as normal
    #[arg(long, default_value_t = 0.95)]
    tpr: f64,
    /// Training steps: more take longer and find more
    #[arg(long, default_value_t = 300)]
    steps: usize,
    /// Pictures in a batch; fewer if there are fewer
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// ResNet-18, -34 or -50
    #[arg(long, default_value_t = 18)]
    depth: u32,
    /// Channels of the network's first stage
    #[arg(long, default_value_t = 16)]
    width: usize,
    #[arg(long, default_value_t = 0.1)]
    learning_rate: f64,
    /// Smallest crop, as a share of the picture
    #[arg(long, default_value_t = 0.5)]
    min_crop: f64,
    /// Where few pictures leave the spread of a class open, how much is assumed
    #[arg(long, default_value_t = 1e-3)]
    ridge: f64,
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Set by Ctrl-C while training, and read after each step.
static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    match run(&Settings::parse(), &Device::default(), &STOP, stop_on_ctrl_c) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            match error.downcast_ref() {
                Some(TrainError::Stopped { .. }) => ExitCode::from(130),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// From now on Ctrl-C asks the training to stop; pressed again, it ends the program at once.
fn stop_on_ctrl_c() {
    let handler = || {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; Ctrl-C again ends at once");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        eprintln!("Ctrl-C will end the run at once: {error}");
    }
}

/// Everything from the folders to the report. Training stops with a checkpoint once `stop` is set; `before_training` is
/// called when it is about to begin, since until then nothing is lost by ending at once.
pub(crate) fn run(
    settings: &Settings,
    device: &Device,
    stop: &AtomicBool,
    before_training: impl FnOnce(),
) -> Result<Summary, Box<dyn Error>> {
    let (config, judging) = (train_config(settings)?, detector_config(settings)?);
    let title = format!("Anomalies among {}", names(&[&settings.train])?[0]);
    let tested: Vec<_> = [&settings.normal].into_iter().chain(&settings.anomalous).collect();
    let names = names(&tested)?;

    let all = load(settings, &settings.train)?.images;
    let (kept, held_out) =
        all.hold_out(settings.hold_out, settings.seed).map_err(|error| format!("--hold-out: {error}"))?;
    let (train, held_out) = (all.subset(&kept)?, all.subset(&held_out)?);
    drop(all);
    check_numbers(settings, config.model.projection_dim, &judging, &train, &held_out)?;
    let tested = tested.into_iter().map(|path| load(settings, path)).collect::<Result<Vec<_>, _>>()?;

    let config = config
        .with_objective(Objective::for_classes(train.class_names().len()))
        .with_images_per_batch(settings.batch.min(train.len()));
    println!(
        "{} pictures to learn from, {} held out, {} steps of {} views on {device:?}",
        train.len(),
        held_out.len(),
        settings.steps,
        config.views_per_batch()
    );
    let started = Instant::now();
    let trainer = Trainer::new(config.clone(), device)?.run_dir(&settings.run).progress(Progress::Terminal);
    before_training();
    let model = trainer
        .observer(|_| {
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .fit(&train)
        .map_err(|error| -> Box<dyn Error> {
            match error {
                TrainError::OtherRun { .. } => format!("{error} (another directory: --run DIR)").into(),
                error => error.into(),
            }
        })?;
    // From here on, Ctrl-C ends at once. It may have been pressed when there was no step left to stop at.
    if stop.swap(true, Ordering::Relaxed) {
        let checkpoint = Some(settings.run.join("checkpoints"));
        return Err(TrainError::Stopped { step: settings.steps, checkpoint }.into());
    }
    println!("trained in {:.0?}", started.elapsed());

    let batch = judging.batch_size;
    let detector =
        Detector::fit(&model, config.model.clone(), &train, &held_out, judging, Progress::Terminal)?
            .with_train_config(config.clone());
    let artifact = settings.run.join("detector");
    detector.save(&artifact)?;

    let judged = names.iter().zip(&tested).map(|(name, folder)| {
        Part::of(&detector, name, &folder.images).map(|part| part.files(&folder.files))
    });
    let mut judged = judged.collect::<Result<Vec<_>, _>>()?.into_iter();
    let normal = judged.next().expect("the first set is the normal one");
    let projections = embed(detector.model(), &train, TestTimeViews::Identity, batch, Progress::Terminal)?;
    let report = Report::new(title, &train, &projections, normal)
        .anomalous(judged)
        .threshold(detector.threshold(), settings.tpr)
        .calibration(detector.calibration())
        .history(read_history(&settings.run)?)
        .settings("Training", &config)
        .settings("Detector", detector.config());
    let page = report.write(settings.run.join("report"))?;

    let summary = report.summary()?;
    println!("\n{summary}\n");
    for part in report.anomalous_sets() {
        println!("most anomalous of {}:", part.name());
        for i in part.most_anomalous().into_iter().take(5) {
            println!("  {:>12.1}  {}", part.scores()[i], part.image_name(i));
        }
    }
    println!("\ndetector: {}\nreport:   {}", artifact.display(), page.display());
    Ok(summary)
}

/// Reads one folder, and says what was passed over and where the cache lies.
fn load(settings: &Settings, path: &Path) -> Result<ImageFolder, Box<dyn Error>> {
    let cache = settings.cache.clone().unwrap_or_else(|| settings.run.join("cache"));
    let config = ImageFolderConfig::new((settings.size, settings.size))
        .with_unreadable(settings.unreadable)
        .with_cache(Some(cache));
    let folder = config.load(path, &Progress::Terminal.observer("decoding"))?;
    for file in &folder.unreadable {
        eprintln!("passed over: {}", file.reason);
    }
    let classes = folder.images.class_names().len();
    println!("{}: {} pictures in {classes} classes, {}", path.display(), folder.images.len(), folder.cache);
    Ok(folder)
}

fn train_config(settings: &Settings) -> Result<TrainConfig, Box<dyn Error>> {
    if settings.size == 0 || !settings.size.is_multiple_of(32) {
        return Err(format!("--size is {}, but must be a multiple of 32", settings.size).into());
    }
    let depth = ResNetDepth::from_layers(settings.depth).ok_or("--depth must be 18, 34 or 50")?;
    // The stem for small pictures keeps every pixel; the one for large pictures makes them a fourth as wide first.
    let stem = if settings.size < 96 { Stem::Cifar } else { Stem::ImageNet };
    let resnet = ResNetConfig::new(depth).with_width(settings.width).with_stem(stem);
    let config = TrainConfig::new()
        .with_model(MclModelConfig::new(resnet).with_hidden(16 * settings.width))
        .with_augment(SimClrAugmentConfig::new().with_crop_scale((settings.min_crop, 1.0)))
        .with_steps(Some(settings.steps))
        .with_learning_rate(Some(settings.learning_rate))
        .with_checkpoint_every(50)
        .with_seed(settings.seed);
    config.validate()?;
    Ok(config)
}

fn detector_config(settings: &Settings) -> Result<DetectorConfig, String> {
    let config = DetectorConfig::new()
        .with_gaussians(MahalanobisConfig::new().with_ridge(settings.ridge))
        .with_tpr(settings.tpr);
    config.validate().map(|()| config).map_err(|error| match error {
        // These settings have the names of their flags.
        DetectorError::Config { setting, value, expected } => {
            format!("--{setting} is {value}, but must be {expected}")
        }
        error => error.to_string(),
    })
}

/// Whether there are enough pictures for the detector, which is fitted only after the training.
fn check_numbers(
    settings: &Settings,
    dim: usize,
    judging: &DetectorConfig,
    train: &ImageSet,
    held_out: &ImageSet,
) -> Result<(), String> {
    let hold_out = settings.hold_out;
    judging.check_images(train, held_out, dim).map_err(|error| match error {
        DetectorError::Infer(InferError::TooFewToCalibrate { scores, needed, tpr }) => format!(
            "{scores} pictures are held out (--hold-out {hold_out}), but --tpr {tpr} needs {needed}: add pictures, hold \
             out a larger share, or lower --tpr"
        ),
        DetectorError::Class { name, source: InferError::TooFewSamples { count, needed, .. } } => format!(
            "class `{name}` has too few pictures to learn from ({count} of {needed}): add pictures, lower --hold-out, \
             or leave the class out"
        ),
        DetectorError::Class { name, source: InferError::RankDeficient { count, ridge, needed, .. } } => format!(
            "--ridge is {ridge}, but class `{name}` has {count} pictures to learn from, for which it must be at least \
             {needed:e}"
        ),
        error => error.to_string(),
    })
}

/// What sets of pictures are called: by the names of their folders, with those above as far as it takes to tell them
/// apart.
pub(crate) fn names(paths: &[&PathBuf]) -> Result<Vec<String>, String> {
    let mut parts: Vec<Vec<String>> = Vec::new();
    for path in paths {
        let full =
            fs::canonicalize(path).map_err(|error| format!("cannot open {}: {error}", path.display()))?;
        parts.push(full.iter().map(|part| part.to_string_lossy().into_owned()).collect());
    }
    let end = |i: usize, length: usize| &parts[i][parts[i].len().saturating_sub(length)..];
    let name = |i: usize| {
        let apart = |length: &usize| (0..paths.len()).all(|j| j == i || end(j, *length) != end(i, *length));
        let length = (1..=parts[i].len()).find(apart);
        let length = length.ok_or_else(|| format!("the folder {} is given twice", paths[i].display()))?;
        Ok(end(i, length).join("/").replace("//", "/"))
    };
    (0..paths.len()).map(name).collect()
}
