//! Image sets, SimCLR augmentations and rotated two-view batches for masked contrastive learning
#![forbid(unsafe_code)]

pub mod augment;
pub mod batch;

mod error;
mod image_set;

pub use error::DataError;
pub use image_set::{ImageSet, LabeledImage, Split};
