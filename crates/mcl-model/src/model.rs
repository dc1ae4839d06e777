//! Encoder and projection head together: the network that MCL trains and scores with.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::error::{MAX_PARAMETERS, ModelError, check_parameters};
use crate::head::{ProjectionHead, ProjectionHeadConfig};
use crate::resnet::{ResNet, ResNetConfig};

/// Configuration of an [`MclModel`].
///
/// ```
/// # use mcl_model::{MclModelConfig, ResNetConfig, ResNetDepth};
/// // ResNet-18 of width 64, hidden layer of 2048, projections of 128: the network of the released checkpoints.
/// let config = MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet18));
/// assert_eq!(config.resnet.feature_dim(), 512);
/// ```
#[derive(Config, Debug, PartialEq, Eq)]
pub struct MclModelConfig {
    /// The encoder.
    pub resnet: ResNetConfig,
    /// Units of the head's hidden layer, at least 1. Default: 2048
    #[config(default = 2048)]
    pub hidden: usize,
    /// Dimension of the projections, at least 1. Default: 128
    #[config(default = 128)]
    pub projection_dim: usize,
}

/// What the network says about a batch of images.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Embedding {
    /// Pooled output of the encoder, `[n, feature_dim]`.
    pub features: Tensor<2>,
    /// Output of the projection head, `[n, projection_dim]`; rows are not normalised.
    pub projections: Tensor<2>,
    /// Output of a classifier, `[n, classes]`, for networks that have one. [`MclModel`] has none.
    pub logits: Option<Tensor<2>>,
}

/// ResNet encoder and projection head. Made by [`MclModelConfig`].
///
/// Train it on an autodiff device; for evaluation take [`Module::valid`], which makes batch norm use its
/// running statistics. Those follow Burn's convention: the running variance gathers the biased variance of
/// each batch, where PyTorch gathers the unbiased one.
#[derive(Module, Debug)]
pub struct MclModel {
    pub(crate) encoder: ResNet,
    pub(crate) projector: ProjectionHead,
}

impl MclModelConfig {
    /// The most parameters a network may have: 2^31, which is 8 GiB of f32 weights.
    pub const MAX_PARAMETERS: u128 = MAX_PARAMETERS;

    /// Number of trainable parameters of encoder and head (saturating).
    pub fn parameters(&self) -> u128 {
        self.resnet.parameters().saturating_add(self.head().parameters())
    }

    fn head(&self) -> ProjectionHeadConfig {
        ProjectionHeadConfig {
            feature_dim: self.resnet.feature_dim(),
            hidden: self.hidden,
            projection_dim: self.projection_dim,
        }
    }

    /// The network with random weights: Kaiming fan-out for convolutions, PyTorch's default for linear
    /// layers.
    ///
    /// Weights are drawn from the device's own generator, lazily, at their first use. For weights that depend
    /// on a seed alone take [`init_seeded`](Self::init_seeded).
    ///
    /// # Errors
    ///
    /// [`ModelError`] when a size is 0 or the network too large.
    pub fn try_init(&self, device: &Device) -> Result<MclModel, ModelError> {
        self.check()?;
        Ok(MclModel { encoder: self.resnet.build(device), projector: self.head().build(device) })
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
        self.resnet.check_sizes()?;
        self.head().check_sizes()?;
        check_parameters(self.parameters())
    }
}

impl Embedding {
    /// What a network of one's own says about a batch of images.
    ///
    /// # Shapes
    ///
    /// - `features`: `[n, feature_dim]`
    /// - `projections`: `[n, projection_dim]`
    pub fn new(features: Tensor<2>, projections: Tensor<2>) -> Self {
        Self { features, projections, logits: None }
    }

    /// Adds the output of a classifier, `[n, classes]`, for a loss that takes it.
    #[must_use]
    pub fn with_logits(mut self, logits: Tensor<2>) -> Self {
        self.logits = Some(logits);
        self
    }
}

impl MclModel {
    /// Puts an encoder and a projection head together: an encoder with pretrained weights and a new head, for
    /// example.
    ///
    /// ```
    /// # use burn::tensor::Device;
    /// # use mcl_model::{MclModel, ProjectionHeadConfig, ResNetConfig, ResNetDepth};
    /// # let device = Device::flex();
    /// let encoder = ResNetConfig::new(ResNetDepth::ResNet18).with_width(8).try_init(&device)?;
    /// let head = ProjectionHeadConfig::new(encoder.feature_dim()).try_init(&device)?;
    /// let model = MclModel::from_parts(encoder, head)?;
    /// # Ok::<(), mcl_model::ModelError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ModelError::Parts`] when the head takes another number of features than the encoder gives.
    pub fn from_parts(encoder: ResNet, projector: ProjectionHead) -> Result<Self, ModelError> {
        let (features, expected) = (encoder.feature_dim(), projector.feature_dim());
        if features == expected {
            Ok(Self { encoder, projector })
        } else {
            Err(ModelError::Parts { features, expected })
        }
    }

    /// Takes the network apart, to change a part: [`from_parts`](Self::from_parts) puts it together again.
    pub fn into_parts(self) -> (ResNet, ProjectionHead) {
        (self.encoder, self.projector)
    }

    /// Features and projections of a batch of images.
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, in_channels, h, w]`, any `h` and `w` of at least 1; the released weights expect RGB
    ///   in `[0, 1]`
    /// - output: features `[n, feature_dim]` and projections `[n, projection_dim]`
    ///
    /// # Panics
    ///
    /// When the images do not have `in_channels` channels.
    pub fn forward(&self, images: Tensor<4>) -> Embedding {
        let features = self.encoder.forward(images);
        let projections = self.projector.forward(features.clone());
        Embedding::new(features, projections)
    }

    /// The same network with the encoder frozen: training changes the projection head alone, and the encoder's batch norms
    /// keep their running statistics. [`Module::unfreeze`] undoes it.
    #[must_use]
    pub fn freeze_encoder(mut self) -> Self {
        self.encoder = self.encoder.freeze();
        self
    }

    /// The device that the weights are on.
    pub fn device(&self) -> Device {
        self.projector.linear1.weight.device()
    }

    /// The encoder alone.
    pub fn encoder(&self) -> &ResNet {
        &self.encoder
    }

    /// The projection head alone.
    pub fn projector(&self) -> &ProjectionHead {
        &self.projector
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::named_weights;
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
            ("projection_dim", MclModelConfig::new(resnet).with_projection_dim(0)),
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
        let config = small().with_hidden(usize::MAX).with_projection_dim(usize::MAX);
        assert!(matches!(config.try_init(&Device::flex()), Err(ModelError::TooLarge { .. })));
    }

    #[test]
    #[should_panic(expected = "width is 0")]
    fn init_panics_with_the_reason() {
        MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet18).with_width(0)).init(&Device::flex());
    }

    #[test]
    fn parameters_are_counted_as_they_are() {
        let device = Device::flex();
        for depth in [ResNetDepth::ResNet18, ResNetDepth::ResNet34, ResNetDepth::ResNet50] {
            for stem in [Stem::Cifar, Stem::ImageNet] {
                let resnet = ResNetConfig::new(depth).with_stem(stem).with_width(3).with_in_channels(2);
                let config = MclModelConfig::new(resnet).with_hidden(5).with_projection_dim(7);
                let mut model = config.init(&device);
                let trainable: usize = named_weights(&mut model)
                    .iter()
                    .filter(|named| !matches!(named.weight, crate::parameters::Weight::Running(_)))
                    .map(|named| named.weight.pytorch_shape().iter().product::<usize>())
                    .sum();
                assert_eq!(config.parameters(), trainable as u128, "{depth:?} {stem:?}");
            }
        }
    }

    #[test]
    fn parts_make_the_same_network() {
        let device = Device::flex();
        let model = small().init_seeded(3, &device);
        let images = Tensor::<4>::ones([1, 3, 8, 8], &device);
        let expected = model.forward(images.clone()).projections.into_data();
        let (encoder, head) = model.into_parts();
        assert_eq!((head.feature_dim(), head.projection_dim()), (32, 128));
        let again = MclModel::from_parts(encoder.clone(), head).unwrap();
        assert_eq!(again.forward(images).projections.into_data(), expected);

        let other = ProjectionHeadConfig::new(31).with_hidden(8).init(&device);
        let error = MclModel::from_parts(encoder, other).unwrap_err();
        assert_eq!(error, ModelError::Parts { features: 32, expected: 31 });
        let error = ProjectionHeadConfig::new(0).try_init(&device).unwrap_err();
        assert_eq!(error, ModelError::ZeroSize { field: "feature_dim" });
    }

    #[test]
    fn a_configuration_survives_json() {
        let config = small().with_projection_dim(16);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<MclModelConfig>(&json).unwrap(), config);
    }

    #[test]
    #[should_panic(expected = "shape")]
    fn other_channels_panic() {
        let device = Device::flex();
        small().init(&device).forward(Tensor::zeros([1, 4, 8, 8], &device));
    }

    #[test]
    fn images_are_embedded_one_by_one_in_evaluation() {
        let device = Device::flex();
        let model = small().init_seeded(3, &device);
        let values: Vec<f32> = (0..3 * 3 * 9 * 7).map(|i| (i as f32 * 0.7).cos()).collect();
        let images = Tensor::<4>::from_data(burn::tensor::TensorData::new(values, [3, 3, 9, 7]), &device);
        let together = model.forward(images.clone()).projections;
        for image in 0..3 {
            let alone = model.forward(images.clone().narrow(0, image, 1)).projections;
            let expected = together.clone().narrow(0, image, 1);
            alone
                .into_data()
                .assert_approx_eq::<f32>(&expected.into_data(), burn::tensor::Tolerance::absolute(1e-5));
        }
    }
}
