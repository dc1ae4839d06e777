//! A set of images under a network and a scorer: the scores of every view, to be judged in any way later.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use mcl_data::ImageSet;
use mcl_infer::{Aggregate, Aggregation, Confidence, Scorer, TestTimeViews};
use mcl_model::Network;

use crate::detector::DetectorError;
use crate::embed::embed_outputs;
use crate::progress::Progress;

/// Images that are embedded and scored at once: of the network's outputs only the projection of the first view is kept.
const CHUNK: usize = 1024;

/// Scores of every view of a set of images, one for each class or one for all, and the projection of each image as it is.
///
/// In memory an image takes `4 * (views * columns + dim)` bytes; columns are those of the scorer
/// ([`Scorer::columns`]).
#[derive(Debug, Clone)]
pub struct ScoredSet {
    /// Chunks of [images, views, columns].
    scores: Vec<Tensor<3>>,
    columns: usize,
    aggregations: Vec<Aggregation>,
    confidence: Confidence,
    device: Device,
    views: TestTimeViews,
    images: usize,
    projections: Arc<Vec<f32>>,
    dim: usize,
}

impl ScoredSet {
    /// Embeds and scores every view of every image, in the order of the set. The scorer is given projections, features
    /// and, where the network has a classifier, logits.
    ///
    /// # Errors
    ///
    /// [`DetectorError`] when the images cannot be rotated, `batch_size` is 0, or the scorer refuses what the network makes
    /// of the images: projections that are not numbers, or no logits.
    pub fn new<N: Network>(
        model: &N,
        scorer: &dyn Scorer,
        set: &ImageSet,
        views: TestTimeViews,
        batch_size: usize,
        progress: Progress,
    ) -> Result<Self, DetectorError> {
        let mut scored = Self::each(model, &[scorer], set, views, batch_size, progress)?;
        Ok(scored.remove(0))
    }

    /// The same for several scorers, in one pass of the network: a set for each scorer.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn each<N: Network>(
        model: &N,
        scorers: &[&dyn Scorer],
        set: &ImageSet,
        views: TestTimeViews,
        batch_size: usize,
        progress: Progress,
    ) -> Result<Vec<Self>, DetectorError> {
        let (images, device) = (set.len(), model.device().without_autodiff());
        let mut scores: Vec<Vec<Tensor<3>>> = vec![Vec::new(); scorers.len()];
        let (mut projections, mut dim) = (Vec::new(), 0);
        let bar = progress.bar("scoring", images, 0);
        for start in (0..images).step_by(CHUNK.max(batch_size)) {
            let end = (start + CHUNK.max(batch_size)).min(images);
            let chunk = set.subset(&(start..end).collect::<Vec<_>>())?;
            let embeddings = embed_outputs(model, &chunk, views, batch_size, Progress::Hidden)?;
            let batch = embeddings.view_batch(views.aux(), &device);
            for (scores, scorer) in scores.iter_mut().zip(scorers) {
                scores.push(scorer.score_views(&batch)?);
            }
            dim = embeddings.dim;
            for image in embeddings.values.chunks_exact(embeddings.views * dim) {
                projections.extend_from_slice(&image[..dim]);
            }
            bar.inc(chunk.len() as u64);
        }
        bar.finish_and_clear();
        let projections = Arc::new(projections);
        let scored = scores.into_iter().zip(scorers).map(|(scores, scorer)| Self {
            scores,
            columns: scorer.columns(),
            aggregations: scorer.aggregations().to_vec(),
            confidence: scorer.confidence(),
            device: device.clone(),
            views,
            images,
            projections: projections.clone(),
            dim,
        });
        Ok(scored.collect())
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.images == 0
    }

    /// The views that were scored.
    pub fn views(&self) -> TestTimeViews {
        self.views
    }

    /// The projection of each image in its first view, which is the image as it is: `[images, dim]`, row-major, not
    /// normalised.
    pub fn projections(&self) -> &[f32] {
        &self.projections
    }

    /// Where the network is.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Scores of each view: one for each class, or one for all.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The built-in aggregations that suit the scores.
    pub fn aggregations(&self) -> &[Aggregation] {
        &self.aggregations
    }

    /// Dimensions of a projection; 0 without images.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Class and score of every image from the first of its views: `views` may be any of the
    /// [`prefixes`](TestTimeViews::prefixes) of the views that were scored. The class is 0 when there is one score for all
    /// classes.
    ///
    /// # Panics
    ///
    /// When fewer views were scored, or others.
    #[expect(clippy::needless_pass_by_value, reason = "settings and closures are given as they are")]
    pub fn judge(&self, views: TestTimeViews, aggregation: impl Aggregate) -> (Vec<usize>, Vec<f64>) {
        let scored = self.views;
        assert!(scored.prefixes().contains(&views), "{views:?} are to be judged, but {scored:?} were scored");
        let count = views.aux().len();
        let (mut labels, mut values) = (Vec::new(), Vec::new());
        for chunk in &self.scores {
            let scores = aggregation.aggregate(chunk.clone().narrow(1, 0, count));
            let prediction = self.confidence.predict(scores);
            labels.extend(prediction.label.into_data().iter::<i64>().map(|label| label as usize));
            values.extend(prediction.score.into_data().iter::<f64>());
        }
        (labels, values)
    }
}
