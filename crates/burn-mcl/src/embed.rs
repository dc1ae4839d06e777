//! Projections of every test-time view of every image of a set.

use burn::tensor::{Device, Tensor, TensorData};
use mcl_data::batch::eval_batches;
use mcl_data::{DataError, ImageSet};
use mcl_infer::TestTimeViews;
use mcl_model::Network;

use crate::progress::Progress;

/// Projections of a set of images, on the host.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Embeddings {
    /// `[images, views, dim]`, row-major, as the network gives them (not normalised).
    pub values: Vec<f32>,
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
        let row = self.views * self.dim;
        let values = self.values[start * row..end * row].to_vec();
        Tensor::from_data(TensorData::new(values, [end - start, self.views, self.dim]), device)
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
    let (height, width) = set.size();
    if height != width && views != TestTimeViews::Identity {
        return Err(DataError::NotSquare { height, width });
    }
    let model = model.valid();
    let device = model.device();
    let count = views.aux().len();
    let mut embeddings = Embeddings { values: Vec::new(), images: set.len(), views: count, dim: 0 };
    let bar = progress.bar("embedding", set.len(), 0);
    for batch in eval_batches(set, batch_size, &device)? {
        let n = batch.labels.len();
        let images = views.expand(batch.images); // [n, views, 3, height, width]
        let projections = model.forward(images.reshape([n * count, 3, height, width])).projections;
        embeddings.dim = projections.dims()[1];
        embeddings.values.extend(projections.into_data().iter::<f32>());
        bar.inc(n as u64);
    }
    bar.finish_and_clear();
    Ok(embeddings)
}
