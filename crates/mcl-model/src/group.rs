//! A group of convolutions of the network for small images: convolution, maximum over 2 x 2 pixels, batch norm, GELU;
//! convolution, batch norm, GELU; and with `residual` a third convolution and a shortcut.
//!
//! ```text
//! x = gelu(norm1(pool(conv1(x))))
//! y = gelu(norm2(conv2(x)))
//! y = gelu(norm3(conv3(y)) + x)       with `residual`
//! ```
//!
//! All convolutions are 3x3 with padding and without bias. The scale of the batch norms stays 1: only the shift is
//! trained.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::Device;

use crate::layers::{FeatureMap, conv_norm_add_gelu, conv_norm_gelu, conv_pool_norm_gelu, dirac_conv};

/// How much of each batch's statistics goes into the running statistics, in the convention of Burn and PyTorch.
const MOMENTUM: f64 = 0.2;

/// Two or three convolutions.
#[derive(Module, Debug)]
pub(crate) struct Group {
    pub(crate) conv1: Conv2d,
    pool: MaxPool2d,
    pub(crate) norm1: BatchNorm,
    pub(crate) conv2: Conv2d,
    pub(crate) norm2: BatchNorm,
    /// With `residual` alone, as `norm3`.
    pub(crate) conv3: Option<Conv2d>,
    pub(crate) norm3: Option<BatchNorm>,
}

/// Number of trainable parameters of a group (saturating).
pub(crate) fn parameters([channels_in, channels_out]: [usize; 2], residual: bool) -> u128 {
    let layer = |channels_in: usize| {
        // The weights, and the shift of the batch norm.
        let weights = (channels_in as u128).saturating_mul(channels_out as u128).saturating_mul(9);
        weights.saturating_add(channels_out as u128)
    };
    let inner = layer(channels_out).saturating_mul(if residual { 2 } else { 1 });
    layer(channels_in).saturating_add(inner)
}

impl Group {
    pub(crate) fn new([channels_in, channels_out]: [usize; 2], residual: bool, device: &Device) -> Self {
        let inner = || dirac_conv([channels_out; 2], device);
        let norm = || norm(channels_out, device);
        Self {
            conv1: dirac_conv([channels_in, channels_out], device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            norm1: norm(),
            conv2: inner(),
            norm2: norm(),
            conv3: residual.then(inner),
            norm3: residual.then(norm),
        }
    }

    /// `[n, channels_in, h, w] -> [n, channels_out, h / 2, w / 2]`, rounded down
    pub(crate) fn forward(&self, input: FeatureMap) -> FeatureMap {
        let x = conv_pool_norm_gelu(input, &self.conv1, &self.pool, &self.norm1);
        match (&self.conv3, &self.norm3) {
            (Some(conv3), Some(norm3)) => {
                let y = conv_norm_gelu(x.clone(), &self.conv2, &self.norm2);
                conv_norm_add_gelu(y, conv3, norm3, x)
            }
            _ => conv_norm_gelu(x, &self.conv2, &self.norm2),
        }
    }

    /// Channels out.
    pub(crate) fn channels(&self) -> usize {
        let [channels, _, _, _] = self.conv2.weight.lazy_shape().dims();
        channels
    }

    /// Takes the scales of the batch norms out of training.
    pub(crate) fn fix(mut self) -> Self {
        self.norm1 = with_fixed_scale(self.norm1);
        self.norm2 = with_fixed_scale(self.norm2);
        self.norm3 = self.norm3.map(with_fixed_scale);
        self
    }
}

fn norm(channels: usize, device: &Device) -> BatchNorm {
    with_fixed_scale(BatchNormConfig::new(channels).with_momentum(MOMENTUM).init(device))
}

fn with_fixed_scale(mut norm: BatchNorm) -> BatchNorm {
    norm.gamma = norm.gamma.set_require_grad(false);
    norm
}
