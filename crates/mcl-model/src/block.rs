//! The residual blocks of He et al. (2016): two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1.
//!
//! ```text
//! y = relu(residual(x) + shortcut(x))
//! ```
//!
//! The shortcut is the identity, or a strided 1x1 convolution with batch norm where the shape changes. A bottleneck has
//! its stride on the 3x3 convolution, as torchvision's (known as "v1.5").

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::Device;

use crate::conv::{Conv2d, conv1x1, conv3x3};
use crate::feature_map::FeatureMap;

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
    /// Channels out per unit of width.
    pub(crate) const EXPANSION: usize = 1;

    fn new(channels_in: usize, width: usize, stride: usize, device: &Device) -> Self {
        Self {
            conv1: conv3x3([channels_in, width], stride, device),
            bn1: BatchNormConfig::new(width).init(device),
            conv2: conv3x3([width, width], 1, device),
            bn2: BatchNormConfig::new(width).init(device),
            downsample: Downsample::where_needed([channels_in, width], stride, device),
        }
    }

    fn forward(&self, input: FeatureMap) -> FeatureMap {
        let hidden = self.conv1.norm_relu(input.clone(), &self.bn1);
        let shortcut = shortcut(self.downsample.as_ref(), input);
        self.conv2.norm_add_relu(hidden, &self.bn2, shortcut)
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
    /// Channels out per unit of width.
    pub(crate) const EXPANSION: usize = 4;

    fn new(channels_in: usize, width: usize, stride: usize, device: &Device) -> Self {
        let channels_out = width * Self::EXPANSION;
        Self {
            conv1: conv1x1([channels_in, width], 1, device),
            bn1: BatchNormConfig::new(width).init(device),
            conv2: conv3x3([width, width], stride, device),
            bn2: BatchNormConfig::new(width).init(device),
            conv3: conv1x1([width, channels_out], 1, device),
            bn3: BatchNormConfig::new(channels_out).init(device),
            downsample: Downsample::where_needed([channels_in, channels_out], stride, device),
        }
    }

    fn forward(&self, input: FeatureMap) -> FeatureMap {
        let hidden = self.conv1.norm_relu(input.clone(), &self.bn1);
        let hidden = self.conv2.norm_relu(hidden, &self.bn2);
        let shortcut = shortcut(self.downsample.as_ref(), input);
        self.conv3.norm_add_relu(hidden, &self.bn3, shortcut)
    }
}

/// The shortcut where a block changes the shape: 1x1 convolution and batch norm.
#[derive(Module, Debug)]
pub(crate) struct Downsample {
    pub(crate) conv: Conv2d,
    pub(crate) bn: BatchNorm,
}

impl Downsample {
    fn where_needed(channels: [usize; 2], stride: usize, device: &Device) -> Option<Self> {
        let [channels_in, channels_out] = channels;
        (stride != 1 || channels_in != channels_out).then(|| Self {
            conv: conv1x1(channels, stride, device),
            bn: BatchNormConfig::new(channels_out).init(device),
        })
    }
}

fn shortcut(downsample: Option<&Downsample>, input: FeatureMap) -> FeatureMap {
    match downsample {
        Some(downsample) => downsample.conv.norm(input, &downsample.bn),
        None => input,
    }
}

/// Which of the two blocks a ResNet is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockKind {
    Basic,
    Bottleneck,
}

impl BlockKind {
    /// Channels out per unit of width.
    pub(crate) fn expansion(self) -> usize {
        match self {
            Self::Basic => BasicBlock::EXPANSION,
            Self::Bottleneck => Bottleneck::EXPANSION,
        }
    }

    /// A block from `channels_in` to `width * expansion` channels.
    pub(crate) fn build(self, channels_in: usize, width: usize, stride: usize, device: &Device) -> Block {
        match self {
            Self::Basic => Block::Basic(BasicBlock::new(channels_in, width, stride, device)),
            Self::Bottleneck => Block::Bottleneck(Bottleneck::new(channels_in, width, stride, device)),
        }
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
    /// `[n, channels_in, h, w] -> [n, width * expansion, ceil(h / stride), ceil(w / stride)]`
    pub(crate) fn forward(&self, input: FeatureMap) -> FeatureMap {
        match self {
            Self::Basic(block) => block.forward(input),
            Self::Bottleneck(block) => block.forward(input),
        }
    }
}
