//! The settings of the whole network: encoder, projection head and classifier.

use std::fmt;

use burn::config::{Config, config_to_json};
use burn::nn::LinearConfig;
use burn::serde::{Deserialize, Serialize};
use burn::tensor::Device;

use crate::encoder::EncoderConfig;
use crate::error::{MAX_PARAMETERS, ModelError, check_parameters, check_sizes};
use crate::flop;
use crate::head::ProjectionHeadConfig;
use crate::model::MclModel;
use crate::precision::Precision;

/// Configuration of an [`MclModel`].
///
/// ```
/// # use mcl_model::{FastNetConfig, MclModelConfig, ResNetConfig, ResNetDepth};
/// // ResNet-18 of width 64, hidden layer of 2048, projections of 128: the network of the released checkpoints.
/// let config = MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet18));
/// assert_eq!(config.encoder.feature_dim(), 512);
/// // A network for small images on CPUs, with a classifier for 10 classes in 4 rotations.
/// let config = MclModelConfig::new(FastNetConfig::new()).with_hidden(512).with_classifier(40);
/// assert_eq!(config.encoder.feature_dim(), 256);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "burn::serde")]
pub struct MclModelConfig {
    /// The encoder. Earlier versions stored a ResNet under the name `resnet`.
    #[serde(alias = "resnet")]
    pub encoder: EncoderConfig,
    /// Units of the head's hidden layer, at least 1. Default: 2048
    pub hidden: usize,
    /// Dimension of the projections, at least 1. Default: 128
    pub projection_dim: usize,
    /// Outputs of a linear classifier on the features, without bias, at least 1. Default: no classifier
    #[serde(default)]
    pub classifier: Option<usize>,
    /// Precision of the products in the convolutions. Default: f32
    #[serde(default, skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
}

impl MclModelConfig {
    /// The most parameters a network may have: 2^31, which is 8 GiB of f32 weights.
    pub const MAX_PARAMETERS: u128 = MAX_PARAMETERS;

    /// The defaults with this encoder: a [`ResNetConfig`](crate::ResNetConfig) or a
    /// [`FastNetConfig`](crate::FastNetConfig).
    pub fn new(encoder: impl Into<EncoderConfig>) -> Self {
        Self {
            encoder: encoder.into(),
            hidden: 2048,
            projection_dim: 128,
            classifier: None,
            precision: Precision::F32,
        }
    }

    /// Sets [`hidden`](Self::hidden).
    pub fn with_hidden(mut self, hidden: usize) -> Self {
        self.hidden = hidden;
        self
    }

    /// Sets [`projection_dim`](Self::projection_dim).
    pub fn with_projection_dim(mut self, projection_dim: usize) -> Self {
        self.projection_dim = projection_dim;
        self
    }

    /// Sets [`classifier`](Self::classifier): a number of outputs, or `None`.
    pub fn with_classifier(mut self, outputs: impl Into<Option<usize>>) -> Self {
        self.classifier = outputs.into();
        self
    }

    /// Sets [`precision`](Self::precision).
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Number of trainable parameters of encoder, head and classifier (saturating).
    pub fn parameters(&self) -> u128 {
        let outputs = self.classifier.unwrap_or(0) as u128;
        let classifier = (self.encoder.feature_dim() as u128).saturating_mul(outputs);
        [self.head().parameters(), classifier]
            .into_iter()
            .fold(self.encoder.parameters(), u128::saturating_add)
    }

    /// Floating-point operations of a forward pass of one image of this height and width (saturating): those of
    /// [`EncoderConfig::flop`], and of the head and the classifier.
    pub fn flop(&self, image: (usize, usize)) -> u128 {
        let features = self.encoder.feature_dim();
        let head = [[features, self.hidden], [self.hidden, self.projection_dim]];
        let layers = head.into_iter().chain(self.classifier.map(|outputs| [features, outputs]));
        layers
            .map(|[values_in, values_out]| flop::linear(values_in, values_out))
            .fold(self.encoder.flop(image), u128::saturating_add)
    }

    fn head(&self) -> ProjectionHeadConfig {
        ProjectionHeadConfig {
            feature_dim: self.encoder.feature_dim(),
            hidden: self.hidden,
            projection_dim: self.projection_dim,
        }
    }

    /// The network with random weights: those of [`ResNetConfig::try_init`](crate::ResNetConfig::try_init) or
    /// [`FastNetConfig::try_init`](crate::FastNetConfig::try_init), and PyTorch's default for linear layers.
    ///
    /// Weights are drawn from the device's own generator, lazily, at their first use. For weights that depend
    /// on a seed alone take [`init_seeded`](Self::init_seeded).
    ///
    /// # Errors
    ///
    /// [`ModelError`] when a size is 0 or the network too large.
    pub fn try_init(&self, device: &Device) -> Result<MclModel, ModelError> {
        self.check()?;
        let classifier = self.classifier.map(|outputs| {
            LinearConfig::new(self.encoder.feature_dim(), outputs).with_bias(false).init(device)
        });
        Ok(MclModel {
            encoder: self.encoder.build(device).with_precision(self.precision),
            projector: self.head().build(device),
            classifier,
        })
    }

    /// [`try_init`](Self::try_init) for a configuration known to be right.
    ///
    /// # Panics
    ///
    /// When a size is 0 or the network too large.
    pub fn init(&self, device: &Device) -> MclModel {
        self.try_init(device).unwrap_or_else(|error| panic!("{error}"))
    }

    fn check(&self) -> Result<(), ModelError> {
        self.encoder.check_sizes()?;
        self.head().check_sizes()?;
        check_sizes([("classifier", self.classifier.unwrap_or(1))])?;
        check_parameters(self.parameters())
    }
}

impl Config for MclModelConfig {}

impl fmt::Display for MclModelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&config_to_json(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Module;
    use burn::tensor::{Tensor, TensorData};

    #[test]
    fn products_in_bf16_are_near_those_in_f32() {
        let device = Device::flex();
        let values: Vec<f32> = (0..2 * 3 * 256).map(|i| ((i * i) as f32 * 0.37).sin() * 0.5 + 0.5).collect();
        let images = Tensor::<4>::from_data(TensorData::new(values, [2, 3, 16, 16]), &device);
        let resnet = crate::ResNetConfig::new(crate::ResNetDepth::ResNet18).with_width(16);
        for encoder in
            [EncoderConfig::from(resnet), crate::FastNetConfig::new().with_widths([32, 64, 64]).into()]
        {
            let config = MclModelConfig::new(encoder).with_hidden(8).with_projection_dim(4);
            let exact = config.init_seeded(1, &device);
            let rounded = config.clone().with_precision(Precision::Bf16).init_seeded(1, &device);
            assert_eq!(rounded.encoder().precision(), Precision::Bf16);
            assert_eq!(rounded.valid().encoder().precision(), Precision::Bf16);
            let features = |model: &MclModel| model.forward(images.clone()).features;
            let (exact_features, found) = (features(&exact), features(&rounded));
            let off = (found - exact_features.clone()).square().mean().sqrt().into_scalar::<f32>();
            let size = exact_features.clone().square().mean().sqrt().into_scalar::<f32>();
            assert!(off < 0.02 * size, "{config}: off by {off} of {size}");
            let again = rounded.with_precision(Precision::F32);
            assert_eq!(features(&again).into_data(), exact_features.into_data());
        }
    }

    #[test]
    fn the_precision_is_stored_when_it_is_not_f32() {
        let config = MclModelConfig::new(crate::FastNetConfig::new());
        assert!(!serde_json::to_string(&config).unwrap().contains("precision"));
        let config = config.with_precision(Precision::Bf16);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<MclModelConfig>(&json).unwrap(), config);
    }
    use crate::fast_net::FastNetConfig;
    use crate::parameters::{Weight, named_weights};
    use crate::resnet::ResNetConfig;
    use crate::variant::{ResNetDepth, Stem};

    fn small() -> MclModelConfig {
        MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet18).with_width(4)).with_hidden(8)
    }

    #[test]
    fn sizes_of_zero_are_named() {
        let device = Device::flex();
        let resnet = ResNetConfig::new(ResNetDepth::ResNet18);
        let cases = [
            ("width", MclModelConfig::new(resnet.clone().with_width(0))),
            ("in_channels", MclModelConfig::new(resnet.clone().with_in_channels(0))),
            ("hidden", MclModelConfig::new(resnet.clone()).with_hidden(0)),
            ("projection_dim", MclModelConfig::new(resnet.clone()).with_projection_dim(0)),
            ("classifier", MclModelConfig::new(resnet).with_classifier(0)),
            ("widths[1]", MclModelConfig::new(FastNetConfig::new().with_widths([1, 0, 1]))),
        ];
        for (field, config) in cases {
            assert_eq!(config.try_init(&device).unwrap_err(), ModelError::ZeroSize { field });
            assert_eq!(config.try_init_seeded(0, &device).unwrap_err(), ModelError::ZeroSize { field });
        }
    }

    #[test]
    fn absurd_sizes_are_refused_before_anything_is_allocated() {
        for width in [1 << 20, usize::MAX] {
            let config = MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet50).with_width(width));
            assert!(matches!(config.try_init(&Device::flex()), Err(ModelError::TooLarge { .. })));
        }
        for config in [
            small().with_hidden(usize::MAX).with_projection_dim(usize::MAX),
            small().with_classifier(usize::MAX),
            MclModelConfig::new(FastNetConfig::new().with_widths([1, 1, usize::MAX])),
        ] {
            assert!(matches!(config.try_init(&Device::flex()), Err(ModelError::TooLarge { .. })));
        }
    }

    #[test]
    #[should_panic(expected = "width is 0")]
    fn init_panics_with_the_reason() {
        MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet18).with_width(0)).init(&Device::flex());
    }

    #[test]
    fn parameters_are_counted_as_they_are() {
        let device = Device::flex();
        let mut encoders: Vec<EncoderConfig> = Vec::new();
        for depth in [ResNetDepth::ResNet18, ResNetDepth::ResNet34, ResNetDepth::ResNet50] {
            for stem in [Stem::Cifar, Stem::ImageNet] {
                let resnet = ResNetConfig::new(depth).with_stem(stem).with_width(3).with_in_channels(2);
                encoders.push(resnet.into());
            }
        }
        for residual in [false, true] {
            let fast =
                FastNetConfig::new().with_widths([3, 5, 4]).with_in_channels(2).with_residual(residual);
            encoders.push(fast.into());
        }
        for encoder in encoders {
            let config =
                MclModelConfig::new(encoder).with_hidden(5).with_projection_dim(7).with_classifier(6);
            let mut model = config.init(&device.clone().autodiff());
            let trainable: usize = named_weights(&mut model)
                .iter()
                .filter(|named| match &named.weight {
                    Weight::Conv { filters, .. } => filters.is_require_grad(),
                    Weight::Linear(weight) => weight.is_require_grad(),
                    Weight::ConvBias(vector)
                    | Weight::LinearBias { bias: vector, .. }
                    | Weight::Norm(vector) => vector.is_require_grad(),
                    Weight::Running(_) => false,
                })
                .map(|named| named.weight.pytorch_shape().iter().product::<usize>())
                .sum();
            assert_eq!(config.parameters(), trainable as u128, "{config}");
        }
    }

    #[test]
    fn a_configuration_survives_json() {
        let fast = MclModelConfig::new(FastNetConfig::new()).with_classifier(40);
        for config in [small().with_projection_dim(16), fast.clone(), fast.with_classifier(None)] {
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<MclModelConfig>(&json).unwrap(), config);
        }
    }

    #[test]
    fn configurations_of_the_first_version_are_read() {
        let stored = r#"{
            "resnet": { "depth": "ResNet34", "stem": "ImageNet", "width": 4, "in_channels": 1 },
            "hidden": 8,
            "projection_dim": 16
        }"#;
        let resnet = ResNetConfig::new(ResNetDepth::ResNet34).with_stem(Stem::ImageNet).with_width(4);
        let expected = MclModelConfig::new(resnet.with_in_channels(1)).with_hidden(8).with_projection_dim(16);
        assert_eq!(serde_json::from_str::<MclModelConfig>(stored).unwrap(), expected);
    }
}
