//! ODIN: a temperature, and images moved a little towards what the network takes them for (Liang, Li and Srikant, "Enhancing the
//! reliability of out-of-distribution image detection in neural networks", ICLR 2018).

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use mcl_data::ImageSet;
use mcl_data::batch::eval_batches;
use mcl_infer::InferError;
use mcl_model::Network;

use crate::detector::DetectorError;
use crate::progress::Progress;

/// Settings of ODIN.
///
/// ```text
/// x~ = x + epsilon sign(grad_x ln max_c p(c | x; T)),   score(x) = max_c p(c | x~; T),   p = softmax(logits / T)
/// ```
///
/// ODIN needs the gradient of the network, so that it is a function of images and not a
/// [`Scorer`](mcl_infer::Scorer) of what the network makes of them. The probabilities are over all outputs of the classifier.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct OdinConfig {
    /// T, above 0. Default: 1000, the paper's.
    pub temperature: f64,
    /// How far each pixel moves, in units of pixels from 0 to 1, not below 0. Default: 0.0014, the paper's for DenseNet and CIFAR-10;
    /// choose it by validation data.
    pub epsilon: f64,
    /// Images that go through the network at once, at least 1. Default: 256
    pub batch_size: usize,
}

impl Default for OdinConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl OdinConfig {
    /// The settings of the paper.
    pub fn new() -> Self {
        Self { temperature: 1000.0, epsilon: 0.0014, batch_size: 256 }
    }

    /// The same with another temperature.
    #[must_use]
    pub fn with_temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// The same with another distance.
    #[must_use]
    pub fn with_epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// The same with other batches.
    #[must_use]
    pub fn with_batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Returns the score of each image, higher = more normal, in the order of the set. The network is used as for evaluation.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Config`] when a setting is out of range, [`InferError::NoLogits`] for a network without a classifier, and
    /// [`DetectorError::Data`] when `batch_size` is 0.
    pub fn score<N: Network>(
        &self,
        model: &N,
        set: &ImageSet,
        progress: Progress,
    ) -> Result<Vec<f64>, DetectorError> {
        let Self { temperature, epsilon, batch_size } = *self;
        let refuse = |setting, value: f64, expected| {
            Err(DetectorError::Config { setting, value: value.to_string(), expected })
        };
        if !(temperature.is_finite() && temperature > 0.0) {
            return refuse("temperature", temperature, "a positive number");
        }
        if !(epsilon.is_finite() && epsilon >= 0.0) {
            return refuse("epsilon", epsilon, "a number not below 0");
        }
        let evaluating = model.valid();
        let device = evaluating.device();
        // Frozen layers work as in evaluation, and gradients pass through them.
        let differentiable = evaluating.clone().train().freeze();
        let mut scores = Vec::with_capacity(set.len());
        let bar = progress.bar("scoring", set.len(), 0);
        for batch in eval_batches(set, batch_size, &device)? {
            let images = if epsilon == 0.0 {
                batch.images
            } else {
                let images = Tensor::from_inner(batch.images.clone()).require_grad();
                let logits = differentiable.forward(images.clone()).logits.ok_or(InferError::NoLogits)?;
                let highest = log_softmax(logits.div_scalar(temperature), 1).max_dim(1).sum();
                let gradient = images.grad(&highest.backward()).expect("the network depends on its images");
                batch.images + gradient.sign().mul_scalar(epsilon)
            };
            let logits = evaluating.forward(images).logits.ok_or(InferError::NoLogits)?;
            let highest = log_softmax(logits.div_scalar(temperature), 1).max_dim(1).exp();
            scores.extend(highest.into_data().iter::<f64>());
            bar.inc(batch.labels.len() as u64);
        }
        bar.finish_and_clear();
        Ok(scores)
    }
}
