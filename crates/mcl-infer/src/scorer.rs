//! What all detectors of anomalies have in common: scores of views, from what a network makes of them.

use burn::tensor::Tensor;

use crate::aggregation::{Aggregate, Aggregation};
use crate::confidence::Confidence;
use crate::error::InferError;
use crate::prediction::Prediction;
use crate::views::TestTimeViews;

/// Scores whose aggregation goes through the device at once (4 MiB), but for [`LEAST_IMAGES`].
const CHUNK_SCORES: usize = 1 << 20;

/// Images that are scored at once, however many scores each has.
const LEAST_IMAGES: usize = 256;

/// What a network makes of the views of some images: the input of a [`Scorer`].
#[derive(Debug, Clone)]
pub struct ViewBatch<'a> {
    /// `[images, views, dim]`, on any device, of any float type.
    pub embeddings: Tensor<3>,
    /// Features of the encoder, `[images, views, feature_dim]`, where they are given beside the embeddings.
    pub features: Option<Tensor<3>>,
    /// Logits of the network's classifier, `[images, views, logits]`, where there is one.
    pub logits: Option<Tensor<3>>,
    /// The auxiliary class (the rotation) of each view, `[views]`
    /// ([`TestTimeViews::aux`](crate::TestTimeViews::aux)).
    pub view_aux: &'a [usize],
}

impl<'a> ViewBatch<'a> {
    /// Views of embeddings alone; view `v` of every image belongs to the auxiliary class `view_aux[v]`.
    pub fn new(embeddings: Tensor<3>, view_aux: &'a [usize]) -> Self {
        Self { embeddings, features: None, logits: None, view_aux }
    }

    /// The same with the encoder's features of each view, `[images, views, feature_dim]`.
    #[must_use]
    pub fn with_features(mut self, features: Tensor<3>) -> Self {
        self.features = Some(features);
        self
    }

    /// The same with the logits of each view, `[images, views, logits]`.
    #[must_use]
    pub fn with_logits(mut self, logits: Tensor<3>) -> Self {
        self.logits = Some(logits);
        self
    }

    /// The encoder's features.
    ///
    /// # Errors
    ///
    /// [`InferError::NoFeatures`] when there are none.
    pub fn require_features(&self) -> Result<&Tensor<3>, InferError> {
        self.features.as_ref().ok_or(InferError::NoFeatures)
    }

    /// The logits.
    ///
    /// # Errors
    ///
    /// [`InferError::NoLogits`] when there are none.
    pub fn require_logits(&self) -> Result<&Tensor<3>, InferError> {
        self.logits.as_ref().ok_or(InferError::NoLogits)
    }

    /// Checks that the views fit a scorer.
    ///
    /// # Errors
    ///
    /// [`InferError::DimensionMismatch`] when the embeddings are not of `dim` numbers,
    /// [`InferError::ViewCount`] when there is not one auxiliary class for each view, or no view, and
    /// [`InferError::ViewAuxOutOfRange`] when one is not below `aux_classes`.
    pub fn check(&self, dim: usize, aux_classes: usize) -> Result<(), InferError> {
        let ([_, views, found], view_aux) = (self.embeddings.dims(), self.view_aux);
        if found != dim {
            return Err(InferError::DimensionMismatch { expected: dim, found });
        }
        if views != view_aux.len() || views == 0 {
            return Err(InferError::ViewCount { views, found: view_aux.len() });
        }
        match view_aux.iter().position(|&aux| aux >= aux_classes) {
            None => Ok(()),
            Some(view) => Err(InferError::ViewAuxOutOfRange { view, aux: view_aux[view], aux_classes }),
        }
    }

    /// The images of a range.
    fn images(&self, range: core::ops::Range<usize>) -> Self {
        let part = |tensor: &Tensor<3>| tensor.clone().slice_dim(0, range.clone());
        Self {
            embeddings: part(&self.embeddings),
            features: self.features.as_ref().map(part),
            logits: self.logits.as_ref().map(part),
            view_aux: self.view_aux,
        }
    }
}

/// Scores the views of images; higher = more normal.
///
/// [`MahalanobisScorer`](crate::MahalanobisScorer) and [`KnnScorer`](crate::KnnScorer) are two. The trait is
/// object safe: a table of detectors is a list of `Box<dyn Scorer>`, each made by an
/// [`Estimator`](crate::Estimator).
///
/// # A scorer of one's own
///
/// The energy score (Liu et al., NeurIPS 2020) needs logits and no fit ([`LogitScorer`](crate::LogitScorer) is the built-in
/// one):
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use mcl_infer::{Aggregation, InferError, Scorer, ViewBatch};
///
/// #[derive(Debug)]
/// struct Energy;
///
/// impl Scorer for Energy {
///     fn columns(&self) -> usize {
///         1 // one score for all classes together
///     }
///
///     fn aggregations(&self) -> &[Aggregation] {
///         &[Aggregation::Mean, Aggregation::Max] // the scores are no distances
///     }
///
///     fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
///         let logits = batch.require_logits()?.clone();
///         let largest = logits.clone().max_dim(2);
///         Ok((logits - largest.clone()).exp().sum_dim(2).log() + largest) // [images, views, 1]
///     }
/// }
///
/// # fn main() -> Result<(), InferError> {
/// let device = Device::flex();
/// // Two images of one view: the network is sure of the first.
/// let logits = Tensor::from_data([[[9.0, 0.0]], [[0.5, 0.4]]], &device);
/// let batch = ViewBatch::new(Tensor::zeros([2, 1, 4], &device), &[0]).with_logits(logits);
/// let (_, scores) = Energy.score_aggregated(&batch, &Aggregation::Mean)?.into_host()?;
/// assert!(scores[0] > scores[1]);
/// # Ok(())
/// # }
/// ```
pub trait Scorer: core::fmt::Debug + Send + Sync {
    /// Scores of a view: one for each class, or a single one from a scorer that tells no classes apart. Then
    /// the label of a [`Prediction`] is 0.
    fn columns(&self) -> usize;

    /// The most views of an image that the scorer knows: all eight by default. A scorer that was fitted on upright images
    /// alone knows [`TestTimeViews::Identity`].
    fn views(&self) -> TestTimeViews {
        TestTimeViews::RotationsAndFlips
    }

    /// The built-in aggregations that suit the scores: all by default. `WeightedAverage` and `HarmonicMean` suit negative
    /// distances alone.
    fn aggregations(&self) -> &[Aggregation] {
        Aggregation::ALL
    }

    /// How the aggregated scores of the classes become the score of an image: the highest by default.
    fn confidence(&self) -> Confidence {
        Confidence::Highest
    }

    /// Scores each view. Each image must be scored by itself, whatever others are in the batch.
    ///
    /// # Shapes
    ///
    /// - output: `[images, views, columns]`, higher = more normal
    ///
    /// # Errors
    ///
    /// [`InferError`] when the batch does not fit the scorer, or an embedding has no score.
    fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError>;

    /// Scores the views and combines them, some images at a time: memory grows by `[images, columns]`, not by
    /// `[images, views, columns]`. The numbers are those of [`score_views`](Self::score_views) and
    /// [`Aggregation::apply`](crate::Aggregation::apply).
    ///
    /// # Errors
    ///
    /// As [`score_views`](Self::score_views).
    fn score_aggregated(
        &self,
        batch: &ViewBatch,
        aggregation: &dyn Aggregate,
    ) -> Result<Prediction, InferError> {
        let [images, views, _] = batch.embeddings.dims();
        let chunk = (CHUNK_SCORES / (views * self.columns()).max(1)).max(LEAST_IMAGES);
        if images <= chunk {
            return Ok(self.confidence().predict(aggregation.aggregate(self.score_views(batch)?)));
        }
        let part = |start| {
            let part = batch.images(start..images.min(start + chunk));
            let scores = self.score_views(&part).map_err(|error| of_image(error, start))?;
            Ok(aggregation.aggregate(scores))
        };
        let scores = (0..images).step_by(chunk).map(part).collect::<Result<_, InferError>>()?;
        Ok(self.confidence().predict(Tensor::cat(scores, 0)))
    }
}

impl<S: Scorer + ?Sized> Scorer for Box<S> {
    fn columns(&self) -> usize {
        (**self).columns()
    }

    fn views(&self) -> TestTimeViews {
        (**self).views()
    }

    fn aggregations(&self) -> &[Aggregation] {
        (**self).aggregations()
    }

    fn confidence(&self) -> Confidence {
        (**self).confidence()
    }

    fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
        (**self).score_views(batch)
    }

    fn score_aggregated(
        &self,
        batch: &ViewBatch,
        aggregation: &dyn Aggregate,
    ) -> Result<Prediction, InferError> {
        (**self).score_aggregated(batch, aggregation)
    }
}

/// An error of images that were counted from `start` on.
fn of_image(error: InferError, start: usize) -> InferError {
    match error {
        InferError::NonFiniteEmbedding { image, view } => {
            InferError::NonFiniteEmbedding { image: start + image, view }
        }
        InferError::ZeroEmbedding { image, view } => InferError::ZeroEmbedding { image: start + image, view },
        other => other,
    }
}
