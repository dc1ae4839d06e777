//! Learns what your pictures look like, then finds those that look otherwise.
//!
//! ```text
//! cargo run --release --example own_images -- TRAIN_DIR --normal TEST_DIR --anomalous OTHER_DIR
//! ```
//!
//! Each folder holds one folder a class, or pictures only, which are then one class. TRAIN_DIR holds normal
//! pictures, some of which are held out to place the threshold; TEST_DIR holds other normal pictures,
//! OTHER_DIR anomalies: both only to see how well it works. The run folder gets the trained detector and a
//! report. docs/own-images.md goes through it.

#[path = "own_images/checks.rs"]
pub(crate) mod checks;
#[path = "shared/interrupt.rs"]
mod interrupt;
#[path = "shared/output.rs"]
mod output;

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::tensor::Device;
use burn_mcl::data::augment::SimClrAugmentConfig;
use burn_mcl::data::image_folder::{ImageFolder, ImageFolderConfig};
use burn_mcl::data::{DataError, printable};
use burn_mcl::detector::{Detector, DetectorConfig, DetectorError};
use burn_mcl::embed::embed;
use burn_mcl::infer::{MahalanobisConfig, TestTimeViews};
use burn_mcl::model::{MclModelConfig, ResNetConfig, ResNetDepth, Stem};
use burn_mcl::report::{Part, Report, Summary};
use burn_mcl::train::{Objective, TrainConfig, TrainError, Trainer, read_history};
use burn_mcl::{Progress, device};
use clap::Parser;
use output::say;

/// What can be said on the command line.
#[derive(Parser)]
#[command(version, about = "Learns what your pictures look like, then finds those that look otherwise")]
pub(crate) struct Settings {
    /// Normal pictures to learn from
    train: PathBuf,
    /// Other normal pictures, to count false alarms
    #[arg(long)]
    normal: PathBuf,
    /// Anomalous pictures, to count those found; may be given several times
    #[arg(long, required = true)]
    anomalous: Vec<PathBuf>,
    /// Folder for checkpoints, detector and report; the same command resumes the run, other settings need
    /// another
    #[arg(long, default_value = "runs/own")]
    run: PathBuf,
    /// Folder for the decoded pictures [default: RUN/cache]
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Pixels a side that pictures are resized to; a multiple of 32
    #[arg(long, default_value_t = 32)]
    size: usize,
    /// Share of the pictures of a folder that may be unreadable, and are skipped; rounded down to whole
    /// pictures
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
    let (settings, stop) = (Settings::parse(), &interrupt::STOP);
    let all = || run(&settings, &device::from_env()?, stop, interrupt::stop_on_signals, &mut io::stdout());
    output::end(all().map(|_| ()))
}

/// Everything from the folders to the report. Training stops with a checkpoint once `stop` is set;
/// `before_training` is called when it is about to begin, since until then nothing is lost by ending at once.
/// Results go to `out`.
pub(crate) fn run(
    settings: &Settings,
    device: &Device,
    stop: &AtomicBool,
    before_training: impl FnOnce(),
    out: &mut impl Write,
) -> Result<Summary, Box<dyn Error>> {
    let (config, judging) = (train_config(settings)?, detector_config(settings)?);
    Trainer::new(config.clone(), device).map_err(checks::by_flag)?; // refuses what is out of range before the decoding
    let title = format!("Anomalies among {}", checks::names(&[&settings.train])?[0]);
    let tested: Vec<_> = [&settings.normal].into_iter().chain(&settings.anomalous).collect();
    let names = checks::names(&tested)?;
    checks::places(settings)?;
    checks::same_command(settings)?;
    let artifact = settings.run.join("detector");
    Detector::may_save(&artifact)?;

    let all = load(settings, &settings.train, out)?.images;
    let (kept, held_out) = all.hold_out(settings.hold_out, settings.seed)?;
    let (train, held_out) = (all.subset(&kept)?, all.subset(&held_out)?);
    checks::numbers(settings, config.model.projection_dim, &judging, &train, &held_out)?;
    let tested = tested.into_iter().map(|path| load(settings, path, out)).collect::<Result<Vec<_>, _>>()?;
    let sets: Vec<_> = names.iter().zip(tested.iter().map(|folder| &folder.images)).collect();
    let mut warnings = checks::copies(&all, &sets);
    warnings.extend(checks::foreign_classes(train.class_names(), &names[0], &tested[0].images));
    warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    drop(all);

    let config = config
        .with_objective(Objective::for_classes(train.class_names().len()))
        .with_images_per_batch(settings.batch.min(train.len()));
    writeln!(
        out,
        "{} pictures to learn from, {} held out, {} steps of {} views on {device:?}",
        train.len(),
        held_out.len(),
        settings.steps,
        config.views_per_batch()
    )?;
    let started = Instant::now();
    let trainer = Trainer::new(config.clone(), device)?.run_dir(&settings.run).progress(Progress::Terminal);
    checks::write_command(settings)?;
    before_training();
    let model = trainer.observer(interrupt::unless_stopped(stop)).fit(&train).map_err(checks::by_flag)?;
    // From here on, Ctrl-C ends at once. It may have been pressed when there was no step left to stop at.
    if stop.swap(true, Ordering::Relaxed) {
        let checkpoint = Some(settings.run.join("checkpoints"));
        return Err(TrainError::Stopped { step: settings.steps, checkpoint }.into());
    }
    writeln!(out, "trained in {:.0?}", started.elapsed())?;

    let batch = judging.batch_size;
    let detector =
        Detector::fit(&model, config.model.clone(), &train, &held_out, judging, Progress::Terminal)?
            .with_train_config(config.clone());
    detector.save(&artifact)?;

    let judged = names.iter().zip(&tested).map(|(name, folder)| {
        Part::of(&detector, name, &folder.images).map(|part| part.files(&folder.files))
    });
    let mut judged = judged.collect::<Result<Vec<_>, _>>()?.into_iter();
    let normal = judged.next().expect("the first set is the normal one");
    let projections = embed(detector.model(), &train, TestTimeViews::Identity, batch, Progress::Terminal)?;
    let mut report = Report::new(title, &train, &projections, normal)
        .anomalous(judged)
        .threshold(detector.threshold(), settings.tpr)
        .calibration(detector.calibration())
        .history(read_history(&settings.run)?)
        .settings("Training", &config)
        .settings("Detector", detector.config())
        .fact("training pictures", printable(&settings.train))
        .fact("run directory", printable(&settings.run));
    for (name, path) in names.iter().zip([&settings.normal].into_iter().chain(&settings.anomalous)) {
        report = report.fact(printable(name), printable(path));
    }
    for warning in warnings {
        report = report.note(format!("Warning: {warning}."));
    }
    let page = report.write(settings.run.join("report"))?;

    let summary = report.summary()?;
    writeln!(out, "\n{summary}\n")?;
    for part in report.anomalous_sets() {
        writeln!(out, "most anomalous of {}:", printable(part.name()))?;
        for i in part.most_anomalous().into_iter().take(5) {
            writeln!(out, "  {:>12.1}  {}", part.scores()[i], printable(part.image_name(i)))?;
        }
    }
    writeln!(out, "\ndetector: {}\nreport:   {}", printable(&artifact), printable(&page))?;
    Ok(summary)
}

/// Reads one folder, and says what was skipped and where the cache lies.
fn load(settings: &Settings, path: &Path, out: &mut impl Write) -> Result<ImageFolder, Box<dyn Error>> {
    let cache = settings.cache.clone().unwrap_or_else(|| settings.run.join("cache"));
    let config = ImageFolderConfig::new((settings.size, settings.size))
        .with_unreadable(settings.unreadable)
        .with_cache(Some(cache));
    let folder =
        config.load(path, &Progress::Terminal.observer("decoding")).map_err(|error| match error {
            DataError::TooManyUnreadable { .. } => {
                format!("{error} (--unreadable {})", settings.unreadable).into()
            }
            error => Box::<dyn Error>::from(error),
        })?;
    for file in &folder.unreadable {
        say(&format!("skipped: {}", file.reason));
    }
    if !folder.other_formats.is_empty() {
        let formats: BTreeSet<_> =
            folder.other_formats.iter().filter_map(|path| path.extension()).map(printable).collect();
        say(&format!(
            "skipped: {} files in {} of formats that cannot be read ({}): convert them to JPEG or PNG",
            folder.other_formats.len(),
            printable(path),
            formats.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    let (pictures, classes) = (folder.images.len(), folder.images.class_names().len());
    writeln!(out, "{}: {pictures} pictures in {classes} classes, {}", printable(path), folder.cache)?;
    Ok(folder)
}

fn train_config(settings: &Settings) -> Result<TrainConfig, Box<dyn Error>> {
    if settings.size == 0 || !settings.size.is_multiple_of(32) {
        return Err(format!("--size is {}, but must be a multiple of 32", settings.size).into());
    }
    for (flag, share) in [("hold-out", settings.hold_out), ("unreadable", settings.unreadable)] {
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("--{flag} is {share}, but must be a share from 0 to 1").into());
        }
    }
    let depth = ResNetDepth::from_layers(settings.depth).ok_or("--depth must be 18, 34 or 50")?;
    // The stem for small pictures keeps every pixel; the one for large pictures makes them a fourth as wide
    // first.
    let stem = if settings.size < 96 { Stem::Cifar } else { Stem::ImageNet };
    let resnet = ResNetConfig::new(depth).with_width(settings.width).with_stem(stem);
    let config = TrainConfig::new()
        .with_model(MclModelConfig::new(resnet).with_hidden(16 * settings.width))
        .with_augment(SimClrAugmentConfig::new().with_crop_scale((settings.min_crop, 1.0)))
        .with_images_per_batch(settings.batch)
        .with_steps(Some(settings.steps))
        .with_learning_rate(Some(settings.learning_rate))
        .with_checkpoint_every(50)
        .with_seed(settings.seed);
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
