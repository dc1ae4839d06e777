//! Looks at new pictures with a saved detector, and says which of them look otherwise than those it learned
//! from.
//!
//! ```text
//! cargo run --release --example detect -- runs/own/detector PICTURES_DIR --train TRAIN_DIR
//! ```
//!
//! Prints the flagged pictures, the most anomalous first, each with the class whose Gaussian is nearest to
//! it; with `--train` also the single training pictures whose projections are nearest, which may be of
//! another class. `--json` prints one line of JSON a picture instead, flagged or not, readable or not. A name
//! that is not UTF-8 is given with `\xE4` for a byte, and to the letter in `file_hex`, the bytes of the name
//! in hexadecimal.

#[path = "shared/output.rs"]
mod output;

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::tensor::Device;
use burn_mcl::data::image_folder::{ImageFolder, ImageFolderConfig};
use burn_mcl::data::{printable, utf8_name};
use burn_mcl::detector::{Detection, Detector};
use burn_mcl::{Progress, device};
use clap::Parser;
use serde_json::{Value, json};

/// Training pictures named beside a flagged one.
const RESEMBLED: usize = 3;

/// Why a picture of another format is not judged.
const OTHER_FORMAT: &str = "this format cannot be read: convert it to JPEG or PNG";

/// What can be said on the command line.
#[derive(Parser)]
#[command(version, about = "Says which pictures look otherwise than those a detector learned from")]
pub(crate) struct Settings {
    /// The saved detector, a folder, or the run folder that it is in
    detector: PathBuf,
    /// The pictures to look at: one folder a class, pictures only, or a single picture
    pictures: PathBuf,
    /// The training pictures, to name those that a flagged picture resembles most; they may be of another
    /// class than the nearest one, which is nearest as a whole
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
    let all = || run(&Settings::parse(), &device::from_env()?, &mut io::stdout().lock());
    output::end(all())
}

/// Judges the pictures and writes to `out` what was found.
pub(crate) fn run(settings: &Settings, device: &Device, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let inside = settings.detector.join("detector");
    let is_run = !settings.detector.join("manifest.json").exists() && inside.is_dir();
    let path = if is_run { &inside } else { &settings.detector };
    let mut detector = Detector::load(path, device)?.with_progress(Progress::Terminal);
    if let Some(tpr) = settings.tpr {
        detector = detector.with_tpr(tpr)?;
    }
    // All pictures may be unreadable: they are reported like the others.
    let load = |path: &PathBuf| {
        let config =
            ImageFolderConfig::new(detector.image_size()).with_unreadable(1.0).with_empty_classes(true);
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
            resembled[i] = neighbours.iter().map(|near| utf8_name(&train.files[near.index])).collect();
        }
    }
    if settings.json {
        write_json(&detector, &folder, &found, &resembled, out)?;
    } else {
        for file in &folder.unreadable {
            output::say(&format!("skipped: {}", file.reason));
        }
        for path in &folder.other_formats {
            output::say(&format!("skipped: {}: {OTHER_FORMAT}", printable(path)));
        }
        for &i in &flagged {
            let Detection { label, score, p_value, .. } = found[i];
            let (file, class) = (printable(&folder.files[i]), printable(&detector.class_names()[label]));
            writeln!(out, "p-value {p_value:.4}  score {score:9.1}  nearest to {class}  {file}")?;
            for file in &resembled[i] {
                writeln!(out, "    resembles {}", printable(file))?;
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
            "class": class, "score": found.score, "p_value": found.p_value, "is_anomaly": found.is_anomaly,
            "resembles": resembled,
        });
        writeln!(out, "{}", of_file(file, line))?;
    }
    let unreadable = folder.unreadable.iter().map(|file| (&file.path, file.reason.as_str()));
    for (path, error) in unreadable.chain(folder.other_formats.iter().map(|path| (path, OTHER_FORMAT))) {
        writeln!(out, "{}", of_file(path, json!({ "error": error })))?;
    }
    Ok(())
}

/// The line with the name of its file, and with the bytes of the name where the name is not UTF-8.
fn of_file(path: &Path, mut line: Value) -> Value {
    line["file"] = utf8_name(path).into();
    if path.to_str().is_none() {
        let bytes = path.as_os_str().as_encoded_bytes();
        line["file_hex"] = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    }
    line
}
