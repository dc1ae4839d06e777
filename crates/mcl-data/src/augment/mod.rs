//! SimCLR's augmentations: the two random views of an image that a contrastive loss pulls together.
//!
//! [`ops`] holds the single operations with torchvision's semantics. [`SimClrAugment`] draws their parameters and applies
//! them in one go; a [`ViewTransform`] of one's own can follow. The random numbers of a view depend on its [`ViewKey`]
//! alone: the view is the same on any thread, in any order of work.

pub mod ops;

mod blur;
mod crop;
mod jitter;
mod key;
mod simclr;
mod transform;
mod view;

pub use blur::GaussianBlurConfig;
pub use crop::CropBox;
pub use jitter::{ColorJitter, ColorOp};
pub use key::ViewKey;
pub use simclr::{SimClrAugment, SimClrAugmentConfig};
pub use transform::ViewTransform;
pub(crate) use view::Scratch;
pub use view::View;
