//! What can go wrong while fitting, using, saving or loading a detector.

use std::path::PathBuf;

use mcl_data::DataError;
use mcl_infer::InferError;
use mcl_infer::metrics::MetricError;
use mcl_model::{ModelError, WeightsError};

/// Errors of [`Detector`](super::Detector) and of [`evaluate`](crate::evaluation::evaluate).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetectorError {
    /// A setting is out of range.
    #[error("detector setting `{setting}` is {value}, but must be {expected}")]
    Config {
        /// Name of the setting in [`DetectorConfig`](super::DetectorConfig).
        setting: &'static str,
        /// Its value.
        value: String,
        /// The values it may have.
        expected: &'static str,
    },
    /// Images of another size than the detector was trained on.
    #[error(
        "images are {found:?} (channels, height, width), but this detector takes {expected:?}; resize them"
    )]
    ImageShape {
        /// Shape of the images given.
        found: [usize; 3],
        /// Shape the detector takes.
        expected: [usize; 3],
    },
    /// A score is not a number: the images or the weights hold values that are not.
    #[error("image {image} has the score {score}; check that its pixels, and the weights, are finite")]
    NonFiniteScore {
        /// Index of the image in the call.
        image: usize,
        /// The score.
        score: f64,
    },
    /// A saved detector is damaged, or not one.
    #[error("{} is not a detector that can be read: {reason}", .path.display())]
    Artifact {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A saved detector is of a format that this version does not know.
    #[error("{} has format {found}, but this version reads up to {newest}: update burn-mcl", .path.display())]
    Format {
        /// The file that says so.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Newest format that is known.
        newest: u32,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The images are unfit.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The Gaussians cannot be fitted or used.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// A metric is not defined.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// The network's settings are invalid.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network's weights cannot be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}
