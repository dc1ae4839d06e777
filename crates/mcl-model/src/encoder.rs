//! The encoders there are, as one type: images in, features out.

use std::fmt;

use burn::config::{Config, config_to_json};
use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::serde::{Deserialize, Serialize};
use burn::tensor::{Device, Tensor};

use crate::error::{ModelError, check_parameters};
use crate::fast_net::{FastNet, FastNetConfig};
use crate::flop;
use crate::precision::Precision;
use crate::resnet::{ResNet, ResNetConfig};

/// Configuration of an [`Encoder`].
///
/// In JSON it is the configuration of the network itself; the fields tell which one it is.
///
/// ```
/// # use mcl_model::{EncoderConfig, FastNetConfig, ResNetConfig, ResNetDepth};
/// let resnet = EncoderConfig::from(ResNetConfig::new(ResNetDepth::ResNet34));
/// let fast = EncoderConfig::from(FastNetConfig::new());
/// assert_eq!([resnet.feature_dim(), fast.feature_dim()], [512, 256]);
/// assert_eq!([resnet.min_size(), fast.min_size()], [1, 9]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    crate = "burn::serde",
    untagged,
    expecting = "an encoder is a ResNet (depth, stem, width, in_channels) or a FastNet (widths, in_channels, residual)"
)]
#[non_exhaustive]
pub enum EncoderConfig {
    /// The paper's.
    ResNet(ResNetConfig),
    /// For small images on CPUs.
    FastNet(FastNetConfig),
}

/// One of the encoders. Made by [`EncoderConfig`], or from a [`ResNet`] or a [`FastNet`].
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // One for each network: nothing is wasted.
#[non_exhaustive]
pub enum Encoder {
    /// The paper's.
    ResNet(ResNet),
    /// For small images on CPUs.
    FastNet(FastNet),
}

impl EncoderConfig {
    /// Number of features.
    pub fn feature_dim(&self) -> usize {
        match self {
            Self::ResNet(config) => config.feature_dim(),
            Self::FastNet(config) => config.feature_dim(),
        }
    }

    /// Channels of the images.
    pub fn in_channels(&self) -> usize {
        match self {
            Self::ResNet(config) => config.in_channels,
            Self::FastNet(config) => config.in_channels,
        }
    }

    /// The least height and width of an image.
    pub fn min_size(&self) -> usize {
        match self {
            Self::ResNet(_) => 1,
            Self::FastNet(_) => FastNet::MIN_SIZE,
        }
    }

    /// Number of trainable parameters (saturating).
    pub fn parameters(&self) -> u128 {
        match self {
            Self::ResNet(config) => config.parameters(),
            Self::FastNet(config) => config.parameters(),
        }
    }

    /// Floating-point operations of a forward pass of one image of this height and width (saturating): those of the
    /// convolutions, a multiplication and an addition being two. A training step takes about three times as many.
    ///
    /// ```
    /// # use mcl_model::{EncoderConfig, FastNetConfig, ResNetConfig, ResNetDepth};
    /// let resnet = EncoderConfig::from(ResNetConfig::new(ResNetDepth::ResNet34));
    /// let fast = EncoderConfig::from(FastNetConfig::new());
    /// assert_eq!(resnet.flop((32, 32)) / fast.flop((32, 32)), 9);
    /// ```
    pub fn flop(&self, image: (usize, usize)) -> u128 {
        match self {
            Self::ResNet(config) => flop::resnet(config, image),
            Self::FastNet(config) => flop::fast_net(config, image),
        }
    }

    /// The encoder with random weights, as [`ResNetConfig::try_init`] and [`FastNetConfig::try_init`].
    ///
    /// # Errors
    ///
    /// [`ModelError`] when a size is 0 or the network has more than
    /// [`MAX_PARAMETERS`](crate::MclModelConfig::MAX_PARAMETERS) parameters.
    pub fn try_init(&self, device: &Device) -> Result<Encoder, ModelError> {
        self.check_sizes()?;
        check_parameters(self.parameters())?;
        Ok(self.build(device))
    }

    /// [`try_init`](Self::try_init) for a configuration known to be right.
    ///
    /// # Panics
    ///
    /// When a size is 0 or the network too large.
    pub fn init(&self, device: &Device) -> Encoder {
        self.try_init(device).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn check_sizes(&self) -> Result<(), ModelError> {
        match self {
            Self::ResNet(config) => config.check_sizes(),
            Self::FastNet(config) => config.check_sizes(),
        }
    }

    /// The network; sizes have been checked.
    pub(crate) fn build(&self, device: &Device) -> Encoder {
        match self {
            Self::ResNet(config) => config.build(device).into(),
            Self::FastNet(config) => config.build(device).into(),
        }
    }
}

impl Config for EncoderConfig {}

impl fmt::Display for EncoderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&config_to_json(self))
    }
}

impl From<ResNetConfig> for EncoderConfig {
    fn from(config: ResNetConfig) -> Self {
        Self::ResNet(config)
    }
}

impl From<FastNetConfig> for EncoderConfig {
    fn from(config: FastNetConfig) -> Self {
        Self::FastNet(config)
    }
}

impl From<ResNet> for Encoder {
    fn from(encoder: ResNet) -> Self {
        Self::ResNet(encoder)
    }
}

impl From<FastNet> for Encoder {
    fn from(encoder: FastNet) -> Self {
        Self::FastNet(encoder)
    }
}

impl Encoder {
    /// The features of a batch of images.
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, in_channels, h, w]`, `h` and `w` of at least [`min_size`](Self::min_size)
    /// - output: `[n, feature_dim]`
    ///
    /// # Panics
    ///
    /// When the images do not have `in_channels` channels, or are smaller than [`min_size`](Self::min_size).
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Self::ResNet(encoder) => encoder.forward(images),
            Self::FastNet(encoder) => encoder.forward(images),
        }
    }

    /// Number of features that [`forward`](Self::forward) gives.
    pub fn feature_dim(&self) -> usize {
        match self {
            Self::ResNet(encoder) => encoder.feature_dim(),
            Self::FastNet(encoder) => encoder.feature_dim(),
        }
    }

    /// The least height and width of an image.
    pub fn min_size(&self) -> usize {
        match self {
            Self::ResNet(_) => 1,
            Self::FastNet(_) => FastNet::MIN_SIZE,
        }
    }

    /// The same encoder with the products of its convolutions in this precision.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        match self {
            Self::ResNet(encoder) => Self::ResNet(encoder.with_precision(precision)),
            Self::FastNet(encoder) => Self::FastNet(encoder.with_precision(precision)),
        }
    }

    /// The precision of the products.
    pub fn precision(&self) -> Precision {
        match self {
            Self::ResNet(encoder) => encoder.precision(),
            Self::FastNet(encoder) => encoder.precision(),
        }
    }

    /// The ResNet, if the encoder is one.
    pub fn as_resnet(&self) -> Option<&ResNet> {
        match self {
            Self::ResNet(encoder) => Some(encoder),
            Self::FastNet(_) => None,
        }
    }

    /// The FastNet, if the encoder is one.
    pub fn as_fast_net(&self) -> Option<&FastNet> {
        match self {
            Self::ResNet(_) => None,
            Self::FastNet(encoder) => Some(encoder),
        }
    }

    /// The same encoder with a stem that whitens the patches of these images: see [`FastNet::whiten`]. A ResNet has no
    /// such stem and stays as it is.
    ///
    /// # Errors
    ///
    /// As [`FastNet::whiten`]; none for a ResNet.
    pub fn whiten(self, images: &Tensor<4>) -> Result<Self, ModelError> {
        match self {
            Self::ResNet(_) => Ok(self),
            Self::FastNet(encoder) => encoder.whiten(images).map(Self::FastNet),
        }
    }

    /// Takes what is never trained out of training.
    pub(crate) fn fix(self) -> Self {
        match self {
            Self::ResNet(_) => self,
            Self::FastNet(encoder) => Self::FastNet(encoder.fix()),
        }
    }
}

/// Evaluates to the same expression for either network.
macro_rules! either {
    ($encoder:expr, $network:ident => $result:expr) => {
        match $encoder {
            Encoder::ResNet($network) => $result,
            Encoder::FastNet($network) => $result,
        }
    };
    ($encoder:expr, map $network:ident => $result:expr) => {
        match $encoder {
            Encoder::ResNet($network) => Encoder::ResNet($result),
            Encoder::FastNet($network) => Encoder::FastNet($result),
        }
    };
}

/// Written out, because the derived implementation would put the name of the variant into the paths of the weights:
/// `encoder.ResNet.conv1.weight`. Checkpoints name the weights by their paths, and those of versions with ResNets alone
/// say `encoder.conv1.weight`.
impl Module for Encoder {
    fn collect_devices(&self, devices: Devices) -> Devices {
        either!(self, network => network.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        either!(self, map network => network.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        either!(self, map network => network.to_device(device))
    }

    fn train(self) -> Self {
        either!(self, map network => network.train())
    }

    fn valid(&self) -> Self {
        either!(self, map network => network.valid())
    }

    fn materialize(self) -> Self {
        either!(self, map network => network.materialize())
    }

    fn visit<Visitor: ModuleVisitor>(&self, visitor: &mut Visitor) {
        either!(self, network => network.visit(visitor));
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        either!(self, map network => network.map(mapper))
    }
}

impl ModuleDisplayDefault for Encoder {
    fn content(&self, content: Content) -> Option<Content> {
        either!(self, network => network.content(content))
    }

    fn num_params(&self) -> usize {
        Module::num_params(self)
    }
}

impl ModuleDisplay for Encoder {}

impl fmt::Display for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        either!(self, network => network.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::ResNetDepth;

    fn configs() -> [EncoderConfig; 2] {
        let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(2).with_in_channels(1);
        [resnet.into(), FastNetConfig::new().with_widths([2, 3, 4]).with_in_channels(1).into()]
    }

    #[test]
    fn configurations_survive_json_and_say_what_they_are() {
        for config in configs() {
            let json = serde_json::to_value(&config).unwrap();
            assert_eq!(serde_json::from_value::<EncoderConfig>(json.clone()).unwrap(), config);
            assert_eq!(json.get("depth").is_some(), matches!(config, EncoderConfig::ResNet(_)));
            assert_eq!(json.get("widths").is_some(), matches!(config, EncoderConfig::FastNet(_)));
        }
        let error = serde_json::from_str::<EncoderConfig>(r#"{"width": 3}"#).unwrap_err().to_string();
        assert!(error.contains("FastNet (widths"), "{error}");
    }

    #[test]
    fn either_network_is_an_encoder() {
        let device = Device::flex();
        for config in configs() {
            let encoder = config.init_seeded(0, &device);
            assert_eq!(encoder.feature_dim(), config.feature_dim());
            assert_eq!((encoder.min_size(), config.in_channels()), (config.min_size(), 1));
            assert_eq!(encoder.as_resnet().is_some(), encoder.as_fast_net().is_none());
            let size = encoder.min_size();
            let images = Tensor::<4>::ones([2, 1, size, size], &device);
            let features = encoder.forward(images.clone()).into_data();
            assert_eq!(&features.shape()[..], [2, config.feature_dim()]);
            let alone = match encoder.clone() {
                Encoder::ResNet(encoder) => encoder.forward(images.clone()),
                Encoder::FastNet(encoder) => encoder.forward(images.clone()),
            };
            assert_eq!(alone.into_data(), features);
            let record = encoder.into_record();
            let other = config.init_seeded(1, &device).load_record(record);
            assert_eq!(other.forward(images).into_data(), features);
        }
    }

    #[test]
    fn a_display_names_the_network() {
        let [resnet, fast] = configs().map(|config| config.init(&Device::flex()).to_string());
        assert!(resnet.contains("ResNet") && resnet.contains("layer4"), "{resnet}");
        assert!(fast.contains("FastNet") && fast.contains("stem"), "{fast}");
    }
}
