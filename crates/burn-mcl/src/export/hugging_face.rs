//! A detector as a directory for the Hugging Face Hub.
//!
//! ```text
//! README.md           the model card
//! config.json         what the detector is, for programs and people
//! model.safetensors   weights of the network, under PyTorch's names
//! model.onnx          the whole detector
//! manifest.json, detector.json, gaussians.safetensors, calibration.safetensors
//!                     the rest of a saved detector: Detector::load reads the directory
//! ```

use std::path::Path;

use mcl_model::MclModel;
use serde_json::{Value, json};

use super::card;
use super::error::ExportError;
use super::existing::Existing;
use super::onnx::to_onnx;
use crate::artifact::{BESIDE, MANIFEST};
use crate::detector::{Detector, FILES};

const CARD: &str = "README.md";
const CONFIG: &str = "config.json";
const GRAPH: &str = "model.onnx";

/// Writes a detector as a directory for the Hugging Face Hub: a saved detector, which [`Detector::load`] reads, with a model card
/// (`README.md`), `config.json` and the ONNX graph of [`to_onnx`] (`model.onnx`).
///
/// The directory appears whole or not at all. The card names no license: its author adds one. The card may be edited, and a
/// `LICENSE` added; both stay readable as a detector. A `LICENSE` is kept when the directory is
/// [replaced](Existing::Replace), and the card is written anew.
///
/// # Errors
///
/// As [`to_onnx`] and [`Detector::save`]; [`ExportError::Exists`] when something is there that is to be [kept](Existing::Keep),
/// and [`ExportError::Foreign`] when a directory that is to be replaced holds a file that no export writes, such as `.git`.
pub fn save_hugging_face(
    detector: &Detector<MclModel>,
    directory: impl AsRef<Path>,
    existing: Existing,
) -> Result<(), ExportError> {
    let directory = directory.as_ref();
    let names = [&FILES[..], &BESIDE, &[MANIFEST, CONFIG, GRAPH]].concat();
    existing.allows_directory(directory, &names)?;
    let graph = to_onnx(detector)?;
    let config = serde_json::to_vec_pretty(&config(detector)).expect("settings are plain data");
    let card = card::write(detector);
    Ok(detector.save_with(directory, &[(CONFIG, &config), (GRAPH, &graph)], &[(CARD, card.as_bytes())])?)
}

/// The file `config.json`.
fn config(detector: &Detector<MclModel>) -> Value {
    let (height, width) = detector.image_size();
    json!({
        "library_name": "burn-mcl",
        "library_version": env!("CARGO_PKG_VERSION"),
        "class_names": detector.class_names(),
        "images": { "height": height, "width": width, "channels": "RGB", "range": [0.0, 1.0] },
        "network": detector.known_config(),
        "detector": detector.config(),
        "threshold": detector.threshold(),
        "calibration_images": detector.calibration().scores().len(),
        "training": detector.train_config(),
    })
}
