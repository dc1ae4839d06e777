//! Detectors for other programs: as an ONNX graph, and as a directory for the Hugging Face Hub.
//!
//! | function | what it makes |
//! |---|---|
//! | [`to_onnx`] | the bytes of an ONNX graph: images in, label, score, p-value and decision out |
//! | [`save_onnx`] | a file of the same |
//! | [`save_hugging_face`] | a saved detector with a model card, `config.json` and `model.onnx` |
//!
//! ```no_run
//! use burn_mcl::burn::tensor::Device;
//! use burn_mcl::detector::Detector;
//! use burn_mcl::export::{Existing, save_onnx};
//!
//! let detector = Detector::load("runs/own/detector", &Device::default())?;
//! save_onnx(&detector, "detector.onnx", Existing::Keep)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod card;
mod error;
mod existing;
mod gaussians;
mod graph;
mod hugging_face;
mod messages;
mod network;
mod onnx;
mod probabilities;
mod verdict;
mod views;

pub use error::ExportError;
pub use existing::Existing;
pub use hugging_face::save_hugging_face;
pub use onnx::{save_onnx, to_onnx};
