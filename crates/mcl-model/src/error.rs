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
}
