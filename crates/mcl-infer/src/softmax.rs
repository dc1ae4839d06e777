//! The softmax probability of a class as its score (Hendrycks and Gimpel, ICLR 2017), for a classifier of
//! (class, auxiliary class).

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};

use crate::aggregation::Aggregation;
use crate::confidence::Confidence;
use crate::error::InferError;
use crate::estimator::Estimator;
use crate::logits::Logits;
use crate::samples::SampleBatch;
use crate::scorer::{Scorer, ViewBatch};
use crate::views::TestTimeViews;

/// Scores a view by the probabilities of the classes, among the logits of the view's own auxiliary class.
///
/// ```text
/// score(v, c) = exp(l(c, a) / T) / Σ_c' exp(l(c', a) / T),   a the auxiliary class of view v
/// ```
///
/// Logit `class * aux_classes + aux` belongs to the pair (class, aux). The mean over the views is the mean of their
/// probabilities. The temperature T is 1 by default. Nothing is fitted.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use mcl_infer::{Aggregation, InferError, Scorer, SoftmaxScorer, ViewBatch};
///
/// # fn main() -> Result<(), InferError> {
/// let device = Device::flex();
/// // Two images, one view, three classes without auxiliary classes: the network is sure of the first image.
/// let logits = Tensor::from_data([[[9.0, 0.0, 0.0]], [[0.5, 0.4, 0.4]]], &device);
/// let batch = ViewBatch::new(Tensor::zeros([2, 1, 8], &device), &[0]).with_logits(logits);
/// let prediction = SoftmaxScorer::new(3, 1).score_aggregated(&batch, &Aggregation::Mean)?;
/// let (labels, scores) = prediction.into_host()?;
/// assert_eq!(labels, [0, 0]);
/// assert!(scores[0] > 0.99 && scores[1] < 0.4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftmaxScorer {
    logits: Logits,
    temperature: f64,
    confidence: Confidence,
}

impl SoftmaxScorer {
    /// For a classifier of `classes` classes of `aux_classes` auxiliary classes each (1 where there are none).
    pub fn new(classes: usize, aux_classes: usize) -> Self {
        let logits = Logits { classes, aux_classes };
        Self { logits, temperature: 1.0, confidence: Confidence::Highest }
    }

    /// The same at another temperature, above 0: the logits are divided by the temperature. A temperature above 1 keeps the
    /// classes apart that a sure network rounds to probability 0 (Liang, Li and Srikant, ICLR 2018).
    #[must_use]
    pub fn with_temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// The same with another score of an image: the highest probability by default.
    #[must_use]
    pub fn with_confidence(mut self, confidence: Confidence) -> Self {
        self.confidence = confidence;
        self
    }
}

impl Scorer for SoftmaxScorer {
    fn columns(&self) -> usize {
        self.logits.classes
    }

    fn views(&self) -> TestTimeViews {
        TestTimeViews::most(self.logits.aux_classes)
    }

    /// Probabilities are no distances: [`Aggregation::Mean`] and [`Aggregation::Max`].
    fn aggregations(&self) -> &[Aggregation] {
        &[Aggregation::Mean, Aggregation::Max]
    }

    fn confidence(&self) -> Confidence {
        self.confidence
    }

    /// Scores each view: `[images, views, classes]`, in [0, 1], on the device of the logits. A logit that is NaN gives NaN.
    ///
    /// # Errors
    ///
    /// [`InferError::NoLogits`], [`InferError::LogitCount`] when the classifier has other outputs, [`InferError::ViewCount`]
    /// and [`InferError::ViewAuxOutOfRange`] when the auxiliary classes of the views do not fit,
    /// [`InferError::InvalidTemperature`].
    fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
        let temperature = self.temperature;
        if !(temperature.is_finite() && temperature > 0.0) {
            return Err(InferError::InvalidTemperature { temperature });
        }
        Ok(softmax(self.logits.of_views(batch)?.div_scalar(temperature), 2))
    }
}

impl Estimator for SoftmaxScorer {
    /// Nothing is counted.
    fn update(&mut self, _batch: &SampleBatch) -> Result<(), InferError> {
        Ok(())
    }

    fn fit(&self, _device: &Device) -> Result<Box<dyn Scorer>, InferError> {
        Ok(Box::new(*self))
    }
}
