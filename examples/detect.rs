//! Looks at new pictures with a saved detector, and says which of them look otherwise than those it learned from.
//!
//! ```text
//! cargo run --release --example detect -- runs/own/detector PICTURES_DIR --train TRAIN_DIR
//! ```
//!
//! Prints the flagged pictures, the most anomalous first; with `--train` also the training pictures that each of them
//! resembles most. `--json` prints one line of JSON a picture instead, flagged or not, readable or not.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use burn::tensor::Device;
use burn_mcl::Progress;
use burn_mcl::data::image_folder::{ImageFolder, ImageFolderConfig};
use burn_mcl::detector::{Detection, Detector};
use clap::Parser;
use serde_json::json;

/// Training pictures named beside a flagged one.
const RESEMBLED: usize = 3;

/// What can be said on the command line.
#[derive(Parser)]
#[command(about = "Says which pictures look otherwise than those a detector learned from")]
pub(crate) struct Settings {
    /// The saved detector, a folder
    detector: PathBuf,
    /// The pictures to look at: one folder a class, or pictures only
    pictures: PathBuf,
    /// The training pictures, to name those that a flagged picture resembles most
    #[arg(long)]
    train: Option<PathBuf>,
    /// Share of normal pictures that are to pass, if another than the detector was saved with
    #[arg(long)]
    tpr: Option<f64>,
    /// One line of JSON for each picture
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Settings::parse(), &Device::default(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Judges the pictures and writes to `out` what was found.
pub(crate) fn run(settings: &Settings, device: &Device, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let mut detector = Detector::load(&settings.detector, device)?.with_progress(Progress::Terminal);
    if let Some(tpr) = settings.tpr {
        detector = detector.with_tpr(tpr)?;
    }
    // All but one of a folder may be unreadable: they are reported like the others.
    let load = |path: &PathBuf| {
        let config = ImageFolderConfig::new(detector.image_size()).with_unreadable(1.0);
        config.load(path, &Progress::Terminal.observer("decoding"))
    };
    let folder = load(&settings.pictures)?;
    let found = detector.detect_set(&folder.images)?;
    let mut flagged: Vec<usize> = (0..found.len()).filter(|&i| found[i].is_anomaly).collect();
    flagged.sort_by(|&a, &b| found[a].score.total_cmp(&found[b].score));

    let mut resembled = vec![Vec::new(); found.len()];
    if let (Some(path), false) = (&settings.train, flagged.is_empty()) {
        let train = load(path)?;
        let index = detector.index(&train.images)?;
        let neighbours = detector.neighbours(&index, &folder.images.subset(&flagged)?, RESEMBLED)?;
        for (&i, neighbours) in flagged.iter().zip(neighbours) {
            resembled[i] =
                neighbours.iter().map(|near| train.files[near.index].display().to_string()).collect();
        }
    }
    if settings.json {
        write_json(&detector, &folder, &found, &resembled, out)?;
    } else {
        for file in &folder.unreadable {
            eprintln!("passed over: {}", file.reason);
        }
        for &i in &flagged {
            let Detection { label, score, p_value, .. } = found[i];
            let (file, class) = (folder.files[i].display(), &detector.class_names()[label]);
            writeln!(out, "p-value {p_value:.4}  score {score:9.1}  nearest to {class}  {file}")?;
            for file in &resembled[i] {
                writeln!(out, "    resembles {file}")?;
            }
        }
        let (flagged, all) = (flagged.len(), found.len());
        let expected = (1.0 - detector.config().tpr) * all as f64;
        writeln!(
            out,
            "{flagged} of {all} pictures flagged; if all were normal, {expected:.1} would be on average"
        )?;
    }
    Ok(())
}

fn write_json(
    detector: &Detector,
    folder: &ImageFolder,
    found: &[Detection],
    resembled: &[Vec<String>],
    out: &mut impl Write,
) -> io::Result<()> {
    for ((file, found), resembled) in folder.files.iter().zip(found).zip(resembled) {
        let class = &detector.class_names()[found.label];
        let line = json!({
            "file": file.display().to_string(), "class": class, "score": found.score, "p_value": found.p_value,
            "is_anomaly": found.is_anomaly, "resembles": resembled,
        });
        writeln!(out, "{line}")?;
    }
    for file in &folder.unreadable {
        writeln!(out, "{}", json!({ "file": file.path.display().to_string(), "error": file.reason }))?;
    }
    Ok(())
}
