#![doc = include_str!("../README.md")]
//!
//! ## Modules
//!
//! | module | what it holds |
//! |---|---|
//! | [`train`] | [`Trainer`](train::Trainer): images in, a network out, with a log and checkpoints |
//! | [`detector`] | [`Detector`](detector::Detector): a network, its Gaussians and a threshold; fitted, asked, saved, loaded |
//! | [`device`] | the device that `BURN_DEVICE` names, without a panic |
//! | [`evaluation`] | the paper's tables: accuracy and AUROC for each way of scoring |
//! | `export` | a detector as an ONNX graph and for the Hugging Face Hub (feature `onnx`) |
//! | [`report`] | [`Report`](report::Report): figures, tables and pictures in one HTML file |
//! | [`embed`] | projections, features and logits of every view of a set of images |
//! | [`scored`] | scores of every view of a set of images, to be judged in any way later |
//! | [`odin`] | the detector ODIN, which needs the gradient of the network |
//! | [`systems`] | the baselines, ablations and systems of the paper's tables, each trained and scored by one call |
//! | [`data`] | the crate `mcl-data`: images, batches, augmentations |
//! | [`model`] | the crate `mcl-model`: networks and their weights |
//! | [`loss`] | the crate `mcl-loss`: MCL, NT-Xent, SupCon |
//! | [`infer`] | the crate `mcl-infer`: Gaussians, scores, calibration, metrics |
//! | [`burn`] | the framework: tensors, devices, optimizers |
#![forbid(unsafe_code)]

mod artifact;
pub mod comparison;
mod defaults;
pub mod detector;
pub mod device;
pub mod embed;
pub mod evaluation;
#[cfg(feature = "onnx")]
pub mod export;
mod files;
pub mod odin;
mod part;
mod progress;
pub mod report;
pub mod scored;
pub mod systems;
pub mod train;

pub use artifact::ArtifactError;
/// The version of Burn whose tensors and devices these crates take.
pub use burn;
pub use files::FileError;
pub use mcl_data as data;
pub use mcl_infer as infer;
pub use mcl_loss as loss;
pub use mcl_model as model;
pub use progress::Progress;

/// The program in the guide compiles.
#[cfg(doctest)]
#[doc = include_str!("../docs/own-images.md")]
struct OwnImagesGuide;

/// The program in the guide to exports compiles.
#[cfg(all(doctest, feature = "onnx"))]
#[doc = include_str!("../docs/export.md")]
struct ExportGuide;
