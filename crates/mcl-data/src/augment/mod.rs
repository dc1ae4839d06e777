//! SimCLR's augmentations: the two random views of an image that a contrastive loss pulls together.
//!
//! [`ops`] holds the single operations with torchvision's semantics; [`SimClrAugment`] draws their parameters and applies
//! them in one go. What is drawn depends on a [`ViewKey`] only, so a view is the same whoever makes it, and when.

pub mod ops;

mod crop;
mod jitter;
mod key;
mod simclr;
mod view;

pub use crop::CropBox;
pub use jitter::{ColorJitter, ColorOp};
pub use key::ViewKey;
pub use simclr::{SimClrAugment, SimClrAugmentConfig};
pub(crate) use view::Scratch;
pub use view::View;
