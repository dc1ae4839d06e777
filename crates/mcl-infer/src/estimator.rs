//! What all fits have in common: a stream of samples in, a scorer out.

use burn::tensor::Device;

use crate::error::InferError;
use crate::samples::SampleBatch;
use crate::scorer::Scorer;

/// Fits a [`Scorer`] to training samples that come batch by batch.
///
/// The trait is object safe: one pass over the samples can feed a list of `Box<dyn Estimator>`, as a table of
/// detectors needs. [`ScorerConfig::estimator`](crate::ScorerConfig::estimator) makes the built-in ones.
///
/// # An estimator of one's own
///
/// A scorer that compares with the mean of all samples:
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use mcl_infer::{Aggregation, Estimator, InferError, SampleBatch, Scorer, ViewBatch};
///
/// struct MeanEstimator {
///     sum: Vec<f32>,
///     count: usize,
/// }
///
/// #[derive(Debug)]
/// struct MeanScorer(Tensor<1>);
///
/// impl Estimator for MeanEstimator {
///     fn update(&mut self, batch: &SampleBatch) -> Result<(), InferError> {
///         for row in batch.embeddings.chunks(self.sum.len()) {
///             self.sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
///             self.count += 1;
///         }
///         Ok(())
///     }
///
///     fn fit(&self, device: &Device) -> Result<Box<dyn Scorer>, InferError> {
///         if self.count == 0 {
///             return Err(InferError::other("there are no samples"));
///         }
///         let mean: Vec<f32> = self.sum.iter().map(|sum| sum / self.count as f32).collect();
///         Ok(Box::new(MeanScorer(Tensor::from_floats(mean.as_slice(), device))))
///     }
/// }
///
/// impl Scorer for MeanScorer {
///     fn columns(&self) -> usize {
///         1
///     }
///
///     fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
///         let difference = batch.embeddings.clone() - self.0.clone().unsqueeze();
///         Ok(difference.square().sum_dim(2).neg())
///     }
/// }
///
/// # fn main() -> Result<(), InferError> {
/// let device = Device::flex();
/// let mut estimator = MeanEstimator { sum: vec![0.0; 2], count: 0 };
/// estimator.update(&SampleBatch::new(&[1.0, 0.0, 3.0, 0.0], &[0, 0], &[0, 0]))?;
/// let scorer = estimator.fit(&device)?;
/// let embeddings = Tensor::from_data([[[2.0, 1.0]], [[9.0, 9.0]]], &device);
/// let prediction = scorer.score_aggregated(&ViewBatch::new(embeddings, &[0]), &Aggregation::Mean)?;
/// assert_eq!(prediction.into_host()?.1, [-1.0, -130.0]);
/// # Ok(())
/// # }
/// ```
pub trait Estimator: Send {
    /// Takes in samples.
    ///
    /// # Errors
    ///
    /// [`InferError`] when they cannot be counted; none of the batch is counted then.
    fn update(&mut self, batch: &SampleBatch) -> Result<(), InferError>;

    /// Fits the scorer to all samples so far and places it on `device`.
    ///
    /// # Errors
    ///
    /// [`InferError`] when the samples are too few, or a setting is out of range.
    fn fit(&self, device: &Device) -> Result<Box<dyn Scorer>, InferError>;
}

impl<E: Estimator + ?Sized> Estimator for Box<E> {
    fn update(&mut self, batch: &SampleBatch) -> Result<(), InferError> {
        (**self).update(batch)
    }

    fn fit(&self, device: &Device) -> Result<Box<dyn Scorer>, InferError> {
        (**self).fit(device)
    }
}
