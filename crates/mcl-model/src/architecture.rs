//! The architecture: which convolutions a network has, in their order. The modules are built from these
//! shapes, and parameters are counted from them.
//!
//! ```text
//! stem -> layer1 (width) -> layer2 (2 width, /2) -> layer3 (4 width, /2) -> layer4 (8 width, /2)
//! ```

use crate::variant::{BlockKind, ResNetDepth, Stem};

/// A convolution without bias, and the batch norm after it. Sizes saturate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConvShape {
    /// Channels in and out.
    pub(crate) channels: [usize; 2],
    /// Height and width of the kernel.
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
}

impl ConvShape {
    fn new(channels: [usize; 2], kernel: usize, stride: usize) -> Self {
        Self { channels, kernel, stride }
    }

    /// Number of trainable parameters, those of the batch norm included (saturating).
    pub(crate) fn parameters(&self) -> u128 {
        let [channels_in, channels_out] = self.channels.map(|channels| channels as u128);
        let weights = channels_in.saturating_mul(channels_out).saturating_mul((self.kernel as u128).pow(2));
        weights.saturating_add(channels_out.saturating_mul(2))
    }
}

/// A residual block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockShape {
    /// The convolutions of the residual, one after the other.
    pub(crate) residual: Vec<ConvShape>,
    /// The convolution of the shortcut, where the block changes the shape; otherwise the shortcut is the
    /// identity.
    pub(crate) downsample: Option<ConvShape>,
}

impl BlockShape {
    fn new(kind: BlockKind, channels_in: usize, width: usize, stride: usize) -> Self {
        let channels_out = width.saturating_mul(kind.expansion());
        let residual = match kind {
            BlockKind::Basic => vec![
                ConvShape::new([channels_in, width], 3, stride),
                ConvShape::new([width, channels_out], 3, 1),
            ],
            BlockKind::Bottleneck => vec![
                ConvShape::new([channels_in, width], 1, 1),
                ConvShape::new([width, width], 3, stride),
                ConvShape::new([width, channels_out], 1, 1),
            ],
        };
        let downsample = (stride != 1 || channels_in != channels_out)
            .then(|| ConvShape::new([channels_in, channels_out], 1, stride));
        Self { residual, downsample }
    }

    pub(crate) fn convolutions(&self) -> impl Iterator<Item = &ConvShape> {
        self.residual.iter().chain(&self.downsample)
    }
}

/// The first convolution.
pub(crate) fn stem(stem: Stem, in_channels: usize, width: usize) -> ConvShape {
    match stem {
        Stem::Cifar => ConvShape::new([in_channels, width], 3, 1),
        Stem::ImageNet | Stem::Torchvision => ConvShape::new([in_channels, width], 7, 2),
    }
}

/// The blocks of each of the four layers.
pub(crate) fn layers(depth: ResNetDepth, width: usize) -> [Vec<BlockShape>; 4] {
    let kind = depth.block_kind();
    let mut channels = width;
    std::array::from_fn(|layer| {
        let width = width.saturating_mul(1 << layer);
        (0..depth.blocks()[layer])
            .map(|block| {
                let stride = if layer > 0 && block == 0 { 2 } else { 1 };
                let shape = BlockShape::new(kind, channels, width, stride);
                channels = width.saturating_mul(kind.expansion());
                shape
            })
            .collect()
    })
}
