//! Image sets, SimCLR augmentations and rotated two-view batches for masked contrastive learning.
//!
//! Every source ends in an [`ImageSet`]: 8-bit planar RGB in memory, with labels and class names, which is also a
//! [`Dataset`](burn::data::dataset::Dataset) for Burn's own loaders.
//!
//! | module | set | from |
//! |---|---|---|
//! | [`cifar10`], [`cifar100`] | the paper's in-distribution sets | official binary files, folders of PNGs |
//! | [`svhn`] | house numbers, OOD | official `.mat` files |
//! | [`lsun_fix`], [`imagenet_fix`] | scenes and objects without resizing artefacts, OOD | folders, archives, [`fix::make`] |
//! | [`openood`] | the test sets of OpenOOD's benchmark | its image lists and pictures |
//! | [`image_folder`] | one's own pictures | a folder with one sub-folder a class, cached |
//! | [`shapes`] | ten signs, near and far OOD | drawn on the spot: no files, no network |
//!
//! | module | what is done with a set |
//! |---|---|
//! | [`augment`] | two random views of an image, with SimCLR's augmentations |
//! | [`batch`] | batches of such pairs in four rotations for training, of images as they are for evaluation |
//! | [`archive`] | a downloaded `.tar` or `.tar.gz` is unpacked, within limits |
//!
//! With the feature `download`, the module `download` fetches CIFAR-10, CIFAR-100 and SVHN.
//!
//! Files are not trusted: damage of any kind is a [`DataError`] with the path and, where there is one, the byte offset;
//! decoding and extracting run within limits, and nothing is written outside the folder asked for.
//!
//! ```
//! use mcl_data::shapes::{self, ShapesSplit};
//!
//! let train = shapes::generate(ShapesSplit::Train, 100, 0);
//! let one_class = train.select_classes(&[4])?;
//! assert_eq!((one_class.len(), one_class.class_names()[0].as_str()), (100, "flag"));
//! # Ok::<(), mcl_data::DataError>(())
//! ```
#![forbid(unsafe_code)]

pub mod augment;
pub mod batch;
mod copies;
#[cfg(feature = "download")]
pub mod download;
mod error;
mod files;
mod hold_out;
mod image_set;
mod printable;
mod sets;

pub use error::DataError;
pub use files::archive;
pub use image_set::{ImageSet, LabeledImage, Split};
pub use printable::{cell_name, printable, utf8_name};
pub use sets::{cifar10, cifar100, fix, image_folder, imagenet_fix, lsun_fix, openood, shapes, svhn};
