//! What a network makes of every test-time view of every image of a set.

use burn::tensor::{Device, Tensor, TensorData};
use mcl_data::batch::eval_batches;
use mcl_data::{DataError, ImageSet};
use mcl_infer::{SampleBatch, TestTimeViews, ViewBatch};
use mcl_model::Network;

use crate::progress::Progress;

/// Projections of a set of images on the host, and the network's other outputs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Embeddings {
    /// Projections, `[images, views, dim]`, row-major, as the network gives them (not normalised).
    pub values: Vec<f32>,
    /// Features of the encoder, `[images, views, feature_dim]`; empty unless made by [`embed_outputs`].
    pub features: Vec<f32>,
    /// Logits of the network's classifier, `[images, views, logits]`; empty unless made by [`embed_outputs`] with a
    /// network that has a classifier.
    pub logits: Vec<f32>,
    /// Number of images.
    pub images: usize,
    /// Views of each image.
    pub views: usize,
    /// Dimensions of a projection.
    pub dim: usize,
}

impl Embeddings {
    /// The projections of images `start..end`, `[end - start, views, dim]`, on `device`.
    ///
    /// # Panics
    ///
    /// If the range is not within the images.
    pub fn tensor(&self, start: usize, end: usize, device: &Device) -> Tensor<3> {
        self.rows(&self.values, start, end, device)
    }

    /// All outputs as a scorer takes them, on `device`. `view_aux` is the auxiliary class of each view
    /// ([`TestTimeViews::aux`]).
    pub fn view_batch<'a>(&self, view_aux: &'a [usize], device: &Device) -> ViewBatch<'a> {
        let all = |values| self.rows(values, 0, self.images, device);
        let mut batch = ViewBatch::new(all(&self.values), view_aux);
        if !self.features.is_empty() {
            batch = batch.with_features(all(&self.features));
        }
        if !self.logits.is_empty() {
            batch = batch.with_logits(all(&self.logits));
        }
        batch
    }

    /// All outputs as an estimator takes them: each view is a sample. `class` and `aux` are those of each sample,
    /// `[images * views]`.
    pub fn samples<'a>(&'a self, class: &'a [usize], aux: &'a [usize]) -> SampleBatch<'a> {
        let mut batch = SampleBatch::new(&self.values, class, aux);
        if !self.features.is_empty() {
            batch = batch.with_features(&self.features);
        }
        if !self.logits.is_empty() {
            batch = batch.with_logits(&self.logits);
        }
        batch
    }

    /// Images `start..end` of `values`, `[images, views, n]` for any n.
    fn rows(&self, values: &[f32], start: usize, end: usize, device: &Device) -> Tensor<3> {
        let dim = values.len() / (self.images * self.views).max(1);
        let row = self.views * dim;
        let data = TensorData::new(values[start * row..end * row].to_vec(), [end - start, self.views, dim]);
        Tensor::from_data(data, device)
    }
}

/// Projects every view of every image, `batch_size` images at a time, in the order of the set.
///
/// The model is used as for evaluation (running statistics of batch normalisation), whatever its mode, on
/// the device it is on.
///
/// # Errors
///
/// [`DataError::Setting`] when `batch_size` is 0, [`DataError::NotSquare`] when images that are not square would
/// be rotated.
pub fn embed<N: Network>(
    model: &N,
    set: &ImageSet,
    views: TestTimeViews,
    batch_size: usize,
    progress: Progress,
) -> Result<Embeddings, DataError> {
    run(model, set, views, batch_size, progress, false)
}

/// Does what [`embed`] does, and keeps the features and logits too.
///
/// A view takes `4 * (dim + feature_dim + logits)` bytes: embed a large set some images at a time
/// ([`ImageSet::subset`]).
///
/// # Errors
///
/// As [`embed`].
pub fn embed_outputs<N: Network>(
    model: &N,
    set: &ImageSet,
    views: TestTimeViews,
    batch_size: usize,
    progress: Progress,
) -> Result<Embeddings, DataError> {
    run(model, set, views, batch_size, progress, true)
}

fn run<N: Network>(
    model: &N,
    set: &ImageSet,
    views: TestTimeViews,
    batch_size: usize,
    progress: Progress,
    all_outputs: bool,
) -> Result<Embeddings, DataError> {
    let (height, width) = set.size();
    if height != width && views.rotates() {
        return Err(DataError::NotSquare { height, width });
    }
    let model = model.valid();
    let device = model.device();
    let count = views.aux().len();
    let (values, features, logits) = (Vec::new(), Vec::new(), Vec::new());
    let mut embeddings = Embeddings { values, features, logits, images: set.len(), views: count, dim: 0 };
    let bar = progress.bar("embedding", set.len(), 0);
    for batch in eval_batches(set, batch_size, &device)? {
        let n = batch.labels.len();
        let images = views.expand(batch.images); // [n, views, 3, height, width]
        let outputs = model.forward(images.reshape([n * count, 3, height, width]));
        embeddings.dim = outputs.projections.dims()[1];
        embeddings.values.extend(outputs.projections.into_data().iter::<f32>());
        if all_outputs {
            embeddings.features.extend(outputs.features.into_data().iter::<f32>());
            if let Some(logits) = outputs.logits {
                embeddings.logits.extend(logits.into_data().iter::<f32>());
            }
        }
        bar.inc(n as u64);
    }
    bar.finish_and_clear();
    Ok(embeddings)
}
