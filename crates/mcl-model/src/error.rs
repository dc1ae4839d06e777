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
         reduce width, widths or in_channels of the encoder, hidden or projection_dim of the head, or classifier"
    )]
    TooLarge {
        /// How many parameters the configuration asks for (saturating).
        parameters: u128,
        /// The most that are allowed.
        limit: u128,
    },
    /// Torchvision's stem standardises red, green and blue.
    #[error(
        "Stem::Torchvision takes 3 channels, red, green and blue, not {in_channels}: take Stem::ImageNet"
    )]
    StemChannels {
        /// Channels that the configuration asks for.
        in_channels: usize,
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
    /// The classifier takes another number of features than the encoder gives.
    #[error(
        "the encoder gives {features} features, but the classifier takes {expected}: \
         make the classifier with {features} inputs"
    )]
    Classifier {
        /// Features of the encoder.
        features: usize,
        /// Features that the classifier takes.
        expected: usize,
    },
    /// The images given for whitening have no patches that fit the stem.
    #[error(
        "images of the shape {found:?} cannot whiten the stem: give at least one image with {in_channels} channels \
         and 2 x 2 pixels or more, [n, {in_channels}, h, w]"
    )]
    WhiteningShape {
        /// Shape of the images.
        found: [usize; 4],
        /// Channels that the stem takes.
        in_channels: usize,
    },
    /// The images given for whitening say nothing about patches: they are not finite, or all pixels are the same.
    #[error(
        "the pixels of the images have the variance {variance}, and whitening divides by it: give images that are \
         finite and not all of one colour"
    )]
    WhiteningValues {
        /// The mean variance of a pixel.
        variance: f64,
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
