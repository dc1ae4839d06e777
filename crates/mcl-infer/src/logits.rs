//! The logits of a classifier of (class, auxiliary class) as scores: the maximum logit and the energy.

use burn::tensor::{Device, FloatDType, Tensor};

use crate::aggregation::Aggregation;
use crate::confidence::Confidence;
use crate::error::InferError;
use crate::estimator::Estimator;
use crate::samples::SampleBatch;
use crate::scorer::{Scorer, ViewBatch};
use crate::views::TestTimeViews;

/// The outputs of a classifier of (class, auxiliary class). Logit `class * aux_classes + aux` belongs to the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Logits {
    pub(crate) classes: usize,
    pub(crate) aux_classes: usize,
}

impl Logits {
    /// Takes the logits of each view's own auxiliary class, in f32: `[images, views, classes]`.
    pub(crate) fn of_views(self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
        let Self { classes, aux_classes } = self;
        let [_, _, dim] = batch.embeddings.dims();
        batch.check(dim, aux_classes)?;
        let logits = batch.require_logits()?;
        let [images, _, found] = logits.dims();
        let expected = classes.saturating_mul(aux_classes);
        if found != expected {
            return Err(InferError::LogitCount { expected, found });
        }
        let of_view = |(view, &aux): (usize, &usize)| {
            // [images, classes * aux_classes] -> [images, classes, aux_classes] -> [images, 1, classes]
            let pairs = logits.clone().narrow(1, view, 1).reshape([images, classes, aux_classes]);
            pairs.narrow(2, aux, 1).reshape([images, 1, classes])
        };
        let views = batch.view_aux.iter().enumerate().map(of_view).collect();
        Ok(Tensor::cat(views, 1).without_autodiff().cast(FloatDType::F32))
    }

    /// Takes the logits of each sample's own auxiliary class: `[samples][classes]`.
    pub(crate) fn of_samples<'a>(
        self,
        batch: &SampleBatch<'a>,
    ) -> Result<impl Iterator<Item = Vec<f64>> + 'a, InferError> {
        let Self { classes, aux_classes } = self;
        let (logits, aux) = (batch.require_logits()?, batch.aux);
        let expected = classes.saturating_mul(aux_classes);
        if expected == 0 || aux.len().checked_mul(expected) != Some(logits.len()) {
            let found = logits.len() / aux.len().max(1);
            return Err(InferError::LogitCount { expected, found });
        }
        for (row, (&aux, logits)) in aux.iter().zip(logits.chunks_exact(expected)).enumerate() {
            if aux >= aux_classes {
                return Err(InferError::AuxOutOfRange { row, aux, aux_classes });
            }
            if let Some(column) = logits.iter().position(|value| !value.is_finite()) {
                let (class, value) = (batch.class.get(row).copied().unwrap_or_default(), logits[column]);
                return Err(InferError::NonFiniteFeature { row, column, class, aux, value });
            }
        }
        let own = move |(&aux, logits): (&usize, &'a [f32])| {
            logits.iter().skip(aux).step_by(aux_classes).map(|&logit| f64::from(logit)).collect()
        };
        Ok(aux.iter().zip(logits.chunks_exact(expected)).map(own))
    }
}

/// Scores a view by the logits of the classes, among those of the view's own auxiliary class. Nothing is fitted.
///
/// - [`Confidence::Highest`], the default, is the maximum logit (Hendrycks et al., ICML 2022).
/// - [`Confidence::LogSumExp`] is the energy (Liu et al., NeurIPS 2020).
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use mcl_infer::{Aggregation, Confidence, InferError, LogitScorer, Scorer, ViewBatch};
///
/// # fn main() -> Result<(), InferError> {
/// let device = Device::flex();
/// // Two images, one view, two classes without auxiliary classes: the network is sure of the first image.
/// let logits = Tensor::from_data([[[9.0, 0.0]], [[0.5, 0.4]]], &device);
/// let batch = ViewBatch::new(Tensor::zeros([2, 1, 8], &device), &[0]).with_logits(logits);
/// let energy = LogitScorer::new(2, 1).with_confidence(Confidence::LogSumExp);
/// let (labels, scores) = energy.score_aggregated(&batch, &Aggregation::Mean)?.into_host()?;
/// assert_eq!(labels, [0, 0]);
/// assert!(scores[0] > scores[1]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogitScorer {
    logits: Logits,
    confidence: Confidence,
}

impl LogitScorer {
    /// For a classifier of `classes` classes of `aux_classes` auxiliary classes each (1 where there are none).
    pub fn new(classes: usize, aux_classes: usize) -> Self {
        Self { logits: Logits { classes, aux_classes }, confidence: Confidence::Highest }
    }

    /// The same with another score of an image: the highest logit by default.
    #[must_use]
    pub fn with_confidence(mut self, confidence: Confidence) -> Self {
        self.confidence = confidence;
        self
    }
}

impl Scorer for LogitScorer {
    fn columns(&self) -> usize {
        self.logits.classes
    }

    fn views(&self) -> TestTimeViews {
        TestTimeViews::most(self.logits.aux_classes)
    }

    /// Logits are no distances: [`Aggregation::Mean`] and [`Aggregation::Max`].
    fn aggregations(&self) -> &[Aggregation] {
        &[Aggregation::Mean, Aggregation::Max]
    }

    fn confidence(&self) -> Confidence {
        self.confidence
    }

    /// Takes the logits of each view: `[images, views, classes]`, on the device of the logits.
    ///
    /// # Errors
    ///
    /// As [`SoftmaxScorer`](crate::SoftmaxScorer).
    fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
        self.logits.of_views(batch)
    }
}

impl Estimator for LogitScorer {
    /// Nothing is counted.
    fn update(&mut self, _batch: &SampleBatch) -> Result<(), InferError> {
        Ok(())
    }

    fn fit(&self, _device: &Device) -> Result<Box<dyn Scorer>, InferError> {
        Ok(Box::new(*self))
    }
}
