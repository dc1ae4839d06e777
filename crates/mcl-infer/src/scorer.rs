//! The Mahalanobis score of every view under every class: what self-ensemble inference (Eq. 19-20) combines.

use core::fmt;
use core::ops::Range;

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use nalgebra::DMatrix;

use crate::error::{Cluster, InferError};
use crate::whitening::whitening;
use crate::{Distance, MahalanobisConfig, MahalanobisRecord};

/// Numbers in the largest intermediate tensor, `[classes, images, dim]`: images are scored in chunks of that
/// size, so that memory does not grow with their number. 1 MiB stays in a core's cache, which on CPUs is
/// several times as fast as whatever leaves it; on GPUs the launches of 10,000 images come to some
/// milliseconds.
const CHUNK_NUMBERS: usize = 1 << 18;

/// Images in the smallest chunk, however many the classes: fewer make poor matrix products.
const CHUNK_IMAGES: usize = 64;

/// Raw embeddings are cut off here. Nothing this far is told apart anyway, as d² overflows f32 already at
/// 2e19, and below it no intermediate result overflows.
const FAR: f32 = 1e18;

/// Scores embeddings by their distance to class Gaussians.
///
/// Made by [`GaussianStatistics::fit`](crate::GaussianStatistics::fit), stored as a [`MahalanobisRecord`].
/// The fit is kept in f64; scores are computed in f32 on the device.
#[derive(Clone)]
pub struct MahalanobisScorer {
    record: MahalanobisRecord,
    device: Device,
    /// One entry an auxiliary class.
    gaussians: Vec<Gaussians>,
}

/// The Gaussians of all classes for one auxiliary class, on the device.
#[derive(Clone)]
struct Gaussians {
    /// The means in two parts whose sum has about twice the digits of an f32, both [classes, 1, dim].
    /// Subtracting a mean rounded to f32 would leave an error that the whitening of a tight cluster blows up;
    /// `x - mean_high` is rounded relative to the (small) difference itself.
    mean_high: Tensor<3>,
    mean_low: Tensor<3>,
    /// Transposed whitening matrices, [classes, dim, dim], or [1, dim, dim] when all classes share one.
    whitening: Tensor<3>,
}

impl MahalanobisScorer {
    /// `record` has its shapes checked.
    pub(crate) fn new(record: MahalanobisRecord, device: &Device) -> Result<Self, InferError> {
        let device = device.clone().without_autodiff();
        let gaussians = (0..record.aux_classes)
            .map(|aux| Gaussians::new(&record, aux, &device))
            .collect::<Result<_, _>>()?;
        Ok(Self { record, device, gaussians })
    }

    /// Scores each view under each class: -d² or -d ([`Distance`]), never positive, higher = more normal.
    ///
    /// View `v` of every image is scored by the Gaussians of auxiliary class `view_aux[v]`
    /// ([`TestTimeViews::aux`](crate::TestTimeViews::aux)). The embeddings are scaled to unit length first,
    /// if the fit was with [`normalize`](MahalanobisConfig::normalize). Gradients are not tracked.
    ///
    /// A distance too large for f32 (above 1.8e19, or 3.4e38 as a root) gives `-f32::MAX`.
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
            return Ok(Tensor::zeros([0, views, self.classes()], &self.device));
        }
        let embeddings = self.prepare(embeddings)?;
        // A multiple of 8, which is what matrix kernels are best at.
        let chunk = (CHUNK_NUMBERS / (self.classes() * dim) / 8 * 8).max(CHUNK_IMAGES);
        let score_view = |(view, &aux): (usize, &usize)| {
            let chunks = (0..images).step_by(chunk).map(|start| {
                let rows = start..images.min(start + chunk);
                self.gaussians[aux].squared_distances(&embeddings, rows, view)
            });
            Tensor::cat(chunks.collect(), 0) // [images, 1, classes]
        };
        let squared = Tensor::cat(view_aux.iter().enumerate().map(score_view).collect(), 1);
        let squared = squared.clamp_max(f32::MAX);
        Ok(match self.record.config.distance {
            Distance::Squared => squared.neg(),
            Distance::Root => squared.sqrt().neg(),
        })
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

    /// Checks the embeddings and brings them to the device, to f32 and, if asked, to unit length.
    fn prepare(&self, embeddings: Tensor<3>) -> Result<Tensor<3>, InferError> {
        let embeddings = embeddings.without_autodiff().to_device(&self.device).cast(FloatDType::F32);
        let normalize = self.record.config.normalize;

        // The mean magnitude of a row: a sum, since sums carry NaN along on every backend and maxima do not;
        // of shares, since those cannot overflow. [images, views, 1]
        let magnitude = embeddings.clone().abs().div_scalar(self.dim() as f32).sum_dim(2);
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

impl Gaussians {
    fn new(record: &MahalanobisRecord, aux: usize, device: &Device) -> Result<Self, InferError> {
        let &MahalanobisRecord { classes, aux_classes, dim, .. } = record;
        let mean = |class| &record.means[(class * aux_classes + aux) * dim..][..dim];
        let covariance = |class| &record.covariances[(class * aux_classes + aux) * dim * dim..][..dim * dim];

        let means = (0..classes).flat_map(mean).copied();
        let (mean_high, mean_low) = means.map(two_parts).unzip();

        let shared = (1..classes).all(|class| covariance(class) == covariance(0));
        let matrices = if shared { 1 } else { classes };
        let mut transposed = Vec::with_capacity(matrices * dim * dim);
        for class in 0..matrices {
            let covariance = DMatrix::from_row_slice(dim, dim, covariance(class));
            let whitening = whitening(&covariance).ok_or_else(|| InferError::NotPositiveDefinite {
                cluster: Cluster { class: (!shared || classes == 1).then_some(class), aux },
                ridge: record.config.ridge,
            })?;
            // Column-major W, read row by row, is Wᵀ.
            transposed.extend(whitening.iter().map(|&value| value as f32));
        }

        let tensor =
            |values: Vec<f32>, shape: [usize; 3]| Tensor::from_data(TensorData::new(values, shape), device);
        Ok(Self {
            mean_high: tensor(mean_high, [classes, 1, dim]),
            mean_low: tensor(mean_low, [classes, 1, dim]),
            whitening: tensor(transposed, [matrices, dim, dim]),
        })
    }

    /// d² of the given images for one view: [images, views, dim] -> [rows, 1, classes].
    fn squared_distances(&self, embeddings: &Tensor<3>, rows: Range<usize>, view: usize) -> Tensor<3> {
        let x = embeddings.clone().slice([rows, view..view + 1]).swap_dims(0, 1); // [1, rows, dim]
        let centred = x - self.mean_high.clone() - self.mean_low.clone(); // [classes, rows, dim]
        let white = centred.matmul(self.whitening.clone()); // [classes, rows, dim]
        white.square().sum_dim(2).permute([1, 2, 0])
    }
}

/// A number as the sum of two f32.
fn two_parts(value: f64) -> (f32, f32) {
    let high = value as f32;
    (high, (value - f64::from(high)) as f32)
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
