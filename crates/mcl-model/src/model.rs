//! Encoder, projection head and classifier together: the network that MCL trains and scores with.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};

use crate::encoder::Encoder;
use crate::error::ModelError;
use crate::head::ProjectionHead;
use crate::precision::Precision;

/// What the network says about a batch of images.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Embedding {
    /// Pooled output of the encoder, `[n, feature_dim]`.
    pub features: Tensor<2>,
    /// Output of the projection head, `[n, projection_dim]`; rows are not normalised.
    pub projections: Tensor<2>,
    /// Output of a classifier, `[n, classes]`, for networks that have one.
    pub logits: Option<Tensor<2>>,
}

/// Encoder, projection head and, if wanted, a linear classifier on the features. Made by
/// [`MclModelConfig`](crate::MclModelConfig).
///
/// Train it on an autodiff device; for evaluation take [`Module::valid`], which makes batch norm use its
/// running statistics. Those follow Burn's convention: the running variance gathers the biased variance of
/// each batch, where PyTorch gathers the unbiased one.
#[derive(Module, Debug)]
pub struct MclModel {
    pub(crate) encoder: Encoder,
    pub(crate) projector: ProjectionHead,
    pub(crate) classifier: Option<Linear>,
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
    /// Puts an encoder, a [`ResNet`](crate::ResNet) or a [`FastNet`](crate::FastNet), and a projection head together:
    /// an encoder with pretrained weights and a new head, for example.
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
    pub fn from_parts(encoder: impl Into<Encoder>, projector: ProjectionHead) -> Result<Self, ModelError> {
        let encoder = encoder.into();
        let (features, expected) = (encoder.feature_dim(), projector.feature_dim());
        if features == expected {
            Ok(Self { encoder, projector, classifier: None })
        } else {
            Err(ModelError::Parts { features, expected })
        }
    }

    /// Adds a classifier, or replaces it: a linear layer from the features to the classes. A layer with bias is taken,
    /// too; those that [`MclModelConfig`](crate::MclModelConfig) makes have none.
    ///
    /// # Errors
    ///
    /// [`ModelError::Classifier`] when the layer takes another number of features than the encoder gives.
    pub fn with_classifier(mut self, classifier: Linear) -> Result<Self, ModelError> {
        let [expected, _] = classifier.weight.lazy_shape().dims();
        let features = self.encoder.feature_dim();
        if features == expected {
            self.classifier = Some(classifier);
            Ok(self)
        } else {
            Err(ModelError::Classifier { features, expected })
        }
    }

    /// Takes the network apart, to change a part: [`from_parts`](Self::from_parts) puts it together again. The
    /// [`classifier`](Self::classifier) is no part; [`with_classifier`](Self::with_classifier) takes it.
    pub fn into_parts(self) -> (Encoder, ProjectionHead) {
        (self.encoder, self.projector)
    }

    /// Features and projections of a batch of images, and logits if the network has a classifier.
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, in_channels, h, w]`, `h` and `w` of at least [`Encoder::min_size`]: 1 for a ResNet, 9 for a
    ///   FastNet; the released weights expect RGB in `[0, 1]`
    /// - output: features `[n, feature_dim]`, projections `[n, projection_dim]` and logits `[n, classes]`
    ///
    /// # Panics
    ///
    /// When the images do not have `in_channels` channels, or are smaller than [`Encoder::min_size`].
    pub fn forward(&self, images: Tensor<4>) -> Embedding {
        let features = self.encoder.forward(images);
        let projections = self.projector.forward(features.clone());
        let logits = self.classifier.as_ref().map(|classifier| classifier.forward(features.clone()));
        Embedding { features, projections, logits }
    }

    /// The same network with an encoder that whitens the patches of these images: see
    /// [`FastNet::whiten`](crate::FastNet::whiten). To be called before training. A network with a ResNet stays as it is.
    ///
    /// ```
    /// # use burn::tensor::{Device, Distribution, Tensor};
    /// # use mcl_model::{FastNetConfig, MclModelConfig};
    /// # let device = Device::flex();
    /// # let training_images = Tensor::<4>::random([4, 3, 32, 32], Distribution::Uniform(0.0, 1.0), &device);
    /// let config = MclModelConfig::new(FastNetConfig::new()).with_hidden(512).with_classifier(40);
    /// let model = config.init_seeded(0, &device).whiten(&training_images)?;
    /// # Ok::<(), mcl_model::ModelError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`FastNet::whiten`](crate::FastNet::whiten): for images of another shape, that are not finite or whose pixels
    /// are all the same.
    pub fn whiten(mut self, images: &Tensor<4>) -> Result<Self, ModelError> {
        self.encoder = self.encoder.whiten(images)?;
        Ok(self)
    }

    /// The same network with the products of its convolutions in this precision. Linear layers stay in f32.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.encoder = self.encoder.with_precision(precision);
        self
    }

    /// The same network with the encoder frozen: training changes the projection head and the classifier alone, and the
    /// encoder's batch norms keep their running statistics. [`unfreeze_encoder`](Self::unfreeze_encoder) undoes it.
    #[must_use]
    pub fn freeze_encoder(mut self) -> Self {
        self.encoder = self.encoder.freeze();
        self
    }

    /// Undoes [`freeze_encoder`](Self::freeze_encoder). What a FastNet never trains (the filters of the stem and the
    /// scales of the batch norms) stays fixed, where [`Module::unfreeze`] would train that, too.
    #[must_use]
    pub fn unfreeze_encoder(mut self) -> Self {
        self.encoder = self.encoder.unfreeze().fix();
        self
    }

    /// The device that the weights are on.
    pub fn device(&self) -> Device {
        self.projector.linear1.weight.device()
    }

    /// The encoder alone.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The projection head alone.
    pub fn projector(&self) -> &ProjectionHead {
        &self.projector
    }

    /// The classifier alone, if there is one.
    pub fn classifier(&self) -> Option<&Linear> {
        self.classifier.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MclModelConfig;
    use crate::fast_net::FastNetConfig;
    use crate::head::ProjectionHeadConfig;
    use crate::resnet::ResNetConfig;
    use crate::variant::ResNetDepth;
    use burn::nn::LinearConfig;
    use burn::tensor::{Distribution, TensorData, Tolerance};

    fn small() -> MclModelConfig {
        MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet18).with_width(4)).with_hidden(8)
    }

    fn fast() -> MclModelConfig {
        let encoder = FastNetConfig::new().with_widths([4, 4, 6]);
        MclModelConfig::new(encoder).with_hidden(8).with_classifier(5)
    }

    #[test]
    fn parts_make_the_same_network() {
        let device = Device::flex();
        let model = small().init_seeded(3, &device);
        let images = Tensor::<4>::ones([1, 3, 8, 8], &device);
        let expected = model.forward(images.clone()).projections.into_data();
        let (encoder, head) = model.into_parts();
        assert_eq!((head.feature_dim(), head.projection_dim()), (32, 128));
        let again = MclModel::from_parts(encoder.clone(), head.clone()).unwrap();
        assert_eq!(again.forward(images.clone()).projections.into_data(), expected);
        let alone = encoder.as_resnet().unwrap().clone();
        let again = MclModel::from_parts(alone, head).unwrap();
        assert_eq!(again.forward(images).projections.into_data(), expected);

        let other = ProjectionHeadConfig::new(31).with_hidden(8).init(&device);
        let error = MclModel::from_parts(encoder, other).unwrap_err();
        assert_eq!(error, ModelError::Parts { features: 32, expected: 31 });
        let error = ProjectionHeadConfig::new(0).try_init(&device).unwrap_err();
        assert_eq!(error, ModelError::ZeroSize { field: "feature_dim" });
    }

    #[test]
    fn a_classifier_gives_logits() {
        let device = Device::flex();
        let images = Tensor::<4>::ones([2, 3, 12, 12], &device);
        let model = fast().init_seeded(3, &device);
        let embedding = model.forward(images.clone());
        let expected = embedding.features.matmul(model.classifier().unwrap().weight.val()).into_data();
        let logits = embedding.logits.unwrap().into_data();
        logits.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
        assert!(small().init_seeded(3, &device).forward(images.clone()).logits.is_none());

        // Encoder and head are those of the network without classifier, and the classifier can be put back.
        let without = fast().with_classifier(None).init_seeded(3, &device);
        assert_eq!(
            without.forward(images.clone()).projections.into_data(),
            embedding.projections.into_data()
        );
        let again = without.with_classifier(model.classifier().unwrap().clone()).unwrap();
        assert_eq!(again.forward(images).logits.unwrap().into_data(), logits);

        let other = LinearConfig::new(7, 5).init(&device);
        let error = again.with_classifier(other).unwrap_err();
        assert_eq!(error, ModelError::Classifier { features: 6, expected: 7 });
    }

    /// Whether an encoder's bias of a norm, the head and the classifier have gradients, and the fixed filters do.
    fn trained(model: &MclModel, images: &Tensor<4>) -> [bool; 4] {
        let embedding = model.forward(images.clone());
        let gradients = (embedding.projections.sum() + embedding.logits.unwrap().sum()).backward();
        let encoder = model.encoder().as_fast_net().unwrap();
        [
            encoder.groups[0].norm1.beta.val().grad(&gradients).is_some(),
            model.projector().linear1.weight.val().grad(&gradients).is_some(),
            model.classifier().unwrap().weight.val().grad(&gradients).is_some(),
            encoder.stem.weight.val().grad(&gradients).is_some(),
        ]
    }

    #[test]
    fn a_frozen_encoder_can_be_trained_again() {
        let device = Device::flex().autodiff();
        let images = Tensor::<4>::random([2, 3, 12, 12], Distribution::Uniform(0.0, 1.0), &device);
        let model = fast().init_seeded(3, &device);
        assert_eq!(trained(&model, &images), [true, true, true, false]);
        let frozen = model.freeze_encoder();
        assert_eq!(trained(&frozen, &images), [false, true, true, false]);
        assert_eq!(trained(&frozen.unfreeze_encoder(), &images), [true, true, true, false]);
    }

    #[test]
    fn whitening_is_for_fast_nets_alone() {
        let device = Device::flex();
        let values: Vec<f32> = (0..2 * 3 * 12 * 12).map(|i| (i as f32 * 0.37).sin() * 0.5 + 0.5).collect();
        let images = Tensor::<4>::from_data(TensorData::new(values, [2, 3, 12, 12]), &device);
        let projections = |model: &MclModel| model.forward(images.clone()).projections.into_data();
        let resnet = small().init_seeded(3, &device);
        let expected = projections(&resnet);
        assert_eq!(projections(&resnet.whiten(&images).unwrap()), expected);

        let model = fast().init_seeded(3, &device.clone().autodiff());
        let plain = projections(&model.valid());
        let whitened = model.whiten(&images).unwrap();
        assert_ne!(projections(&whitened.valid()), plain);
        let images = images.clone().to_device(&device.clone().autodiff());
        assert_eq!(trained(&whitened, &images), [true, true, true, false]);
        // The mean response to all patches is 0.
        let stem = whitened.valid().encoder().as_fast_net().unwrap().stem.clone();
        let responses = stem.forward(images.clone().without_autodiff()).mean_dims(&[0, 2, 3]).into_data();
        let zeros = TensorData::zeros::<f32, _>([1, 24, 1, 1]);
        responses.assert_approx_eq::<f32>(&zeros, Tolerance::absolute(1e-4));
        let error =
            fast().init_seeded(3, &device).whiten(&Tensor::ones([2, 1, 12, 12], &device)).unwrap_err();
        assert_eq!(error, ModelError::WhiteningShape { found: [2, 1, 12, 12], in_channels: 3 });
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
        for (config, size) in [(small(), [9, 7]), (fast(), [13, 11])] {
            let model = config.init_seeded(3, &device);
            let [height, width] = size;
            let values: Vec<f32> = (0..3 * 3 * height * width).map(|i| (i as f32 * 0.7).cos()).collect();
            let images = Tensor::<4>::from_data(TensorData::new(values, [3, 3, height, width]), &device);
            let together = model.forward(images.clone()).projections;
            for image in 0..3 {
                let alone = model.forward(images.clone().narrow(0, image, 1)).projections;
                let expected = together.clone().narrow(0, image, 1);
                alone.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
            }
        }
    }
}
