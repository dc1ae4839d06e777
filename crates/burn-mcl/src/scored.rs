//! A set of images under a network and its Gaussians: the scores of every view, to be judged in any way later.

use burn::tensor::{Device, Tensor};
use mcl_data::ImageSet;
use mcl_infer::{Aggregation, MahalanobisScorer, TestTimeViews};
use mcl_model::Network;

use crate::detector::DetectorError;
use crate::embed::embed;
use crate::progress::Progress;

/// Images that are embedded and scored at once: of the projections of all their views only the first is kept.
const CHUNK: usize = 1024;

/// Scores of every view and class of a set of images, and the projection of each image as it is.
///
/// In memory an image takes `4 * (views * classes + dim)` bytes.
#[derive(Debug, Clone)]
pub struct ScoredSet {
    /// Chunks of [images, views, classes].
    scores: Vec<Tensor<3>>,
    device: Device,
    views: TestTimeViews,
    images: usize,
    projections: Vec<f32>,
    dim: usize,
}

impl ScoredSet {
    /// Embeds and scores every view of every image, in the order of the set.
    ///
    /// # Errors
    ///
    /// [`DetectorError`] when the images cannot be rotated, `batch_size` is 0, or projections are not numbers.
    pub fn new<N: Network>(
        model: &N,
        scorer: &MahalanobisScorer,
        set: &ImageSet,
        views: TestTimeViews,
        batch_size: usize,
        progress: Progress,
    ) -> Result<Self, DetectorError> {
        let (images, dim) = (set.len(), scorer.dim());
        let device = scorer.device().clone();
        let mut scored = Self { scores: Vec::new(), device, views, images, projections: Vec::new(), dim };
        let bar = progress.bar("scoring", images, 0);
        for start in (0..images).step_by(CHUNK.max(batch_size)) {
            let end = (start + CHUNK.max(batch_size)).min(images);
            let chunk = set.subset(&(start..end).collect::<Vec<_>>())?;
            let embeddings = embed(model, &chunk, views, batch_size, Progress::Hidden)?;
            let tensor = embeddings.tensor(0, chunk.len(), scorer.device());
            scored.scores.push(scorer.score(tensor, views.aux())?);
            for image in embeddings.values.chunks_exact(embeddings.views * embeddings.dim) {
                scored.projections.extend_from_slice(&image[..dim]);
            }
            bar.inc(chunk.len() as u64);
        }
        bar.finish_and_clear();
        Ok(scored)
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

    /// Where the scores are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Dimensions of a projection.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Class and score of every image from the first of its views: `views` may be fewer than were scored, since a
    /// larger kind starts with the views of a smaller.
    ///
    /// # Panics
    ///
    /// When fewer views were scored.
    pub fn judge(&self, views: TestTimeViews, aggregation: Aggregation) -> (Vec<usize>, Vec<f64>) {
        let (count, scored) = (views.aux().len(), self.views.aux().len());
        assert!(count <= scored, "{count} views are to be judged, but {scored} were scored");
        let (mut labels, mut values) = (Vec::new(), Vec::new());
        for chunk in &self.scores {
            let prediction = aggregation.apply(chunk.clone().narrow(1, 0, count));
            labels.extend(prediction.label.into_data().iter::<i64>().map(|label| label as usize));
            values.extend(prediction.score.into_data().iter::<f64>());
        }
        (labels, values)
    }
}
