//! `mcl train`: from folders of pictures to a detector and a report.

pub(crate) mod checks;
mod learning;
mod pretrained;
mod settings;

pub use settings::Settings;
pub(crate) use settings::detector_flag;

use std::error::Error;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use burn_mcl::Progress;
use burn_mcl::burn::tensor::Device;
use burn_mcl::data::image_folder::{ImageFolder, ImageFolderConfig};
use burn_mcl::data::printable;
use burn_mcl::detector::Detector;
use burn_mcl::embed::embed;
use burn_mcl::infer::TestTimeViews;
use burn_mcl::report::{Part, Report, Summary};
use burn_mcl::train::{Trainer, read_history};

use crate::folder::{self, count};
use crate::output::say;
use checks::Tested;
use learning::{Learning, for_pictures};
use settings::{detector_config, train_config};

/// The name of the held-out pictures where no other normal pictures are given.
const HELD_OUT: &str = "held out";

/// Everything from the folders to the report. Training stops with a checkpoint once `stop` is set; `before_training` is called when it
/// is about to begin, since until then nothing is lost by ending at once. Results go to `out`.
///
/// # Errors
///
/// What is wrong with the settings, the folders or the pictures, by the names of flags and files;
/// [`TrainError::Stopped`](burn_mcl::train::TrainError::Stopped) after a stop.
pub fn run(
    settings: &Settings,
    device: &Device,
    progress: Progress,
    stop: &AtomicBool,
    before_training: impl FnOnce(),
    out: &mut impl Write,
) -> Result<Summary, Box<dyn Error>> {
    let config = train_config(settings)?;
    let judging = detector_config(settings, &config)?;
    Trainer::new(config.clone(), device).map_err(checks::by_flag)?; // refuses what is out of range before the decoding
    let title = format!("Anomalies among {}", checks::names(&[&settings.train])?[0]);
    let tested: Vec<_> = settings.normal.iter().chain(&settings.anomalous).collect();
    let names = checks::names(&tested)?;
    checks::places(settings)?;
    checks::same_command(settings)?;
    let artifact = settings.run.join("detector");
    Detector::may_save(&artifact)?;
    Report::may_write(settings.run.join("report"))?;

    let (weights, plain) = (settings.weights.as_ref(), device.clone().without_autodiff());
    let encoder = weights.map(|file| pretrained::encoder(&settings.resnet()?, file, &plain)).transpose()?;

    let cache = settings.cache.clone().unwrap_or_else(|| settings.run.join("cache"));
    let reading = ImageFolderConfig::new((settings.size(), settings.size()))
        .with_centre_crop(judging.centre_crop)
        .with_unreadable(settings.unreadable)
        .with_cache(Some(cache));
    let ImageFolder { images: all, files, .. } = folder::load(&reading, &settings.train, progress, out)?;
    let (kept, held_out) = all.hold_out(settings.hold_out, settings.seed)?;
    let held_out_files = held_out.iter().map(|&image| files[image].clone()).collect();
    let (train, held_out) = (all.subset(&kept)?, all.subset(&held_out)?);
    checks::numbers(settings, config.model.projection_dim, &judging, &train, &held_out)?;
    let mut tested = names
        .into_iter()
        .zip(tested)
        .map(|(name, path)| {
            let ImageFolder { images, files, .. } = folder::load(&reading, path, progress, out)?;
            Ok(Tested { name, images, files, place: Some(path.clone()) })
        })
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let given = settings.normal.is_some();
    let mut warnings = checks::copies(&all, &tested, given);
    if given {
        warnings.extend(checks::foreign_classes(train.class_names(), &tested[0].name, &tested[0].images));
    } else {
        let (name, images) = (HELD_OUT.to_string(), held_out.clone());
        tested.insert(0, Tested { name, images, files: held_out_files, place: None });
    }
    warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    drop(all);

    let training = (!settings.no_train).then(|| for_pictures(config.clone(), settings, &train));
    let model = match (encoder, &training) {
        (encoder, Some(config)) => {
            writeln!(
                out,
                "{} to learn from, {} held out, {} steps of {} views on {device:?}",
                count(train.len(), "picture", "pictures"),
                held_out.len(),
                config.total_steps(train.len()),
                config.views_per_batch()
            )?;
            let learning = Learning { settings, config, device, progress, stop };
            let started = Instant::now();
            let model = learning.run(encoder, &train, before_training)?;
            writeln!(out, "trained in {:.0?}", started.elapsed())?;
            model
        }
        (Some(encoder), None) => pretrained::features(encoder, &plain)?,
        (None, None) => unreachable!("--no-train requires --weights"),
    };

    let batch = judging.batch_size;
    let mut detector = Detector::fit(&model, config.model, &train, &held_out, judging, progress)?;
    if let Some(training) = &training {
        detector = detector.with_train_config(training.clone());
    }
    detector.save(&artifact)?;

    let judged = tested
        .iter()
        .map(|set| Part::of(&detector, &set.name, &set.images).map(|part| part.files(&set.files)));
    let mut judged = judged.collect::<Result<Vec<_>, _>>()?.into_iter();
    let normal = judged.next().expect("the first set is the normal one");
    let projections = embed(detector.model(), &train, TestTimeViews::Identity, batch, progress)?;
    let mut report = Report::new(title, &train, &projections, normal)
        .anomalous(judged)
        .threshold(detector.threshold(), settings.tpr)
        .calibration(detector.calibration())
        .settings("Detector", detector.config())
        .fact("training pictures", printable(&settings.train))
        .fact("run directory", printable(&settings.run));
    if let Some(training) = &training {
        report = report.history(read_history(&settings.run)?).settings("Training", training);
    }
    if let Some(weights) = weights {
        report = report.fact("pretrained weights", printable(weights));
    }
    for Tested { name, place, .. } in &tested {
        if let Some(place) = place {
            report = report.fact(printable(name), printable(place));
        }
    }
    if !given {
        report = report.note(
            "The pictures held out placed the threshold, and so their false alarms say nothing about new pictures. Give other \
             normal pictures by --normal to count false alarms.",
        );
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
