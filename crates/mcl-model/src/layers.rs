//! The layers of the encoders: convolution, pooling, batch norm, shortcut, ReLU and GELU, on burn-nn's modules.
//!
//! With the feature `flex` they are those of `burn-flex-conv`, otherwise Burn's own.

use std::f64::consts::SQRT_2;

use burn::module::Param;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, Initializer, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData};

use crate::architecture::ConvShape;
use crate::precision::Precision;

#[cfg(feature = "flex")]
use burn_flex_conv as functions;
#[cfg(not(feature = "flex"))]
use burns as functions;

pub(crate) use functions::{
    FeatureMap, conv_gelu, conv_norm, conv_norm_add_relu, conv_norm_gelu, conv_norm_relu, conv_pool_norm_gelu,
};
use functions::{conv_norm_add, gelu};

/// Images as the layers take them, with the precision of the products of all layers that follow.
pub(crate) fn feature_map(images: Tensor<4>, precision: Precision) -> FeatureMap {
    let map = FeatureMap::new(images);
    #[cfg(feature = "flex")]
    if precision == Precision::Bf16 {
        return map.with_precision(burn_flex_conv::Precision::Bf16);
    }
    #[cfg(not(feature = "flex"))]
    let _ = precision;
    map
}

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

/// A 3x3 convolution without bias (a batch norm follows), with padding that keeps the size.
///
/// The first filters are [`dirac`] filters, as many as there are channels in. The others are drawn as PyTorch draws them,
/// from `U(-1, 1) / sqrt(fan_in)`, `fan_in = 9 * channels_in`.
pub(crate) fn dirac_conv(channels: [usize; 2], device: &Device) -> Conv2d {
    let [channels_in, channels_out] = channels;
    let mut conv = Conv2dConfig::new(channels, [3, 3])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(false)
        .with_initializer(Initializer::KaimingUniform { gain: 1.0 / 3.0_f64.sqrt(), fan_out_only: false })
        .init(device);
    let shape = [channels_out.min(channels_in), channels_in, 3, 3];
    conv.weight = conv.weight.init_mapper(move |filters| {
        let first = Tensor::from_data(TensorData::new(dirac(shape), shape), &filters.device());
        filters.slice_assign(shape.map(|size| 0..size), first)
    });
    conv
}

/// Filters of an odd size, of which number `i` passes channel `i` on unchanged: the values in the order of `shape`,
/// `[filters, channels, k, k]` with at most as many filters as channels.
pub(crate) fn dirac(shape: [usize; 4]) -> Vec<f32> {
    let [filters, channels, height, width] = shape;
    let area = height * width;
    let mut values = vec![0.0; filters * channels * area];
    for filter in 0..filters {
        values[(filter * channels + filter) * area + area / 2] = 1.0;
    }
    values
}

/// `gelu(norm(conv(x)) + shortcut)`; the shortcut has the shape of the output.
pub(crate) fn conv_norm_add_gelu(
    x: FeatureMap,
    conv: &Conv2d,
    norm: &BatchNorm,
    shortcut: FeatureMap,
) -> FeatureMap {
    conv_norm_add(x, conv, norm, shortcut).map(gelu)
}

/// Gives a parameter new values; its identity, device and whether it is trained stay.
pub(crate) fn replace<const D: usize>(param: &mut Param<Tensor<D>>, values: TensorData) {
    let tensor = Tensor::from_data(values, &param.lazy_device());
    *param = param.clone().transform_for_load(tensor, param.id);
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

    /// With its exact gradient, where Burn's is that of an approximation.
    pub(crate) fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
        let share = x.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0);
        x * share.mul_scalar(0.5)
    }

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

        /// Applies a function of single values.
        pub(crate) fn map(self, f: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Self {
            Self(f(self.0))
        }

        /// Maximum over the positions: `[n, channels]`.
        pub(crate) fn max(self) -> Tensor<2> {
            // [n, channels, h, w] -> [n, channels, h * w] -> [n, channels]
            self.0.flatten::<3>(2, 3).max_dim(2).squeeze_dim::<2>(2)
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

    pub(crate) fn conv_norm_add(
        x: FeatureMap,
        conv: &Conv2d,
        norm: &BatchNorm,
        shortcut: FeatureMap,
    ) -> FeatureMap {
        FeatureMap(conv_norm(x, conv, norm).0 + shortcut.0)
    }

    pub(crate) fn conv_norm_add_relu(
        x: FeatureMap,
        conv: &Conv2d,
        norm: &BatchNorm,
        shortcut: FeatureMap,
    ) -> FeatureMap {
        conv_norm_add(x, conv, norm, shortcut).map(relu)
    }

    pub(crate) fn conv_gelu(x: FeatureMap, conv: &Conv2d) -> FeatureMap {
        FeatureMap(gelu(conv.forward(x.0)))
    }

    pub(crate) fn conv_norm_gelu(x: FeatureMap, conv: &Conv2d, norm: &BatchNorm) -> FeatureMap {
        conv_norm(x, conv, norm).map(gelu)
    }

    pub(crate) fn conv_pool_norm_gelu(
        x: FeatureMap,
        conv: &Conv2d,
        pool: &MaxPool2d,
        norm: &BatchNorm,
    ) -> FeatureMap {
        FeatureMap(gelu(norm.forward(pool.forward(conv.forward(x.0)))))
    }
}
