//! The convolutions of the encoder: square kernel, no bias (a batch norm follows each), padding that keeps the size at
//! stride 1.
//!
//! Every convolution of the crate is built and run here, so that another implementation needs to change this file only.

#[cfg(feature = "flex")]
mod flex;

use std::f64::consts::SQRT_2;

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};

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

    /// `[n, channels_in, h, w] -> [n, channels_out, ceil(h / stride), ceil(w / stride)]`
    pub(crate) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([self.stride; 2], [self.padding; 2], [1, 1], 1);
        conv2d(input, self.weight.val(), None, options)
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
