//! CIFAR-10: 50,000 training and 10,000 test images of 10 classes, 32 x 32 (Krizhevsky, 2009). The paper's main set.

use std::path::Path;

use super::cifar::{Cifar, Parts};
use crate::{DataError, ImageSet, Split};

/// The classes, by label.
pub const CLASS_NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

pub(crate) const CIFAR10: Cifar = Cifar {
    title: "CIFAR-10",
    folder: "cifar-10-batches-bin",
    png_folders: &["cifar10", "cifar-10"],
    train_files: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test_files: &["test_batch.bin"],
    train_records: 10_000, // in each of the five
    test_records: 10_000,
    label_bytes: 1,
    class_names: &CLASS_NAMES,
};

/// Loads the set from `root`, which holds `cifar-10-batches-bin/` (or is it), or `train|test/<class>/*.png`, or
/// `cifar10/` with such folders.
///
/// # Errors
/// - [`DataError::ImageCount`] if a file of records holds fewer than published; see [`load_partial`]
/// - [`DataError::Missing`] if there is nothing of it under `root`: says what to put where
/// - [`DataError::Truncated`], [`DataError::FileSize`], [`DataError::LabelInFile`] for damaged files of records
/// - [`DataError::Undecodable`], [`DataError::ImageSize`], [`DataError::EmptyFolder`] for folders of PNGs
/// - [`DataError::Io`]
///
/// ```no_run
/// use mcl_data::{Split, cifar10};
/// let train = cifar10::load("data".as_ref(), Split::Train)?;
/// assert_eq!(train.len(), 50_000);
/// # Ok::<(), mcl_data::DataError>(())
/// ```
pub fn load(root: &Path, split: Split) -> Result<ImageSet, DataError> {
    CIFAR10.load(root, split, Parts::Refused)
}

/// As [`load`], from files of records that may hold fewer than published: a part of the set.
///
/// # Errors
/// As [`load`], but for the number of records.
pub fn load_partial(root: &Path, split: Split) -> Result<ImageSet, DataError> {
    CIFAR10.load(root, split, Parts::Allowed)
}
