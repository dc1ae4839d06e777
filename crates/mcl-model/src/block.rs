//! The residual blocks of He et al. (2016): two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1.
//!
//! ```text
//! y = relu(residual(x) + shortcut(x))
//! ```
//!
//! The shortcut is the identity, or a strided 1x1 convolution with batch norm where the shape changes. A
//! bottleneck has its stride on the 3x3 convolution, as torchvision's (known as "v1.5").

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::Device;

use crate::architecture::{BlockShape, ConvShape};
use crate::layers::{FeatureMap, conv, conv_norm, conv_norm_add_relu, conv_norm_relu};

/// Two 3x3 convolutions.
#[derive(Module, Debug)]
pub(crate) struct BasicBlock {
    pub(crate) conv1: Conv2d,
    pub(crate) bn1: BatchNorm,
    pub(crate) conv2: Conv2d,
    pub(crate) bn2: BatchNorm,
    pub(crate) downsample: Option<Downsample>,
}

impl BasicBlock {
    fn forward(&self, input: FeatureMap) -> FeatureMap {
        let hidden = conv_norm_relu(input.clone(), &self.conv1, &self.bn1);
        let shortcut = shortcut(self.downsample.as_ref(), input);
        conv_norm_add_relu(hidden, &self.conv2, &self.bn2, shortcut)
    }
}

/// 1x1 to a narrower width, 3x3, and 1x1 to four times the width.
#[derive(Module, Debug)]
pub(crate) struct Bottleneck {
    pub(crate) conv1: Conv2d,
    pub(crate) bn1: BatchNorm,
    pub(crate) conv2: Conv2d,
    pub(crate) bn2: BatchNorm,
    pub(crate) conv3: Conv2d,
    pub(crate) bn3: BatchNorm,
    pub(crate) downsample: Option<Downsample>,
}

impl Bottleneck {
    fn forward(&self, input: FeatureMap) -> FeatureMap {
        let hidden = conv_norm_relu(input.clone(), &self.conv1, &self.bn1);
        let hidden = conv_norm_relu(hidden, &self.conv2, &self.bn2);
        let shortcut = shortcut(self.downsample.as_ref(), input);
        conv_norm_add_relu(hidden, &self.conv3, &self.bn3, shortcut)
    }
}

/// The shortcut where a block changes the shape: 1x1 convolution and batch norm.
#[derive(Module, Debug)]
pub(crate) struct Downsample {
    pub(crate) conv: Conv2d,
    pub(crate) bn: BatchNorm,
}

fn shortcut(downsample: Option<&Downsample>, input: FeatureMap) -> FeatureMap {
    match downsample {
        Some(downsample) => conv_norm(input, &downsample.conv, &downsample.bn),
        None => input,
    }
}

/// One residual block.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // A network has blocks of one kind only: nothing is wasted.
pub(crate) enum Block {
    Basic(BasicBlock),
    Bottleneck(Bottleneck),
}

impl Block {
    /// The kind of block follows from the number of its convolutions.
    pub(crate) fn new(shape: &BlockShape, device: &Device) -> Self {
        let layer = |shape: &ConvShape| (conv(shape, device), norm(shape, device));
        let downsample = shape.downsample.as_ref().map(|shape| {
            let (conv, bn) = layer(shape);
            Downsample { conv, bn }
        });
        match &shape.residual[..] {
            [first, second] => {
                let ((conv1, bn1), (conv2, bn2)) = (layer(first), layer(second));
                Self::Basic(BasicBlock { conv1, bn1, conv2, bn2, downsample })
            }
            [first, second, third] => {
                let ((conv1, bn1), (conv2, bn2), (conv3, bn3)) = (layer(first), layer(second), layer(third));
                Self::Bottleneck(Bottleneck { conv1, bn1, conv2, bn2, conv3, bn3, downsample })
            }
            other => unreachable!("a residual of {} convolutions", other.len()),
        }
    }

    /// `[n, channels_in, h, w] -> [n, channels_out, ceil(h / stride), ceil(w / stride)]`
    pub(crate) fn forward(&self, input: FeatureMap) -> FeatureMap {
        match self {
            Self::Basic(block) => block.forward(input),
            Self::Bottleneck(block) => block.forward(input),
        }
    }
}

/// The batch norm after a convolution.
pub(crate) fn norm(shape: &ConvShape, device: &Device) -> BatchNorm {
    BatchNormConfig::new(shape.channels[1]).init(device)
}
