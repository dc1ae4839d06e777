//! The projection head: `z = W2 relu(W1 h + b1) + b2`, from the features of the encoder to the space in which the
//! contrastive loss compares views and the Gaussians of each class are fitted.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

/// Linear, ReLU, Linear. Part of [`MclModel`](crate::MclModel).
#[derive(Module, Debug)]
pub struct ProjectionHead {
    pub(crate) linear1: Linear,
    pub(crate) linear2: Linear,
}

impl ProjectionHead {
    /// `dims`: features, hidden units, projections.
    pub(crate) fn new(dims: [usize; 3], device: &Device) -> Self {
        let [features, hidden, projections] = dims;
        Self {
            linear1: LinearConfig::new(features, hidden).init(device),
            linear2: LinearConfig::new(hidden, projections).init(device),
        }
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
}
