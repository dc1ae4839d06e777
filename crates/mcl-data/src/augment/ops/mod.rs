//! Operations on one image: f32, planar RGB, [3, height, width], values in [0, 1].
//!
//! They give what torchvision's `transforms.functional` gives for a float tensor (antialiased bilinear resizing), not what
//! it gives for a PIL image, which is rounded to 8 bits after each step.
//!
//! ```
//! use mcl_data::augment::ops::{self, Image};
//!
//! let mut image = Image::from_u8(&[255, 0, 0, 0, 51, 0, 0, 0, 0, 0, 0, 0], (2, 2))?;
//! ops::adjust_brightness(&mut image, 0.5)?;
//! let turned = ops::rotate90(&image, 1); // a quarter turn counterclockwise
//! assert_eq!(turned.pixels()[..4], [0.0, 0.0, 0.5, 0.0]); // the red corner went from top left to bottom left
//! # Ok::<(), mcl_data::DataError>(())
//! ```

mod blur;
mod color;
mod geometry;
mod hue;
mod image;
mod resize;
mod shift;

pub use self::image::Image;
pub use blur::gaussian_blur;
pub use color::{adjust_brightness, adjust_contrast, adjust_saturation, grayscale};
pub use geometry::{horizontal_flip, rotate90, vertical_flip};
pub use hue::adjust_hue;
pub use resize::resized_crop;
pub use shift::shift;

pub(crate) use self::image::Channel;
pub(in crate::augment) use blur::Blur;
pub(in crate::augment) use color::{brightness, contrast, gray, saturation};
pub(in crate::augment) use geometry::Walk;
pub(in crate::augment) use hue::shift_hue;
pub(in crate::augment) use resize::Resizer;
pub(in crate::augment) use shift::Shift;
