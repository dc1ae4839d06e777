//! `mcl evaluate`: how well a saved detector tells anomalous pictures from normal ones.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use burn_mcl::Progress;
use burn_mcl::burn::tensor::Device;
use burn_mcl::data::printable;
use burn_mcl::embed::embed;
use burn_mcl::infer::TestTimeViews;
use burn_mcl::report::{Part, Report, Summary};
use clap::Args;

use crate::folder::{self, UNREADABLE};
use crate::output::say;
use crate::saved;
use crate::train::checks::{copies_between, foreign_classes, names};

/// The arguments of `mcl evaluate`.
///
/// The normal pictures must be others than those that the detector was trained on and its threshold was placed by.
#[derive(Debug, Args)]
pub struct Settings {
    /// The saved detector, a folder, or the run folder that it is in
    detector: PathBuf,
    /// Normal pictures that the detector has not seen, to count false alarms
    #[arg(long)]
    normal: PathBuf,
    /// Anomalous pictures, to count those found; may be given several times
    #[arg(long)]
    anomalous: Vec<PathBuf>,
    /// Share of normal pictures that are to pass, if another than the detector was saved with
    #[arg(long, allow_negative_numbers = true)]
    tpr: Option<f64>,
    /// Share of the pictures of a folder that may be unreadable, and are skipped; rounded down to whole pictures
    #[arg(long, default_value_t = UNREADABLE, allow_negative_numbers = true)]
    unreadable: f64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// Write a report to look at into this folder
    #[arg(long, value_name = "DIR", requires = "train")]
    report: Option<PathBuf>,
    /// The pictures that the detector was trained on, which the report shows beside the others
    #[arg(long, value_name = "DIR", requires = "report")]
    train: Option<PathBuf>,
}

/// Judges the pictures, and writes to `out` how well they are told apart.
///
/// # Errors
///
/// When the detector cannot be loaded, when a folder cannot be read, or when the report or `out` does not take what is written.
pub fn run(
    settings: &Settings,
    device: &Device,
    progress: Progress,
    out: &mut impl Write,
) -> Result<Summary, Box<dyn Error>> {
    folder::check_share("unreadable", settings.unreadable)?;
    if let Some(place) = &settings.report {
        Report::may_write(place)?;
    }
    let paths: Vec<_> = [&settings.normal].into_iter().chain(&settings.anomalous).collect();
    let names = names(&paths)?;
    let detector = saved::load(&settings.detector, settings.tpr, device)?.with_progress(progress);
    let reading = detector.reading().with_unreadable(settings.unreadable);
    // With --json the figures are the only text.
    let mut said: Box<dyn Write> = if settings.json { Box::new(io::sink()) } else { Box::new(&mut *out) };
    let mut load = |path: &PathBuf| folder::load(&reading, path, progress, &mut said);
    let train = settings.train.as_ref().map(&mut load).transpose()?;
    let folders = paths.into_iter().map(load).collect::<Result<Vec<_>, _>>()?;
    drop(said);

    let parts = names.iter().zip(&folders).map(|(name, folder)| {
        Part::of(&detector, name, &folder.images).map(|part| part.files(&folder.files))
    });
    let mut anomalous = parts.collect::<Result<Vec<_>, _>>()?;
    let normal = anomalous.remove(0);
    let summary = Summary::of(&detector, &normal, &anomalous)?;
    let mut warnings: Vec<_> =
        foreign_classes(detector.class_names(), &names[0], &folders[0].images).into_iter().collect();
    let mut sets = names.iter().map(String::as_str).zip(folders.iter().map(|folder| &folder.images));
    let first = sets.next().expect("the first set is the normal one");
    let copies = |set, other| copies_between(set, other, "the figures count them on both sides");
    warnings.extend(train.iter().filter_map(|train| copies(first, ("the training pictures", &train.images))));
    warnings.extend(sets.filter_map(|set| copies(set, first)));
    warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    if settings.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&summary)?)?;
    } else {
        writeln!(out, "\n{summary}")?;
    }
    if let (Some(place), Some(train)) = (&settings.report, &train) {
        let projections = embed(
            detector.model(),
            &train.images,
            TestTimeViews::Identity,
            detector.config().batch_size,
            progress,
        )?;
        let mut report =
            Report::new(format!("Anomalies beside {}", names[0]), &train.images, &projections, normal)
                .anomalous(anomalous)
                .threshold(detector.threshold(), detector.config().tpr)
                .calibration(detector.calibration())
                .settings("Detector", detector.config())
                .fact("detector", printable(&settings.detector));
        for warning in warnings {
            report = report.note(format!("Warning: {warning}."));
        }
        let page = report.write(place)?;
        let line = format!("report: {}", printable(&page));
        if settings.json { say(&line) } else { writeln!(out, "{line}")? }
    }
    Ok(summary)
}
