//! What can go wrong while fitting, using, saving or loading a detector.

use mcl_data::{DataError, printable};
use mcl_infer::InferError;
use mcl_infer::metrics::MetricError;
use mcl_model::{ModelError, WeightsError};

use crate::artifact::ArtifactError;

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
    /// The Gaussian of a class cannot be fitted.
    #[error("class `{}`: {source}", printable(.name))]
    Class {
        /// Name of the class.
        name: String,
        /// Why not.
        source: InferError,
    },
    /// A saved detector is of another type of network than the one asked for.
    #[error(
        "the detector was saved with the network {found}, not {expected}: load an MclModel with Detector::load, and any \
         other network with Detector::load_network"
    )]
    OtherNetwork {
        /// Type of the network in the files.
        found: String,
        /// Type asked for.
        expected: String,
    },
    /// A saved detector cannot be read, or one cannot be written.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
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
