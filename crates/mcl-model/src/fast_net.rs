//! The encoder for small images on CPUs: a frozen stem that whitens patches of 2 x 2 pixels, and three groups of 3x3
//! convolutions. The shape is that of Keller Jordan's airbench (github.com/KellerJordan/cifar10-airbench: airbench94,
//! and airbench96 with `residual`), without the classifier.
//!
//! ```text
//! images [n, c, h, w] -> stem: conv 2x2 without padding, gelu [n, 8 c, h - 1, w - 1]
//!     -> group 1 (widths[0], /2) -> group 2 (widths[1], /2) -> group 3 (widths[2], /2) -> maximum over h, w
//! ```
//!
//! 32 x 32 pixels become 31, 15, 7 and 3. The inner products of the convolutions are long (576 values and more in all
//! but the first group at the default widths), which suits a CPU.

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor, assert_shape};

use crate::error::{ModelError, check_parameters, check_sizes};
use crate::group::{self, Group};
use crate::layers::{conv_gelu, feature_map};
use crate::precision::Precision;
use crate::stem;

/// Configuration of a [`FastNet`].
///
/// ```
/// # use mcl_model::FastNetConfig;
/// // The shape of airbench96.
/// let config = FastNetConfig::new().with_widths([128, 384, 512]).with_residual(true);
/// assert_eq!(config.feature_dim(), 512);
/// ```
#[derive(Config, Debug, PartialEq, Eq)]
pub struct FastNetConfig {
    /// Channels of the three groups, each at least 1. The last number is the number of features. Default: 64, 256, 256
    #[config(default = "[64, 256, 256]")]
    pub widths: [usize; 3],
    /// Channels of the images, at least 1. The stem has 8 channels for each of them. Default: 3
    #[config(default = 3)]
    pub in_channels: usize,
    /// Whether each group has a third convolution, and a shortcut round the second and the third. Default: false
    #[config(default = false)]
    pub residual: bool,
}

/// A network for small images on CPUs, without classifier. Made by [`FastNetConfig`], or part of an
/// [`MclModel`](crate::MclModel).
///
/// The filters of the stem and the scales of the batch norms are not trained. The stem begins with plain filters;
/// [`whiten`](Self::whiten) makes them fit the images before training.
#[derive(Module, Debug)]
pub struct FastNet {
    pub(crate) stem: Conv2d,
    pub(crate) groups: Vec<Group>,
    in_channels: usize,
    /// Whether products are in bf16.
    bf16: bool,
}

impl FastNetConfig {
    /// Number of features: the last of the widths.
    pub fn feature_dim(&self) -> usize {
        self.widths[2]
    }

    /// Number of trainable parameters (saturating). Filters of the stem and scales of the batch norms are not trained.
    pub fn parameters(&self) -> u128 {
        let groups = self.groups().map(|channels| group::parameters(channels, self.residual));
        groups.into_iter().fold(stem::channels(self.in_channels) as u128, u128::saturating_add)
    }

    /// The network alone, with random weights: as PyTorch's default, but each of a convolution's first filters passes
    /// one channel on unchanged (Dirac), as many as there are channels.
    ///
    /// Weights are drawn from the device's own generator, lazily, at their first use. For weights that depend on a seed
    /// alone take [`init_seeded`](Self::init_seeded).
    ///
    /// ```
    /// # use burn::tensor::{Device, Tensor};
    /// # use mcl_model::FastNetConfig;
    /// let device = Device::flex();
    /// let encoder = FastNetConfig::new().with_widths([8, 16, 16]).try_init(&device)?;
    /// assert_eq!(encoder.forward(Tensor::zeros([2, 3, 32, 32], &device)).dims(), [2, 16]);
    /// # Ok::<(), mcl_model::ModelError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ModelError`] when a size is 0 or the network has more than
    /// [`MAX_PARAMETERS`](crate::MclModelConfig::MAX_PARAMETERS) parameters.
    pub fn try_init(&self, device: &Device) -> Result<FastNet, ModelError> {
        self.check_sizes()?;
        check_parameters(self.parameters())?;
        Ok(self.build(device))
    }

    /// [`try_init`](Self::try_init) for a configuration known to be right.
    ///
    /// # Panics
    ///
    /// When a size is 0 or the network too large.
    pub fn init(&self, device: &Device) -> FastNet {
        self.try_init(device).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn check_sizes(&self) -> Result<(), ModelError> {
        let [first, second, third] = self.widths;
        check_sizes([
            ("widths[0]", first),
            ("widths[1]", second),
            ("widths[2]", third),
            ("in_channels", self.in_channels),
        ])
    }

    /// The network; sizes have been checked.
    pub(crate) fn build(&self, device: &Device) -> FastNet {
        let groups = self.groups().map(|channels| Group::new(channels, self.residual, device));
        FastNet {
            stem: stem::plain(self.in_channels, device),
            groups: groups.into(),
            in_channels: self.in_channels,
            bf16: false,
        }
    }

    /// Channels in and out of each group.
    pub(crate) fn groups(&self) -> [[usize; 2]; 3] {
        let [first, second, third] = self.widths;
        [[stem::channels(self.in_channels), first], [first, second], [second, third]]
    }
}

impl Default for FastNetConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl FastNet {
    /// The least height and width of an image: 9 pixels, of which the groups leave 8, 4, 2 and 1.
    pub const MIN_SIZE: usize = 9;

    /// The features of a batch of images.
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, in_channels, h, w]`, `h` and `w` of at least [`MIN_SIZE`](Self::MIN_SIZE)
    /// - output: `[n, widths[2]]`, the maximum over the last group's positions
    ///
    /// # Panics
    ///
    /// When the images do not have `in_channels` channels, or are smaller than [`MIN_SIZE`](Self::MIN_SIZE).
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let in_channels = self.in_channels;
        assert_shape!(images, [_, in_channels, _, _]);
        let [_, _, height, width] = images.dims();
        let least = Self::MIN_SIZE;
        assert!(
            height >= least && width >= least,
            "images of {height} x {width} pixels are too small: a FastNet takes {least} x {least} and larger"
        );
        let x = conv_gelu(feature_map(images, self.precision()), &self.stem);
        self.groups.iter().fold(x, |x, group| group.forward(x)).max()
    }

    /// The same network with a stem that whitens patches of 2 x 2 pixels as they occur in these images: patches whose
    /// values are uncorrelated and of variance 1 afterwards are what the first group sees.
    ///
    /// The filters become the principal components of the patches, by decreasing variance, each divided by the square
    /// root of its variance, and then their negatives. 0.0005 of the mean variance of a pixel is added to each variance,
    /// which bounds the filters of components that are hardly there. The bias becomes the response to the mean patch,
    /// negated. Training changes the bias and leaves the filters. The same images give the same filters.
    ///
    /// Some thousand images are enough. They are copied to the host as f32, and all arithmetic is in f64.
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, in_channels, h, w]`, `n` of at least 1, `h` and `w` of at least 2; as the network will see them
    ///
    /// # Errors
    ///
    /// [`ModelError::WhiteningShape`] for images of another shape, [`ModelError::WhiteningValues`] for images that are
    /// not finite or whose pixels are all the same.
    pub fn whiten(mut self, images: &Tensor<4>) -> Result<Self, ModelError> {
        stem::whiten(&mut self.stem, images)?;
        Ok(self)
    }

    /// The filters of the stem, `[8 * in_channels, in_channels, 2, 2]`.
    pub fn stem_filters(&self) -> Tensor<4> {
        self.stem.weight.val()
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
        self.groups.last().map_or(0, Group::channels)
    }

    /// Takes what is never trained out of training: the filters of the stem and the scales of the batch norms.
    pub(crate) fn fix(mut self) -> Self {
        self.stem = stem::fix(self.stem);
        self.groups = self.groups.into_iter().map(Group::fix).collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    fn small() -> FastNetConfig {
        FastNetConfig::new().with_widths([4, 6, 5])
    }

    fn images(shape: [usize; 4], device: &Device) -> Tensor<4> {
        let count = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.7).sin() * 0.5 + 0.5).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    #[test]
    fn the_default_is_airbench94s_shape() {
        // From its definition: a bias of 24 for the stem, convolutions without bias, batch norms without scale.
        let groups = [[24, 64], [64, 256], [256, 256]];
        let parameters = |[a, b]: [usize; 2]| 9 * a * b + b + 9 * b * b + b;
        let expected = 24 + groups.map(parameters).iter().sum::<usize>();
        assert_eq!(FastNetConfig::new().parameters(), expected as u128);
        assert_eq!(expected, 1_968_792);
    }

    #[test]
    fn the_smallest_image_has_features() {
        let device = Device::flex();
        for residual in [false, true] {
            let config = small().with_in_channels(2).with_residual(residual);
            let encoder = config.init(&device);
            assert_eq!(encoder.feature_dim(), config.feature_dim());
            let least = FastNet::MIN_SIZE;
            let features = encoder.forward(images([2, 2, least, least], &device));
            assert_eq!(features.dims(), [2, 5]);
        }
    }

    #[test]
    #[should_panic(expected = "9 x 8 pixels are too small")]
    fn smaller_images_panic() {
        let device = Device::flex();
        small().init(&device).forward(images([1, 3, 9, 8], &device));
    }

    #[test]
    #[should_panic(expected = "shape")]
    fn other_channels_panic() {
        let device = Device::flex();
        small().init(&device).forward(images([1, 4, 16, 16], &device));
    }

    #[test]
    fn networks_that_cannot_be_built_are_refused() {
        let device = Device::flex();
        for (field, config) in [
            ("widths[0]", small().with_widths([0, 1, 1])),
            ("widths[1]", small().with_widths([1, 0, 1])),
            ("widths[2]", small().with_widths([1, 1, 0])),
            ("in_channels", small().with_in_channels(0)),
        ] {
            assert_eq!(config.try_init(&device).unwrap_err(), ModelError::ZeroSize { field });
        }
        for config in [small().with_widths([usize::MAX; 3]), small().with_in_channels(usize::MAX)] {
            let error = config.try_init_seeded(0, &device).unwrap_err();
            assert!(matches!(error, ModelError::TooLarge { .. }), "{error}");
        }
    }

    #[test]
    fn only_what_is_trained_has_a_gradient() {
        let device = Device::flex().autodiff();
        let images = images([2, 3, 16, 16], &device);
        let encoder = small().with_residual(true).init_seeded(0, &device);
        // Also after everything was frozen and unfrozen, and after an evaluation.
        for encoder in [encoder.clone(), encoder.clone().freeze().unfreeze().fix(), encoder.valid().train()] {
            let gradients = encoder.forward(images.clone()).sum().backward();
            assert!(encoder.stem.weight.val().grad(&gradients).is_none());
            assert!(encoder.stem.bias.as_ref().unwrap().val().grad(&gradients).is_some());
            for group in &encoder.groups {
                let (third_conv, third_norm) = (group.conv3.as_ref().unwrap(), group.norm3.as_ref().unwrap());
                for conv in [&group.conv1, &group.conv2, third_conv] {
                    assert!(conv.weight.val().grad(&gradients).is_some());
                }
                for norm in [&group.norm1, &group.norm2, third_norm] {
                    assert!(norm.gamma.val().grad(&gradients).is_none());
                    assert!(norm.beta.val().grad(&gradients).is_some());
                }
            }
        }
    }

    /// New batch norms pass everything on in evaluation, and so do Dirac filters: each group then only pools.
    #[test]
    fn first_filters_pass_their_channel_on() {
        let device = Device::flex();
        let x = images([1, 2, 9, 9], &device);
        let gelu = burn::tensor::activation::gelu;
        let pool = burn::nn::pool::MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
        let expected = gelu(gelu(pool.forward(x.clone()))).into_data();
        for channels in [2, 5] {
            let group = Group::new([2, channels], false, &device);
            let found = group.forward(crate::layers::FeatureMap::new(x.clone())).into_tensor();
            assert_eq!(found.dims(), [1, channels, 4, 4]);
            // The second convolution passes its first channels on too; batch norms divide by sqrt(1 + 1e-5).
            let tolerance = burn::tensor::Tolerance::absolute(1e-4);
            found.narrow(1, 0, 2).into_data().assert_approx_eq::<f32>(&expected, tolerance);
        }
    }
}
