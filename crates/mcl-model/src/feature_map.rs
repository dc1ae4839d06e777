//! The activations between the layers, in the memory layout that the device's convolutions want.

use burn::nn::pool::MaxPool2d;
use burn::tensor::Tensor;

/// Activations of a batch.
#[derive(Debug, Clone)]
pub(crate) enum FeatureMap {
    /// `[n, channels, h, w]`, as Burn's own operations take it
    ChannelsFirst(Tensor<4>),
    /// `[n, h, w, channels]`, on the CPU
    #[cfg(feature = "flex")]
    ChannelsLast(Tensor<4>),
}

impl FeatureMap {
    /// From `[n, channels, h, w]`.
    pub(crate) fn from_images(images: Tensor<4>) -> Self {
        #[cfg(feature = "flex")]
        if crate::conv::flex::supports(&images) {
            return Self::ChannelsLast(images.permute([0, 2, 3, 1]));
        }
        Self::ChannelsFirst(images)
    }

    /// `[n, channels, h, w]`
    pub(crate) fn channels_first(self) -> Tensor<4> {
        match self {
            Self::ChannelsFirst(x) => x,
            #[cfg(feature = "flex")]
            Self::ChannelsLast(x) => x.permute([0, 3, 1, 2]),
        }
    }

    /// `[n, h, w, channels]`
    #[cfg(feature = "flex")]
    pub(crate) fn channels_last(self) -> Tensor<4> {
        match self {
            Self::ChannelsFirst(x) => x.permute([0, 2, 3, 1]),
            Self::ChannelsLast(x) => x,
        }
    }

    pub(crate) fn max_pool(self, pool: &MaxPool2d) -> Self {
        match self {
            Self::ChannelsFirst(x) => Self::ChannelsFirst(pool.forward(x)),
            #[cfg(feature = "flex")]
            Self::ChannelsLast(x) => {
                Self::ChannelsLast(pool.forward(x.permute([0, 3, 1, 2])).permute([0, 2, 3, 1]))
            }
        }
    }

    /// Mean over the positions: `[n, channels]`.
    pub(crate) fn mean(self) -> Tensor<2> {
        match self {
            // [n, channels, h, w] -> [n, channels, h * w] -> [n, channels]
            Self::ChannelsFirst(x) => x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim::<2>(2),
            // [n, h, w, channels] -> [n, h * w, channels] -> [n, channels]
            #[cfg(feature = "flex")]
            Self::ChannelsLast(x) => x.flatten::<3>(1, 2).mean_dim(1).squeeze_dim::<2>(1),
        }
    }
}
