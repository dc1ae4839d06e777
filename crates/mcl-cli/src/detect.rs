//! `mcl detect`: looks at new pictures with a saved detector, and says which of them look otherwise than those it learned from.

mod verdicts;

use std::error::Error;
#[cfg(unix)]
use std::ffi::OsString;
use std::io::{self, BufRead, Write};
#[cfg(unix)]
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use burn_mcl::Progress;
use burn_mcl::burn::tensor::Device;
use burn_mcl::data::image_folder::{ImageFolder, ImageFolderConfig};
use burn_mcl::data::{DataError, printable, utf8_name};
use burn_mcl::detector::Detection;
use clap::Args;

use crate::saved;

/// Training pictures named beside a flagged one.
const RESEMBLED: usize = 3;

/// The arguments of `mcl detect`.
///
/// Without `--json` and `--csv` the flagged pictures are printed, the most anomalous first, each with the class whose Gaussian is
/// nearest to it; with `--train` also the single training pictures whose projections are nearest, which may be of another class.
///
/// `--json` prints one line of JSON for each picture instead, flagged or not, readable or not. `--csv` prints the same as a table. A
/// name that is not UTF-8 is given with `\xE4` for a byte, and a name that a spreadsheet would take for a formula with a `'` before
/// it; then `file_hex` holds the bytes of the name in hexadecimal.
#[derive(Debug, Args)]
pub struct Settings {
    /// The saved detector, a folder, or the run folder that it is in
    detector: PathBuf,
    /// The pictures to look at: files, folders of pictures, folders with one folder a class, or - for a list of files, one a line,
    /// from standard input
    #[arg(required = true)]
    pictures: Vec<PathBuf>,
    /// The training pictures, to name those that a flagged picture resembles most; they may be of another class than the nearest
    /// one, which is nearest as a whole
    #[arg(long)]
    train: Option<PathBuf>,
    /// Share of normal pictures that are to pass, if another than the detector was saved with
    #[arg(long, allow_negative_numbers = true)]
    tpr: Option<f64>,
    /// One line of JSON for each picture
    #[arg(long)]
    json: bool,
    /// A table of all pictures as comma-separated values, with a header
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Exit with code 3 when a picture is flagged, and else with code 1 when a picture could not be judged or there was none
    #[arg(long)]
    pub(crate) fail: bool,
}

/// What became of the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Pictures that could be read.
    pub pictures: usize,
    /// Those that look otherwise.
    pub flagged: usize,
    /// Pictures that could not be read.
    pub skipped: usize,
}

/// Judges the pictures and writes to `out` what was found.
///
/// # Errors
///
/// When the detector cannot be loaded, when a folder cannot be listed, or when `out` does not take the text. A picture that cannot be
/// read is no error.
pub fn run(
    settings: &Settings,
    device: &Device,
    progress: Progress,
    out: &mut impl Write,
) -> Result<Found, Box<dyn Error>> {
    let detector = saved::load(&settings.detector, settings.tpr, device)?.with_progress(progress);
    // All pictures may be unreadable: they are reported like the others.
    let reading = detector.reading().with_unreadable(1.0).with_empty_classes(true);
    let mut looked_at = Vec::new();
    for folder in load(&settings.pictures, &reading, progress)? {
        let found = detector.detect_set(&folder.images)?;
        looked_at.push(LookedAt { resembled: vec![Vec::new(); found.len()], folder, found });
    }
    let flagged = |looked: &LookedAt| -> Vec<usize> {
        (0..looked.found.len()).filter(|&i| looked.found[i].is_anomaly).collect()
    };
    let found = Found {
        pictures: looked_at.iter().map(|looked| looked.found.len()).sum(),
        flagged: looked_at.iter().map(|looked| flagged(looked).len()).sum(),
        skipped: looked_at
            .iter()
            .map(|LookedAt { folder, .. }| folder.unreadable.len() + folder.other_formats.len())
            .sum(),
    };
    if let (Some(path), 1..) = (&settings.train, found.flagged) {
        let train = reading.load(path, &progress.observer("decoding"))?;
        let index = detector.index(&train.images)?;
        for looked in &mut looked_at {
            let flagged = flagged(looked);
            let neighbours =
                detector.neighbours(&index, &looked.folder.images.subset(&flagged)?, RESEMBLED)?;
            for (i, neighbours) in flagged.into_iter().zip(neighbours) {
                let files = neighbours.iter().map(|near| utf8_name(&train.files[near.index]));
                looked.resembled[i] = files.collect();
            }
        }
    }
    if settings.json {
        verdicts::json(&detector, &looked_at, out)?;
    } else if settings.csv {
        verdicts::csv(&detector, &looked_at, out)?;
    } else {
        verdicts::text(&detector, &looked_at, found, out)?;
    }
    Ok(found)
}

/// Pictures of one argument, or of neighbouring arguments that are files.
struct LookedAt {
    folder: ImageFolder,
    found: Vec<Detection>,
    /// The training pictures that each picture resembles.
    resembled: Vec<Vec<String>>,
}

/// Reads the pictures of all arguments, in their order.
fn load(
    pictures: &[PathBuf],
    reading: &ImageFolderConfig,
    progress: Progress,
) -> Result<Vec<ImageFolder>, Box<dyn Error>> {
    let observer = progress.observer("decoding");
    let mut files: Vec<PathBuf> = Vec::new();
    let mut loaded = Vec::new();
    let flush = |files: &mut Vec<PathBuf>, loaded: &mut Vec<ImageFolder>| -> Result<(), DataError> {
        if !files.is_empty() {
            loaded.push(reading.load_files(&std::mem::take(files), &observer)?);
        }
        Ok(())
    };
    for path in pictures {
        if path.as_os_str() == "-" {
            let names = io::stdin().lock().split(b'\n').map(|line| file_name(line?));
            let names = names.collect::<Result<Vec<_>, _>>();
            let names = names.map_err(|error| format!("cannot read the list of files: {error}"))?;
            files.extend(names.into_iter().filter(|name| !name.as_os_str().is_empty()));
        } else if path.is_dir() {
            flush(&mut files, &mut loaded)?;
            loaded.push(reading.load(path, &observer)?);
        } else if path.is_file() {
            files.push(path.clone());
        } else {
            return Err(format!("there is no file or folder {}", printable(path)).into());
        }
    }
    flush(&mut files, &mut loaded)?;
    Ok(loaded)
}

/// The name of a file on a line of a list. On Unix any bytes are a name; elsewhere names are UTF-8.
fn file_name(mut line: Vec<u8>) -> io::Result<PathBuf> {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    #[cfg(unix)]
    let name = OsString::from_vec(line);
    #[cfg(not(unix))]
    let name = String::from_utf8(line).map_err(io::Error::other)?;
    Ok(name.into())
}
