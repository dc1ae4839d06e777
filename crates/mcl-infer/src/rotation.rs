//! The score of a network with a class head and a rotation head (Hendrycks et al., NeurIPS 2019).

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, FloatDType, Tensor};

use crate::aggregation::Aggregation;
use crate::confidence::Confidence;
use crate::error::InferError;
use crate::estimator::Estimator;
use crate::samples::SampleBatch;
use crate::scorer::{Scorer, ViewBatch};
use crate::views::TestTimeViews;

/// Scores an image by how sure the class head is of the upright image, and by how well the rotation head knows the rotations of the
/// four rotated images.
///
/// ```text
/// score = KL(uniform || p(class | upright view)) + (1 / views) Σ_v ln p(rotation of v | view v)
/// ```
///
/// The score is that of Hendrycks, Mazeika, Kadavath and Song ("Using Self-Supervised Learning Can Improve Model Robustness and
/// Uncertainty"), with the sign that makes normal images high and without the constant `-ln classes` of the divergence. The logits
/// are those of the classes, then those of the rotations. Nothing is fitted. With eight views the two upright views count half each;
/// with one view the divergence counts four times.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use mcl_infer::{Aggregation, InferError, RotationScorer, Scorer, ViewBatch};
///
/// # fn main() -> Result<(), InferError> {
/// let device = Device::flex();
/// // One image in four rotations, two classes: the network is sure of the class, and knows every rotation.
/// let rows = [[5.0, 0.0, 9.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 9.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 9.0]];
/// let batch = ViewBatch::new(Tensor::zeros([1, 4, 8], &device), &[0, 1, 2, 3]).with_logits(Tensor::from_data([rows], &device));
/// let (labels, scores) = RotationScorer::new(2, 4).score_aggregated(&batch, &Aggregation::Mean)?.into_host()?;
/// assert_eq!(labels, [0]);
/// assert!(scores[0] > 2.0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationScorer {
    classes: usize,
    aux_classes: usize,
}

impl RotationScorer {
    /// For a class head of `classes` outputs and a rotation head of `aux_classes` outputs.
    pub fn new(classes: usize, aux_classes: usize) -> Self {
        Self { classes, aux_classes }
    }
}

impl Scorer for RotationScorer {
    fn columns(&self) -> usize {
        self.classes
    }

    fn views(&self) -> TestTimeViews {
        TestTimeViews::most(self.aux_classes)
    }

    /// The formula has a mean: [`Aggregation::Mean`].
    fn aggregations(&self) -> &[Aggregation] {
        &[Aggregation::Mean]
    }

    fn confidence(&self) -> Confidence {
        Confidence::NegativeMean
    }

    /// Scores each view: `[images, views, classes]`, of which the mean over the views and then the negative mean over the classes
    /// is the score.
    ///
    /// # Errors
    ///
    /// [`InferError::NoLogits`], [`InferError::LogitCount`] when the classifier has other outputs than `classes + aux_classes`,
    /// [`InferError::ViewCount`] and [`InferError::ViewAuxOutOfRange`] when the auxiliary classes of the views do not fit.
    fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
        let Self { classes, aux_classes } = *self;
        let [_, _, dim] = batch.embeddings.dims();
        batch.check(dim, aux_classes)?;
        let logits = batch.require_logits()?.clone().without_autodiff().cast(FloatDType::F32);
        let (expected, [_, _, found]) = (classes + aux_classes, logits.dims());
        if found != expected {
            return Err(InferError::LogitCount { expected, found });
        }
        let class = log_softmax(logits.clone().narrow(2, 0, classes), 2);
        let rotation = log_softmax(logits.narrow(2, classes, aux_classes), 2);
        let of_view = |(view, &aux): (usize, &usize)| {
            let known = rotation.clone().narrow(1, view, 1).narrow(2, aux, 1); // [images, 1, 1]
            // A quarter of the views is upright: the mean over the views has their mean.
            let upright = if aux == 0 { aux_classes as f64 } else { 0.0 };
            class.clone().narrow(1, view, 1).mul_scalar(upright) - known
        };
        Ok(Tensor::cat(batch.view_aux.iter().enumerate().map(of_view).collect(), 1))
    }
}

impl Estimator for RotationScorer {
    /// Nothing is counted.
    fn update(&mut self, _batch: &SampleBatch) -> Result<(), InferError> {
        Ok(())
    }

    fn fit(&self, _device: &Device) -> Result<Box<dyn Scorer>, InferError> {
        Ok(Box::new(*self))
    }
}
