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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use std::{fs, ops::ControlFlow};

use burn::tensor::Device;
use burn_mcl::Progress;
use burn_mcl::data::augment::SimClrAugmentConfig;
use burn_mcl::data::image_folder::{ImageFolder, ImageFolderConfig};
use burn_mcl::detector::{Detector, DetectorConfig, DetectorError};
use burn_mcl::embed::embed;
use burn_mcl::infer::{MahalanobisConfig, TestTimeViews};
use burn_mcl::model::{MclModelConfig, ResNetConfig, ResNetDepth, Stem};
use burn_mcl::report::{Part, Report, Summary};
use burn_mcl::scored::ScoredSet;
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
    /// Folder for checkpoints, detector and report; the same command resumes the run
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

fn main() -> ExitCode {
    let settings = Settings::parse();
    let stop = Arc::new(AtomicBool::new(false));
    let on_signal = Arc::clone(&stop);
    let handler = move || {
        if on_signal.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; Ctrl-C again ends at once");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        eprintln!("Ctrl-C will end the run at once: {error}");
    }
    match run(&settings, &Device::default(), &stop) {
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

/// Everything from the folders to the report. Training stops with a checkpoint once `stop` is set.
pub(crate) fn run(
    settings: &Settings,
    device: &Device,
    stop: &AtomicBool,
) -> Result<Summary, Box<dyn Error>> {
    let config = train_config(settings)?;
    let all = load(settings, &settings.train)?;
    let config = config.with_objective(Objective::for_classes(all.images.class_names().len()));
    let normal = load(settings, &settings.normal)?;
    let anomalous =
        settings.anomalous.iter().map(|path| load(settings, path)).collect::<Result<Vec<_>, _>>()?;
    let (kept, held_out) = all.images.hold_out(settings.hold_out, settings.seed)?;
    let (train, held_out) = (all.images.subset(&kept)?, all.images.subset(&held_out)?);

    let config = config.with_images_per_batch(settings.batch.min(train.len()));
    println!(
        "{} pictures to learn from, {} held out, {} steps of {} views on {device:?}",
        train.len(),
        held_out.len(),
        settings.steps,
        config.views_per_batch()
    );
    let started = Instant::now();
    let trainer = Trainer::new(config.clone(), device)?.run_dir(&settings.run).progress(Progress::Terminal);
    let model = trainer
        .observer(|_| {
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .fit(&train)?;
    stop.store(true, Ordering::Relaxed); // from here on, Ctrl-C ends at once
    println!("trained in {:.0?}", started.elapsed());

    let judging = DetectorConfig::new()
        .with_gaussians(MahalanobisConfig::new().with_ridge(settings.ridge))
        .with_tpr(settings.tpr);
    let batch = judging.batch_size;
    let detector =
        Detector::fit(&model, config.model.clone(), &train, &held_out, judging, Progress::Terminal)?
            .with_train_config(config.clone());
    let artifact = settings.run.join("detector");
    detector.save(&artifact)?;

    let judge = |path: &Path, folder| judge(path, folder, &detector);
    let normal = judge(&settings.normal, &normal)?;
    let anomalous = settings.anomalous.iter().zip(&anomalous).map(|(path, folder)| judge(path, folder));
    let anomalous = anomalous.collect::<Result<Vec<_>, _>>()?;
    let projections = embed(detector.model(), &train, TestTimeViews::Identity, batch, Progress::Terminal)?;
    let report =
        Report::new(format!("Anomalies among {}", name(&settings.train)), &train, &projections, normal)
            .anomalous(anomalous)
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

/// The pictures of a folder as the detector sees them.
fn judge<'a>(path: &Path, folder: &'a ImageFolder, detector: &Detector) -> Result<Part<'a>, DetectorError> {
    let DetectorConfig { views, aggregation, batch_size, .. } = *detector.config();
    let (model, scorer) = (detector.model(), detector.scorer());
    let scored = ScoredSet::new(model, scorer, &folder.images, views, batch_size, Progress::Terminal)?;
    Ok(Part::new(name(path), &folder.images, scored).judged(views, aggregation).files(&folder.files))
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
    Ok(TrainConfig::new()
        .with_model(MclModelConfig::new(resnet).with_hidden(16 * settings.width))
        .with_augment(SimClrAugmentConfig::new().with_crop_scale((settings.min_crop, 1.0)))
        .with_steps(Some(settings.steps))
        .with_learning_rate(Some(settings.learning_rate))
        .with_checkpoint_every(50)
        .with_seed(settings.seed))
}

fn name(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
