//! The layers of the encoder: convolution, batch norm, shortcut and ReLU, on burn-nn's modules.
//!
//! With the feature `flex` they are those of `burn-flex-conv`, otherwise Burn's own.

use std::f64::consts::SQRT_2;

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::Device;

use crate::architecture::ConvShape;

#[cfg(feature = "flex")]
pub(crate) use burn_flex_conv::{FeatureMap, conv_norm, conv_norm_add_relu, conv_norm_relu};
#[cfg(not(feature = "flex"))]
pub(crate) use burns::{FeatureMap, conv_norm, conv_norm_add_relu, conv_norm_relu};

/// A convolution without bias (a batch norm follows), with padding that keeps the size at stride 1.
///
/// Weights are drawn from `N(0, 2 / fan_out)`, `fan_out = channels_out * kernel^2` (Kaiming, fan-out, for
/// ReLU).
pub(crate) fn conv(shape: &ConvShape, device: &Device) -> Conv2d {
    let &ConvShape { channels, kernel, stride } = shape;
    let pad = kernel / 2;
    Conv2dConfig::new(channels, [kernel; 2])
        .with_stride([stride; 2])
        // Explicit: "same" padding of a strided convolution is asymmetric, PyTorch's is not.
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_bias(false)
        .with_initializer(Initializer::KaimingNormal { gain: SQRT_2, fan_out_only: true })
        .init(device)
}

/// Frees the memory that the feature `flex` keeps: of activations from one training step for the next, and of
/// weights that are packed for evaluation.
///
/// That memory belongs to the process, not to a network. The activations of a step take gigabytes for large
/// batches: call this after training. Tensors in use are not touched, and networks still run: the next step
/// takes memory anew. Without the feature this function does nothing.
pub fn release_memory() {
    #[cfg(feature = "flex")]
    burn_flex_conv::release_memory();
}

/// The functions of `burn-flex-conv` by Burn's own layers.
#[cfg(not(feature = "flex"))]
mod burns {
    use burn::nn::BatchNorm;
    use burn::nn::conv::Conv2d;
    use burn::nn::pool::MaxPool2d;
    use burn::tensor::Tensor;
    use burn::tensor::activation::relu;

    /// `[n, channels, h, w]`
    #[derive(Debug, Clone)]
    pub(crate) struct FeatureMap(Tensor<4>);

    impl FeatureMap {
        pub(crate) fn new(values: Tensor<4>) -> Self {
            Self(values)
        }

        pub(crate) fn max_pool(self, pool: &MaxPool2d) -> Self {
            Self(pool.forward(self.0))
        }

        /// Mean over the positions: `[n, channels]`.
        pub(crate) fn mean(self) -> Tensor<2> {
            // [n, channels, h, w] -> [n, channels, h * w] -> [n, channels]
            self.0.flatten::<3>(2, 3).mean_dim(2).squeeze_dim::<2>(2)
        }
    }

    pub(crate) fn conv_norm(x: FeatureMap, conv: &Conv2d, norm: &BatchNorm) -> FeatureMap {
        FeatureMap(norm.forward(conv.forward(x.0)))
    }

    pub(crate) fn conv_norm_relu(x: FeatureMap, conv: &Conv2d, norm: &BatchNorm) -> FeatureMap {
        FeatureMap(relu(conv_norm(x, conv, norm).0))
    }

    pub(crate) fn conv_norm_add_relu(
        x: FeatureMap,
        conv: &Conv2d,
        norm: &BatchNorm,
        shortcut: FeatureMap,
    ) -> FeatureMap {
        FeatureMap(relu(conv_norm(x, conv, norm).0 + shortcut.0))
    }
}
