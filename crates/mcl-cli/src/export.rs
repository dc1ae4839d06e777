//! `mcl export`: a saved detector for other programs.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use burn_mcl::burn::tensor::Device;
use burn_mcl::data::printable;
use burn_mcl::export::{Existing, save_hugging_face, save_onnx};
use clap::Args;

use crate::saved;

/// The arguments of `mcl export`, at least one of `--onnx` and `--hugging-face` among them.
#[derive(Debug, Args)]
pub struct Settings {
    /// The saved detector, a folder, or the run folder that it is in
    detector: PathBuf,
    /// Write the whole detector as one ONNX graph: images in, label, score, p-value and decision out
    #[arg(long, value_name = "FILE", required_unless_present = "hugging_face")]
    onnx: Option<PathBuf>,
    /// Write a folder for the Hugging Face Hub: model card, config.json, model.safetensors and model.onnx, beside the other files of
    /// a saved detector
    #[arg(long, value_name = "DIR")]
    hugging_face: Option<PathBuf>,
    /// Share of normal pictures that are to pass, if another than the detector was saved with
    #[arg(long, allow_negative_numbers = true)]
    tpr: Option<f64>,
    /// Replace what an earlier export wrote; an edited model card is written anew
    #[arg(long)]
    force: bool,
}

/// Writes what was asked for, and to `out` where it is.
///
/// # Errors
///
/// When the detector cannot be loaded or exported, when a file is in the way or cannot be written, or when `out` does not take the
/// text.
pub fn run(settings: &Settings, device: &Device, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let detector = saved::load(&settings.detector, settings.tpr, device)?;
    let existing = if settings.force { Existing::Replace } else { Existing::Keep };
    if let Some(file) = &settings.onnx {
        save_onnx(&detector, file, existing)?;
        writeln!(out, "ONNX graph: {}", printable(file))?;
    }
    if let Some(directory) = &settings.hugging_face {
        save_hugging_face(&detector, directory, existing)?;
        writeln!(out, "for Hugging Face: {}", printable(directory))?;
    }
    Ok(())
}
