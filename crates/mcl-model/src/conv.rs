//! The convolutions of the encoder: square kernel, no bias (a batch norm follows each), padding that keeps the size at
//! stride 1.
//!
//! Every convolution of the crate is built and run here: on flex by the layers in `flex/`, elsewhere by Burn's.

#[cfg(feature = "flex")]
pub(crate) mod flex;

use std::f64::consts::SQRT_2;

use burn::module::{Module, Param};
use burn::nn::{BatchNorm, Initializer};
use burn::tensor::activation::relu;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};

use crate::feature_map::FeatureMap;

/// Frees the memory that the feature `flex` keeps of one training step, or one call of a network, for the next.
///
/// That memory belongs to the process, not to a network, and holds about as much as the activations of a step: gigabytes
/// for large batches. Call this after training. Tensors in use are not touched, and networks still run: the next step takes
/// memory anew. Without the feature it does nothing.
pub fn release_memory() {
    #[cfg(feature = "flex")]
    flex::release_memory();
}

/// A convolution without bias.
#[derive(Module, Debug)]
pub(crate) struct Conv2d {
    /// `[channels_out, channels_in, kernel, kernel]`
    pub(crate) weight: Param<Tensor<4>>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// Weights are drawn from `N(0, 2 / fan_out)`, `fan_out = channels_out * kernel^2` (Kaiming, fan-out, for ReLU).
    pub(crate) fn new(channels: [usize; 2], kernel: usize, stride: usize, device: &Device) -> Self {
        let [channels_in, channels_out] = channels;
        let fan_out = channels_out * kernel * kernel;
        let initializer = Initializer::KaimingNormal { gain: SQRT_2, fan_out_only: true };
        let weight =
            initializer.init_with([channels_out, channels_in, kernel, kernel], None, Some(fan_out), device);
        // Explicit: "same" padding of a strided convolution is asymmetric, PyTorch's is not.
        Self { weight, stride, padding: kernel / 2 }
    }

    /// `batch_norm(conv(x))`
    pub(crate) fn norm(&self, x: FeatureMap, batch_norm: &BatchNorm) -> FeatureMap {
        self.run(x, batch_norm, None, false)
    }

    /// `relu(batch_norm(conv(x)))`
    pub(crate) fn norm_relu(&self, x: FeatureMap, batch_norm: &BatchNorm) -> FeatureMap {
        self.run(x, batch_norm, None, true)
    }

    /// `relu(batch_norm(conv(x)) + shortcut)`
    pub(crate) fn norm_add_relu(
        &self,
        x: FeatureMap,
        batch_norm: &BatchNorm,
        shortcut: FeatureMap,
    ) -> FeatureMap {
        self.run(x, batch_norm, Some(shortcut), true)
    }

    /// `[n, channels_in, h, w] -> [n, channels_out, ceil(h / stride), ceil(w / stride)]`
    fn run(
        &self,
        x: FeatureMap,
        batch_norm: &BatchNorm,
        shortcut: Option<FeatureMap>,
        with_relu: bool,
    ) -> FeatureMap {
        match x {
            FeatureMap::ChannelsFirst(x) => {
                let options = ConvOptions::new([self.stride; 2], [self.padding; 2], [1, 1], 1);
                let mut y = batch_norm.forward(conv2d(x, self.weight.val(), None, options));
                if let Some(shortcut) = shortcut {
                    y = y + shortcut.channels_first();
                }
                FeatureMap::ChannelsFirst(if with_relu { relu(y) } else { y })
            }
            #[cfg(feature = "flex")]
            FeatureMap::ChannelsLast(x) => {
                let steps = flex::Steps { stride: self.stride, padding: self.padding };
                let shortcut = shortcut.map(FeatureMap::channels_last);
                FeatureMap::ChannelsLast(flex::layer(
                    x,
                    self.weight.val(),
                    batch_norm,
                    shortcut,
                    steps,
                    with_relu,
                ))
            }
        }
    }
}

/// 1x1, for projections of the shortcut and for bottlenecks.
pub(crate) fn conv1x1(channels: [usize; 2], stride: usize, device: &Device) -> Conv2d {
    Conv2d::new(channels, 1, stride, device)
}

/// 3x3 with padding 1.
pub(crate) fn conv3x3(channels: [usize; 2], stride: usize, device: &Device) -> Conv2d {
    Conv2d::new(channels, 3, stride, device)
}

/// 7x7 with padding 3, the first convolution for large images.
pub(crate) fn conv7x7(channels: [usize; 2], stride: usize, device: &Device) -> Conv2d {
    Conv2d::new(channels, 7, stride, device)
}
