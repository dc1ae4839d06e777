//! Image sets, SimCLR augmentations and rotated two-view batches for masked contrastive learning
#![forbid(unsafe_code)]

pub mod archive;
pub mod augment;
pub mod batch;
mod cifar;
pub mod cifar10;
pub mod cifar100;
mod decode;
#[cfg(feature = "download")]
pub mod download;
mod error;
pub mod fix;
mod folder;
pub mod image_folder;
mod image_set;
pub mod imagenet_fix;
pub mod lsun_fix;
mod mat;
mod resize;
pub mod shapes;
pub mod svhn;

pub use error::DataError;
pub use image_set::{ImageSet, LabeledImage, Split};
