#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod artifact;
pub mod detector;
pub mod embed;
pub mod evaluation;
mod files;
mod progress;
pub mod report;
pub mod scored;
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
