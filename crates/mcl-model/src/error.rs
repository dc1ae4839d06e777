//! What can be wrong with the configuration of a network.

use thiserror::Error;

/// A network that cannot be built.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A size that must be at least 1 is 0.
    #[error("{field} is 0: every size of the network must be at least 1")]
    ZeroSize {
        /// The field of the configuration.
        field: &'static str,
    },
    /// The network would have more parameters than [`MclModelConfig::MAX_PARAMETERS`](crate::MclModelConfig).
    #[error(
        "the network would have {parameters} parameters, more than the {limit} that are allowed: \
         reduce width or in_channels, or hidden or projection_dim of the head"
    )]
    TooLarge {
        /// How many parameters the configuration asks for (saturating).
        parameters: u128,
        /// The most that are allowed.
        limit: u128,
    },
    /// The projection head takes another number of features than the encoder gives.
    #[error(
        "the encoder gives {features} features, but the projection head takes {expected}: \
         make the head with feature_dim {features}"
    )]
    Parts {
        /// Features of the encoder.
        features: usize,
        /// Features that the head takes.
        expected: usize,
    },
}

/// The most parameters a network may have: 2^31, which is 8 GiB of f32 weights.
pub(crate) const MAX_PARAMETERS: u128 = 1 << 31;

/// Whether a network may have so many.
pub(crate) fn check_parameters(parameters: u128) -> Result<(), ModelError> {
    let limit = MAX_PARAMETERS;
    if parameters > limit { Err(ModelError::TooLarge { parameters, limit }) } else { Ok(()) }
}

/// Whether all sizes, by the name of their field, are at least 1.
pub(crate) fn check_sizes<const N: usize>(sizes: [(&'static str, usize); N]) -> Result<(), ModelError> {
    match sizes.into_iter().find(|&(_, size)| size == 0) {
        Some((field, _)) => Err(ModelError::ZeroSize { field }),
        None => Ok(()),
    }
}
