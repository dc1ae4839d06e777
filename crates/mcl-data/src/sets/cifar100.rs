//! CIFAR-100: 50,000 training and 10,000 test images of 100 classes, 32 x 32 (Krizhevsky, 2009). Near-OOD for CIFAR-10.

use std::path::Path;

use super::cifar::{Cifar, Parts};
use crate::{DataError, ImageSet, Split};

/// The fine classes, by label.
#[rustfmt::skip]
pub const CLASS_NAMES: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl",
    "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair",
    "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin",
    "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp",
    "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck",
    "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
    "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television",
    "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
];

pub(crate) const CIFAR100: Cifar = Cifar {
    title: "CIFAR-100",
    folder: "cifar-100-binary",
    png_folders: &["cifar100", "cifar-100"],
    train_files: &["train.bin"],
    test_files: &["test.bin"],
    train_records: 50_000,
    test_records: 10_000,
    label_bytes: 2, // coarse, fine
    class_names: &CLASS_NAMES,
};

/// Loads the set with its fine labels from `root`, which holds `cifar-100-binary/` (or is it), or
/// `train|test/<class>/*.png`, or `cifar100/` with such folders.
///
/// # Errors
/// - [`DataError::ImageCount`] if a file of records holds fewer than published; see [`load_partial`]
/// - [`DataError::Missing`] if there is nothing of it under `root`: says what to put where
/// - [`DataError::Truncated`], [`DataError::FileSize`], [`DataError::LabelInFile`] for damaged files of records
/// - [`DataError::Undecodable`], [`DataError::ImageSize`], [`DataError::EmptyFolder`] for folders of PNGs
/// - [`DataError::Io`]
///
/// ```no_run
/// use mcl_data::{Split, cifar100};
/// let test = cifar100::load("data".as_ref(), Split::Test)?;
/// assert_eq!(test.len(), 10_000);
/// # Ok::<(), mcl_data::DataError>(())
/// ```
pub fn load(root: &Path, split: Split) -> Result<ImageSet, DataError> {
    CIFAR100.load(root, split, Parts::Refused)
}

/// As [`load`], from files of records that may hold fewer than published: a part of the set.
///
/// # Errors
/// As [`load`], but for the number of records.
pub fn load_partial(root: &Path, split: Split) -> Result<ImageSet, DataError> {
    CIFAR100.load(root, split, Parts::Allowed)
}
