//! Any scorer on the features of the encoder instead of the embeddings.

use burn::tensor::{Device, Tensor};

use crate::aggregation::{Aggregate, Aggregation};
use crate::confidence::Confidence;
use crate::error::InferError;
use crate::estimator::Estimator;
use crate::prediction::Prediction;
use crate::samples::SampleBatch;
use crate::scorer::{Scorer, ViewBatch};
use crate::views::TestTimeViews;

/// Hands the features of the encoder to an estimator, or to a scorer, in place of the embeddings.
///
/// The features come beside the embeddings in [`SampleBatch::features`] and [`ViewBatch::features`], so that one pass of
/// the network serves scorers of both.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use mcl_infer::{Estimator, InferError, KnnConfig, OnFeatures, SampleBatch, Scorer, ViewBatch};
///
/// # fn main() -> Result<(), InferError> {
/// let device = Device::flex();
/// let mut estimator = OnFeatures(KnnConfig::new().with_k(1).estimator(1, 1, 2)); // features of two numbers
/// estimator.update(&SampleBatch::new(&[0.5], &[0], &[0]).with_features(&[1.0, 0.0]))?;
/// let scorer = estimator.fit(&device)?;
/// let views = ViewBatch::new(Tensor::zeros([1, 1, 1], &device), &[0]);
/// assert_eq!(scorer.score_views(&views).unwrap_err(), InferError::NoFeatures);
/// let views = views.with_features(Tensor::from_data([[[3.0, 0.0]]], &device));
/// assert_eq!(scorer.score_views(&views)?.into_scalar::<f32>(), 0.0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct OnFeatures<T>(pub T);

impl<T: Estimator> Estimator for OnFeatures<T> {
    /// As the inner estimator; [`InferError::NoFeatures`] when the batch has no features.
    fn update(&mut self, batch: &SampleBatch) -> Result<(), InferError> {
        self.0.update(&SampleBatch { embeddings: batch.require_features()?, ..*batch })
    }

    fn fit(&self, device: &Device) -> Result<Box<dyn Scorer>, InferError> {
        Ok(Box::new(OnFeatures(self.0.fit(device)?)))
    }
}

impl<T: Scorer> Scorer for OnFeatures<T> {
    fn columns(&self) -> usize {
        self.0.columns()
    }

    fn views(&self) -> TestTimeViews {
        self.0.views()
    }

    fn aggregations(&self) -> &[Aggregation] {
        self.0.aggregations()
    }

    fn confidence(&self) -> Confidence {
        self.0.confidence()
    }

    /// As the inner scorer; [`InferError::NoFeatures`] when the batch has no features.
    fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
        self.0.score_views(&with_features_first(batch)?)
    }

    fn score_aggregated(
        &self,
        batch: &ViewBatch,
        aggregation: &dyn Aggregate,
    ) -> Result<Prediction, InferError> {
        self.0.score_aggregated(&with_features_first(batch)?, aggregation)
    }
}

/// The batch with its features in the place of its embeddings.
fn with_features_first<'a>(batch: &ViewBatch<'a>) -> Result<ViewBatch<'a>, InferError> {
    Ok(ViewBatch { embeddings: batch.require_features()?.clone(), ..batch.clone() })
}
