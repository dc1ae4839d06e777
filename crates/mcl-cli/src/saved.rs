//! Saved detectors, as the commands are given them.

use std::error::Error;
use std::path::{Path, PathBuf};

use burn_mcl::burn::tensor::Device;
use burn_mcl::data::printable;
use burn_mcl::detector::Detector;

use crate::train::detector_flag;

/// Loads the detector in a folder, or in the run folder that the detector is in. `tpr` is the share of normal pictures that are to
/// pass, if another than the detector was saved with.
pub(crate) fn load(path: &Path, tpr: Option<f64>, device: &Device) -> Result<Detector, Box<dyn Error>> {
    let place = place(path);
    if place.is_dir() && !has_manifest(&place) {
        return Err(format!(
            "{} holds no detector: give a run folder of `mcl train`, such as runs/own, or the folder `detector` in it",
            printable(path)
        )
        .into());
    }
    let detector = Detector::load(place, device)?;
    let Some(tpr) = tpr else { return Ok(detector) };
    detector.with_tpr(tpr).map_err(|error| detector_flag(error).into())
}

/// The folder of a detector, given the folder or the run folder.
fn place(path: &Path) -> PathBuf {
    let inside = path.join("detector");
    if !has_manifest(path) && inside.is_dir() { inside } else { path.to_path_buf() }
}

/// Whether the folder says what it is: a detector, or something else that the library saves. While a detector is replaced, its folder
/// is missing for a moment and not empty.
fn has_manifest(path: &Path) -> bool {
    path.join("manifest.json").symlink_metadata().is_ok()
}
