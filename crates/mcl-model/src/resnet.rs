//! The encoder: ResNet (He et al., 2016) of any width, without its classifier, as in Section 4 of the MCL
//! paper.
//!
//! ```text
//! stem -> layer1 (width) -> layer2 (2 width, /2) -> layer3 (4 width, /2) -> layer4 (8 width, /2) -> mean over h, w
//! ```

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, PaddingConfig2d};
use burn::tensor::{Device, Tensor, assert_shape};

use crate::architecture::{self, BlockShape, ConvShape};
use crate::block::{Block, norm};
use crate::error::{ModelError, check_parameters, check_sizes};
use crate::layers::{conv, conv_norm_relu, feature_map};
use crate::precision::Precision;
use crate::variant::{ResNetDepth, Stem};

/// Configuration of a [`ResNet`].
///
/// ```
/// # use mcl_model::{ResNetConfig, ResNetDepth, Stem};
/// let config = ResNetConfig::new(ResNetDepth::ResNet50).with_stem(Stem::ImageNet);
/// assert_eq!(config.feature_dim(), 2048);
/// ```
#[derive(Config, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    /// Number of layers and kind of the blocks.
    pub depth: ResNetDepth,
    /// What comes before the blocks. Default: [`Stem::Cifar`]
    #[config(default = "Stem::Cifar")]
    pub stem: Stem,
    /// Channels of the first layer, at least 1; the others have 2, 4 and 8 times as many. Default: 64
    #[config(default = 64)]
    pub width: usize,
    /// Channels of the images, at least 1. Default: 3
    #[config(default = 3)]
    pub in_channels: usize,
}

/// A residual network without classifier. Made by [`ResNetConfig`], or part of an
/// [`MclModel`](crate::MclModel).
#[derive(Module, Debug)]
pub struct ResNet {
    pub(crate) conv1: Conv2d,
    pub(crate) bn1: BatchNorm,
    max_pool: Option<MaxPool2d>,
    pub(crate) layer1: Vec<Block>,
    pub(crate) layer2: Vec<Block>,
    pub(crate) layer3: Vec<Block>,
    pub(crate) layer4: Vec<Block>,
    in_channels: usize,
    /// Whether images are standardised first.
    standardized: bool,
    /// Whether products are in bf16.
    bf16: bool,
}

impl ResNetConfig {
    /// Number of features: 8 * width, and for [`ResNetDepth::ResNet50`] 32 * width.
    pub fn feature_dim(&self) -> usize {
        self.width.saturating_mul(8 * self.depth.block_kind().expansion())
    }

    /// Number of trainable parameters (saturating).
    pub fn parameters(&self) -> u128 {
        let stem = architecture::stem(self.stem, self.in_channels, self.width);
        let layers = architecture::layers(self.depth, self.width);
        let blocks = layers.iter().flatten().flat_map(BlockShape::convolutions);
        blocks.map(ConvShape::parameters).fold(stem.parameters(), u128::saturating_add)
    }

    /// The network alone, with random weights: Kaiming fan-out.
    ///
    /// Weights are drawn from the device's own generator, lazily, at their first use. For weights that depend
    /// on a seed alone take [`init_seeded`](Self::init_seeded).
    ///
    /// ```
    /// # use burn::tensor::{Device, Tensor};
    /// # use mcl_model::{ResNetConfig, ResNetDepth};
    /// let device = Device::flex();
    /// let encoder = ResNetConfig::new(ResNetDepth::ResNet18).with_width(8).try_init(&device)?;
    /// assert_eq!(encoder.forward(Tensor::zeros([2, 3, 32, 32], &device)).dims(), [2, 64]);
    /// # Ok::<(), mcl_model::ModelError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ModelError`] when a size is 0 or the network has more than
    /// [`MAX_PARAMETERS`](crate::MclModelConfig::MAX_PARAMETERS) parameters.
    pub fn try_init(&self, device: &Device) -> Result<ResNet, ModelError> {
        self.check_sizes()?;
        check_parameters(self.parameters())?;
        Ok(self.build(device))
    }

    /// [`try_init`](Self::try_init) for a configuration known to be right.
    ///
    /// # Panics
    ///
    /// When a size is 0 or the network too large.
    pub fn init(&self, device: &Device) -> ResNet {
        self.try_init(device).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn check_sizes(&self) -> Result<(), ModelError> {
        check_sizes([("width", self.width), ("in_channels", self.in_channels)])?;
        if self.stem == Stem::Torchvision && self.in_channels != 3 {
            return Err(ModelError::StemChannels { in_channels: self.in_channels });
        }
        Ok(())
    }

    /// The network; sizes have been checked.
    pub(crate) fn build(&self, device: &Device) -> ResNet {
        let stem = architecture::stem(self.stem, self.in_channels, self.width);
        let max_pool = self.stem.is_large().then(|| {
            let max_pool = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]);
            max_pool.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init()
        });
        let layers = architecture::layers(self.depth, self.width);
        let [layer1, layer2, layer3, layer4] =
            layers.map(|blocks| blocks.iter().map(|block| Block::new(block, device)).collect::<Vec<_>>());
        ResNet {
            conv1: conv(&stem, device),
            bn1: norm(&stem, device),
            max_pool,
            layer1,
            layer2,
            layer3,
            layer4,
            in_channels: self.in_channels,
            standardized: self.stem == Stem::Torchvision,
            bf16: false,
        }
    }
}

impl ResNet {
    /// The features of a batch of images.
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, in_channels, h, w]`, any `h` and `w` of at least 1
    /// - output: `[n, 8 * width * expansion]`, the mean over the last layer's positions
    ///
    /// # Panics
    ///
    /// When the images do not have `in_channels` channels.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let in_channels = self.in_channels;
        assert_shape!(images, [_, in_channels, _, _]);
        let images = if self.standardized { standardize(images) } else { images };
        let mut x = conv_norm_relu(feature_map(images, self.precision()), &self.conv1, &self.bn1);
        if let Some(max_pool) = &self.max_pool {
            x = x.max_pool(max_pool);
        }
        for block in self.blocks() {
            x = block.forward(x);
        }
        x.mean()
    }

    /// The same network with the products of its convolutions in this precision.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.bf16 = precision == Precision::Bf16;
        self
    }

    /// The precision of the products.
    pub fn precision(&self) -> Precision {
        if self.bf16 { Precision::Bf16 } else { Precision::F32 }
    }

    /// Number of features that [`forward`](Self::forward) gives.
    pub fn feature_dim(&self) -> usize {
        let [last, _, _, _] = match self.layer4.last() {
            Some(Block::Basic(block)) => block.conv2.weight.lazy_shape().dims(),
            Some(Block::Bottleneck(block)) => block.conv3.weight.lazy_shape().dims(),
            None => unreachable!("each layer has blocks"),
        };
        last
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().flatten()
    }
}

/// RGB images whose channels have mean 0 and deviation 1 over ImageNet, `[n, 3, h, w]`.
fn standardize(images: Tensor<4>) -> Tensor<4> {
    let of_channels =
        |values: [f32; 3]| Tensor::<1>::from_data(values, &images.device()).reshape([1, 3, 1, 1]);
    let (mean, deviation) = (of_channels(Stem::MEAN), of_channels(Stem::STANDARD_DEVIATION));
    (images - mean) / deviation
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{TensorData, Tolerance};

    #[test]
    fn the_stem_of_torchvision_standardises_images() {
        let device = Device::flex();
        let config = ResNetConfig::new(ResNetDepth::ResNet18).with_width(2);
        let of_stem = |stem| config.clone().with_stem(stem).init_seeded(3, &device);
        let (plain, standardised) = (of_stem(Stem::ImageNet), of_stem(Stem::Torchvision));
        let pixel = |i: usize| (i as f32 * 0.37).sin() * 0.5 + 0.5;
        let values: Vec<f32> = (0..2 * 3 * 40 * 33).map(pixel).collect();
        let by_hand = (0..values.len()).map(|i| {
            let channel = i / (40 * 33) % 3;
            (pixel(i) - [0.485, 0.456, 0.406][channel]) / [0.229, 0.224, 0.225][channel]
        });
        let by_hand: Vec<f32> = by_hand.collect();
        let features = |encoder: &ResNet, values: Vec<f32>| {
            encoder.forward(Tensor::from_data(TensorData::new(values, [2, 3, 40, 33]), &device)).into_data()
        };
        let expected = features(&plain, by_hand);
        features(&standardised, values.clone()).assert_approx_eq::<f32>(&expected, Tolerance::default());
        assert_ne!(features(&plain, values), expected);

        let gray = config.with_stem(Stem::Torchvision).with_in_channels(1);
        assert_eq!(gray.try_init(&device).unwrap_err(), ModelError::StemChannels { in_channels: 1 });
    }

    #[test]
    fn sizes_are_torchvisions() {
        // Parameters of torchvision's networks, without the 1000-class layer: 512 * 1000 + 1000, 2048 * 1000
        // + 1000.
        let cases = [
            (ResNetDepth::ResNet18, 11_689_512 - 513_000, 512),
            (ResNetDepth::ResNet34, 21_797_672 - 513_000, 512),
            (ResNetDepth::ResNet50, 25_557_032 - 2_049_000, 2048),
        ];
        for (depth, parameters, features) in cases {
            let config = ResNetConfig::new(depth).with_stem(Stem::ImageNet);
            assert_eq!(config.parameters(), parameters);
            assert_eq!(config.feature_dim(), features);
        }
    }

    #[test]
    fn the_smallest_image_has_features() {
        let device = Device::flex();
        for stem in [Stem::Cifar, Stem::ImageNet] {
            let config =
                ResNetConfig::new(ResNetDepth::ResNet50).with_stem(stem).with_width(2).with_in_channels(1);
            let encoder = config.init(&device);
            assert_eq!(encoder.feature_dim(), config.feature_dim());
            let features = encoder.forward(Tensor::ones([2, 1, 1, 1], &device));
            assert_eq!(features.dims(), [2, config.feature_dim()]);
        }
    }

    #[test]
    fn networks_that_cannot_be_built_are_refused() {
        let device = Device::flex();
        let config = ResNetConfig::new(ResNetDepth::ResNet18);
        let error = config.clone().with_width(0).try_init(&device).unwrap_err();
        assert_eq!(error, ModelError::ZeroSize { field: "width" });
        let error = config.with_width(1 << 20).try_init_seeded(0, &device).unwrap_err();
        assert!(matches!(error, ModelError::TooLarge { .. }), "{error}");
    }
}
