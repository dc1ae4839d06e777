//! What can go wrong while a report is made.

use std::path::PathBuf;

use mcl_data::printable;
use mcl_infer::InferError;
use mcl_infer::metrics::MetricError;

use crate::files::FileError;

/// Errors of [`Report`](super::Report).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A page that is no report, and that a report would replace.
    #[error("{} is no report of burn-mcl, and is kept: choose another folder", printable(.path))]
    Foreign {
        /// The page.
        path: PathBuf,
    },
    /// Scores, labels, files or projections that are not one for each image.
    #[error("the set `{}` has {images} images, but {found} {what}", printable(.set))]
    Count {
        /// Name of the set.
        set: String,
        /// Its images.
        images: usize,
        /// What there should be one of for each image.
        what: &'static str,
        /// How many there are.
        found: usize,
    },
    /// A set without images.
    #[error("the set `{}` has no images: give it some, or leave it out", printable(.set))]
    Empty {
        /// Name of the set.
        set: String,
    },
    /// Two sets of one name, which no table or file could tell apart.
    #[error("two sets are named `{}`: give each a name of its own", printable(.set))]
    SameName {
        /// The name.
        set: String,
    },
    /// A class that the training images do not have.
    #[error(
        "image {image} of the set `{}` has class {class}, but there are {classes} training classes", printable(.set)
    )]
    Class {
        /// Name of the set.
        set: String,
        /// Index of the image.
        image: usize,
        /// Its class.
        class: usize,
        /// Number of training classes.
        classes: usize,
    },
    /// Projections of another network than those of the training images.
    #[error(
        "the projections of the set `{}` have {found} dimensions, those of the training images {expected}",
        printable(.set)
    )]
    Dimension {
        /// Name of the set.
        set: String,
        /// Dimensions of its projections.
        found: usize,
        /// Dimensions of those of the training images.
        expected: usize,
    },
    /// A score or threshold that is not a number.
    #[error("{} is {value:?}: a report needs finite numbers", printable(.what))]
    NonFinite {
        /// What it is.
        what: String,
        /// Its value.
        value: f64,
    },
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A metric is not defined.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// The nearest training images cannot be found.
    #[error(transparent)]
    Infer(#[from] InferError),
}
