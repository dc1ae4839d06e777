//! The projection head: `z = W2 relu(W1 h + b1) + b2`, from the features of the encoder to the space in which
//! the contrastive loss compares views and the Gaussians of each class are fitted.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use crate::error::{ModelError, check_parameters, check_sizes};

/// Configuration of a [`ProjectionHead`], for an encoder of one's own.
///
/// ```
/// # use burn::tensor::{Device, Tensor};
/// # use mcl_model::ProjectionHeadConfig;
/// let device = Device::flex();
/// let head = ProjectionHeadConfig::new(64).with_hidden(32).try_init(&device)?;
/// assert_eq!(head.forward(Tensor::zeros([2, 64], &device)).dims(), [2, 128]);
/// # Ok::<(), mcl_model::ModelError>(())
/// ```
#[derive(Config, Debug, PartialEq, Eq)]
pub struct ProjectionHeadConfig {
    /// Features of the encoder, at least 1.
    pub feature_dim: usize,
    /// Units of the hidden layer, at least 1. Default: 2048
    #[config(default = 2048)]
    pub hidden: usize,
    /// Dimension of the projections, at least 1. Default: 128
    #[config(default = 128)]
    pub projection_dim: usize,
}

/// Linear, ReLU, Linear. Made by [`ProjectionHeadConfig`], or part of an [`MclModel`](crate::MclModel).
#[derive(Module, Debug)]
pub struct ProjectionHead {
    pub(crate) linear1: Linear,
    pub(crate) linear2: Linear,
}

impl ProjectionHeadConfig {
    /// Number of trainable parameters (saturating).
    pub fn parameters(&self) -> u128 {
        let linear = |d_in: usize, d_out: usize| (d_in as u128 + 1).saturating_mul(d_out as u128);
        linear(self.feature_dim, self.hidden).saturating_add(linear(self.hidden, self.projection_dim))
    }

    /// The head with random weights: PyTorch's default for linear layers.
    ///
    /// Weights are drawn from the device's own generator, lazily, at their first use. For weights that depend
    /// on a seed alone take [`try_init_seeded`](Self::try_init_seeded).
    ///
    /// # Errors
    ///
    /// [`ModelError`] when a size is 0 or the head has more than
    /// [`MAX_PARAMETERS`](crate::MclModelConfig::MAX_PARAMETERS) parameters.
    pub fn try_init(&self, device: &Device) -> Result<ProjectionHead, ModelError> {
        check_sizes([("feature_dim", self.feature_dim)])?;
        self.check_sizes()?;
        check_parameters(self.parameters())?;
        Ok(self.build(device))
    }

    /// [`try_init`](Self::try_init) for a configuration known to be right.
    ///
    /// # Panics
    ///
    /// When a size is 0 or the head too large.
    pub fn init(&self, device: &Device) -> ProjectionHead {
        self.try_init(device).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The sizes of the head itself.
    pub(crate) fn check_sizes(&self) -> Result<(), ModelError> {
        check_sizes([("hidden", self.hidden), ("projection_dim", self.projection_dim)])
    }

    /// The head; sizes have been checked.
    pub(crate) fn build(&self, device: &Device) -> ProjectionHead {
        ProjectionHead {
            linear1: LinearConfig::new(self.feature_dim, self.hidden).init(device),
            linear2: LinearConfig::new(self.hidden, self.projection_dim).init(device),
        }
    }
}

impl ProjectionHead {
    /// The head that gives features back as they are, if none is negative, as those of a [`ResNet`](crate::ResNet): the projections
    /// of an encoder that is used without training. `hidden` and `projection_dim` are both `feature_dim`.
    ///
    /// # Errors
    ///
    /// As [`ProjectionHeadConfig::try_init`].
    pub fn identity(feature_dim: usize, device: &Device) -> Result<Self, ModelError> {
        let config =
            ProjectionHeadConfig::new(feature_dim).with_hidden(feature_dim).with_projection_dim(feature_dim);
        let mut head = config.try_init(device)?;
        for linear in [&mut head.linear1, &mut head.linear2] {
            linear.weight = Param::from_tensor(Tensor::eye(feature_dim, device));
            linear.bias = Some(Param::from_tensor(Tensor::zeros([feature_dim], device)));
        }
        Ok(head)
    }

    /// The projections of features; not normalised.
    ///
    /// # Shapes
    ///
    /// - `features`: `[n, feature_dim]`
    /// - output: `[n, projection_dim]`
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        self.linear2.forward(relu(self.linear1.forward(features)))
    }

    /// Number of features that the head takes.
    pub fn feature_dim(&self) -> usize {
        let [features, _] = self.linear1.weight.lazy_shape().dims();
        features
    }

    /// Dimension of the projections.
    pub fn projection_dim(&self) -> usize {
        let [_, projections] = self.linear2.weight.lazy_shape().dims();
        projections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_gives_features_back() {
        let device = Device::flex();
        let head = ProjectionHead::identity(3, &device).unwrap();
        assert_eq!((head.feature_dim(), head.projection_dim()), (3, 3));
        let features = Tensor::<2>::from_data([[0.0, 0.5, 7.0], [1e-9, 3.0, 2.0]], &device);
        assert_eq!(head.forward(features.clone()).into_data(), features.into_data());
        let error = ProjectionHead::identity(0, &device).unwrap_err();
        assert_eq!(error, ModelError::ZeroSize { field: "feature_dim" });
    }
}
