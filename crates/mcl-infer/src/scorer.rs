//! The Mahalanobis score of every view under every class: what self-ensemble inference (Eq. 19-20) combines.

use core::fmt;

use burn::tensor::{Device, FloatDType, Tensor};
use nalgebra::DMatrix;

use crate::error::InferError;
use crate::gaussians::{FAR, Gaussians, whitenings};
#[cfg(feature = "flex")]
use crate::host::HostGaussians;
use crate::tensor::f32_tensor;
use crate::{Distance, MahalanobisConfig, MahalanobisRecord};

/// Numbers in the largest intermediate tensor, `[classes, images, dim]`: images are scored in chunks of that
/// size, so that memory does not grow with their number. 1 MiB stays in a core's cache, which on CPUs is
/// several times as fast as whatever leaves it; on GPUs the launches of 10,000 images come to some
/// milliseconds.
const CHUNK_NUMBERS: usize = 1 << 18;

/// Images in the smallest chunk, however many the classes: fewer make poor matrix products.
const CHUNK_IMAGES: usize = 64;

/// Scores embeddings by their distance to class Gaussians.
///
/// Made by [`GaussianStatistics::fit`](crate::GaussianStatistics::fit), stored as a [`MahalanobisRecord`].
/// The fit is kept in f64; scores are computed in f32 on the device.
#[derive(Clone)]
pub struct MahalanobisScorer {
    record: MahalanobisRecord,
    device: Device,
    gaussians: Form,
}

/// The Gaussians as the device takes them.
#[derive(Clone)]
enum Form {
    /// One entry an auxiliary class.
    Device(Vec<Gaussians>),
    #[cfg(feature = "flex")]
    Host(HostGaussians),
}

impl MahalanobisScorer {
    /// `record` has its shapes checked.
    pub(crate) fn new(record: MahalanobisRecord, device: &Device) -> Result<Self, InferError> {
        let device = device.clone().without_autodiff();
        let whitenings: Vec<_> =
            (0..record.aux_classes).map(|aux| whitenings(&record, aux)).collect::<Result<_, _>>()?;
        #[cfg(feature = "flex")]
        if device == Device::flex() {
            let gaussians = Form::Host(HostGaussians::new(&record, &whitenings));
            return Ok(Self { record, device, gaussians });
        }
        Ok(Self::general(record, &whitenings, device))
    }

    /// By tensor operations.
    fn general(record: MahalanobisRecord, whitenings: &[Vec<DMatrix<f64>>], device: Device) -> Self {
        let of_aux = whitenings.iter().enumerate();
        let gaussians =
            of_aux.map(|(aux, matrices)| Gaussians::new(&record, aux, matrices, &device)).collect();
        Self { record, device, gaussians: Form::Device(gaussians) }
    }

    /// Scores each view under each class: -d² or -d ([`Distance`]), never positive, higher = more normal.
    ///
    /// View `v` of every image is scored by the Gaussians of auxiliary class `view_aux[v]`
    /// ([`TestTimeViews::aux`](crate::TestTimeViews::aux)). The embeddings are scaled to unit length first,
    /// if the fit was with [`normalize`](MahalanobisConfig::normalize). Gradients are not tracked.
    ///
    /// On backends other than flex, embeddings are scaled in f32, which leaves the scores of tight clusters about three
    /// digits; products with factors rounded to TF32, as on CUDA, are corrected and cost none.
    ///
    /// A distance above 1.8e19, whose square is too large for f32, scores `-f32::MAX` squared and -1.8e19 as a root.
    ///
    /// # Shapes
    ///
    /// - embeddings: `[images, views, dim]`, on any device, of any float type
    /// - output: `[images, views, classes]`, f32, on the scorer's device
    ///
    /// # Errors
    ///
    /// When the shapes or `view_aux` do not fit, or an embedding holds NaN or infinity or (when normalising)
    /// nothing but zeros. The check reads one number back from the device.
    pub fn score(&self, embeddings: Tensor<3>, view_aux: &[usize]) -> Result<Tensor<3>, InferError> {
        let [images, views, dim] = embeddings.dims();
        self.check_shapes(views, dim, view_aux)?;
        if images == 0 {
            return Ok(f32_tensor(Vec::new(), [0, views, self.classes()], &self.device));
        }
        let embeddings = embeddings.without_autodiff().to_device(&self.device).cast(FloatDType::F32);
        let squared = match &self.gaussians {
            Form::Device(gaussians) => self.on_device(gaussians, embeddings, view_aux)?,
            #[cfg(feature = "flex")]
            Form::Host(gaussians) => {
                let read = |range| embeddings.clone().slice_dim(0, range).into_data();
                let squared = gaussians.squared_distances(images, view_aux, read);
                let squared = squared.ok_or_else(|| locate_unsound(magnitude(&embeddings)))?;
                f32_tensor(squared, [images, views, self.classes()], &self.device)
            }
        }
        .clamp_max(f32::MAX);
        Ok(match self.record.config.distance {
            Distance::Squared => squared.neg(),
            Distance::Root => squared.sqrt().neg(),
        })
    }

    /// d² by tensor operations, [images, views, dim] -> [images, views, classes].
    fn on_device(
        &self,
        gaussians: &[Gaussians],
        embeddings: Tensor<3>,
        view_aux: &[usize],
    ) -> Result<Tensor<3>, InferError> {
        let [images, _, dim] = embeddings.dims();
        let embeddings = self.prepare(embeddings)?;
        // A multiple of 8, which is what matrix kernels are best at.
        let chunk = (CHUNK_NUMBERS / (self.classes() * dim) / 8 * 8).max(CHUNK_IMAGES);
        let score_view = |(view, &aux): (usize, &usize)| {
            let chunks = (0..images).step_by(chunk).map(|start| {
                let rows = start..images.min(start + chunk);
                gaussians[aux].squared_distances(&embeddings, rows, view)
            });
            Tensor::cat(chunks.collect(), 0) // [images, 1, classes]
        };
        Ok(Tensor::cat(view_aux.iter().enumerate().map(score_view).collect(), 1))
    }

    /// Means of the Gaussians, `[classes, aux_classes, dim]`.
    pub fn means(&self) -> &[f64] {
        &self.record.means
    }

    /// Covariances of the Gaussians with the ridge on their diagonals, `[classes, aux_classes, dim, dim]`.
    pub fn covariances(&self) -> &[f64] {
        &self.record.covariances
    }

    /// Everything there is to store.
    pub fn record(&self) -> &MahalanobisRecord {
        &self.record
    }

    /// The configuration of the fit.
    pub fn config(&self) -> &MahalanobisConfig {
        &self.record.config
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.record.classes
    }

    /// Number of auxiliary classes.
    pub fn aux_classes(&self) -> usize {
        self.record.aux_classes
    }

    /// Length of an embedding.
    pub fn dim(&self) -> usize {
        self.record.dim
    }

    /// Where scores are computed.
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn check_shapes(&self, views: usize, dim: usize, view_aux: &[usize]) -> Result<(), InferError> {
        if dim != self.dim() {
            return Err(InferError::DimensionMismatch { expected: self.dim(), found: dim });
        }
        if views != view_aux.len() || views == 0 {
            return Err(InferError::ViewCount { views, found: view_aux.len() });
        }
        let aux_classes = self.aux_classes();
        match view_aux.iter().position(|&aux| aux >= aux_classes) {
            None => Ok(()),
            Some(view) => Err(InferError::ViewAuxOutOfRange { view, aux: view_aux[view], aux_classes }),
        }
    }

    /// Checks the embeddings and brings them to unit length, if asked.
    fn prepare(&self, embeddings: Tensor<3>) -> Result<Tensor<3>, InferError> {
        let normalize = self.record.config.normalize;
        let magnitude = magnitude(&embeddings);
        let finite = magnitude.clone().lower_equal_scalar(f32::MAX);
        let sound = if normalize { finite.bool_and(magnitude.clone().greater_scalar(0.0)) } else { finite };
        if !sound.all().try_into_scalar::<bool>().map_err(|e| InferError::Device(e.to_string()))? {
            return Err(locate_unsound(magnitude));
        }

        Ok(if normalize {
            // Two steps, so that the squares neither overflow nor vanish, whatever the scale of a row.
            let scaled = embeddings / magnitude;
            let norm = scaled.clone().square().sum_dim(2).sqrt();
            scaled / norm
        } else {
            embeddings.clamp(-FAR, FAR)
        })
    }
}

/// The mean magnitude of each row, [images, views, 1]: a sum of shares, which cannot overflow and carries NaN along.
fn magnitude(embeddings: &Tensor<3>) -> Tensor<3> {
    let dim = embeddings.dims()[2];
    embeddings.clone().abs().div_scalar(dim as f32).sum_dim(2)
}

/// Finds the first row whose mean magnitude is zero or not finite.
fn locate_unsound(magnitude: Tensor<3>) -> InferError {
    let views = magnitude.dims()[1];
    let magnitude = match magnitude.try_into_vec_as::<f32>() {
        Ok(magnitude) => magnitude,
        Err(error) => return InferError::Device(error.to_string()),
    };
    let is_sound = |&value: &f32| value.is_finite() && value > 0.0;
    // Zeros matter only when normalising; without, the caller has seen something worse, so look for that
    // first.
    let position = magnitude
        .iter()
        .position(|value| !value.is_finite())
        .or_else(|| magnitude.iter().position(|value| !is_sound(value)))
        .unwrap_or_default();
    let (image, view) = (position / views, position % views);
    if magnitude[position].is_finite() {
        InferError::ZeroEmbedding { image, view }
    } else {
        InferError::NonFiniteEmbedding { image, view }
    }
}

impl fmt::Debug for MahalanobisScorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MahalanobisScorer")
            .field("config", self.config())
            .field("classes", &self.classes())
            .field("aux_classes", &self.aux_classes())
            .field("dim", &self.dim())
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests;
