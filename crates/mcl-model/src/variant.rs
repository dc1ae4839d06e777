//! The networks there are: depths and stems.

use burn::config::Config;

/// How many layers the network has, in the names of the original paper.
#[derive(Config, Debug, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResNetDepth {
    /// Basic blocks: 2, 2, 2, 2.
    ResNet18,
    /// Basic blocks: 3, 4, 6, 3.
    ResNet34,
    /// Bottlenecks: 3, 4, 6, 3. The stride is on their 3x3 convolution.
    ResNet50,
}

impl ResNetDepth {
    /// The depth by its number of layers: 18, 34 or 50; `None` for any other.
    pub fn from_layers(layers: u32) -> Option<Self> {
        match layers {
            18 => Some(Self::ResNet18),
            34 => Some(Self::ResNet34),
            50 => Some(Self::ResNet50),
            _ => None,
        }
    }

    /// Blocks in each of the four layers.
    pub(crate) fn blocks(self) -> [usize; 4] {
        match self {
            Self::ResNet18 => [2, 2, 2, 2],
            Self::ResNet34 | Self::ResNet50 => [3, 4, 6, 3],
        }
    }

    pub(crate) fn block_kind(self) -> BlockKind {
        match self {
            Self::ResNet18 | Self::ResNet34 => BlockKind::Basic,
            Self::ResNet50 => BlockKind::Bottleneck,
        }
    }
}

/// What comes before the residual blocks.
#[derive(Config, Debug, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stem {
    /// A 3x3 convolution: the blocks see the image at its own size. For small images (32 x 32).
    Cifar,
    /// A 7x7 convolution and a 3x3 maximum, both with stride 2. For large images (224 x 224).
    ImageNet,
    /// [`ImageNet`](Self::ImageNet) on standardised images: mean and standard deviation of each channel are those of ImageNet
    /// ([`Stem::MEAN`], [`Stem::STANDARD_DEVIATION`]), which torchvision's weights expect.
    Torchvision,
}

impl Stem {
    /// Mean of red, green and blue over ImageNet, in `[0, 1]`, as torchvision's weights expect.
    pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];

    /// Standard deviation of red, green and blue over ImageNet, in `[0, 1]`, as torchvision's weights expect.
    pub const STANDARD_DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

    /// Whether the blocks see a fourth of the height and width.
    pub(crate) fn is_large(self) -> bool {
        matches!(self, Self::ImageNet | Self::Torchvision)
    }
}

// `derive(Config)` copies the attributes of the variants to where `#[default]` is unknown.
#[expect(clippy::derivable_impls)]
impl Default for Stem {
    fn default() -> Self {
        Self::Cifar
    }
}

/// Which of the two blocks a ResNet is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockKind {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3 and 1x1.
    Bottleneck,
}

impl BlockKind {
    /// Channels out per unit of width.
    pub(crate) fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}
