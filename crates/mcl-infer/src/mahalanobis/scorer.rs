//! The Mahalanobis score of every view under every class: what self-ensemble inference (Eq. 19-20) combines.

use core::fmt;
use core::ops::Range;

use burn::tensor::{Device, FloatDType, Tensor};

use super::config::{Distance, MahalanobisConfig};
use super::covariance::estimate;
use super::gaussians::{Gaussians, image_chunk};
#[cfg(feature = "flex")]
use super::host::HostGaussians;
use super::record::MahalanobisRecord;
use super::statistics::GaussianStatistics;
use super::tied::TiedGaussians;
use super::whitening::{FAR, check_means};
use crate::error::InferError;
use crate::scorer::{Scorer, ViewBatch};
use crate::tensor::f32_tensor;
use crate::views::TestTimeViews;

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
    /// One entry an auxiliary class.
    Tied(Vec<TiedGaussians>),
    #[cfg(feature = "flex")]
    Host(HostGaussians),
}

impl GaussianStatistics {
    /// Fits one Gaussian to each (class, auxiliary class) and places them on `device`.
    ///
    /// Covariances are unbiased: divided by n - 1, or by n - classes when they are
    /// [tied](crate::Covariance::Tied); [shrinkage](MahalanobisConfig::shrinkage) and the ridge come on top.
    ///
    /// # Errors
    ///
    /// - [`InferError::NormalizeMismatch`], [`InferError::OnlyTied`], [`InferError::InvalidRidge`],
    ///   [`InferError::Empty`];
    /// - [`InferError::TooFewSamples`]: fewer than two samples (tied: none, or none to spare for a variance);
    /// - [`InferError::RankDeficient`]: no more samples than dimensions (tied: fewer than dimensions and
    ///   classes together), and a ridge under a millionth of the mean variance within the samples' span:
    ///   every direction outside it would then count as a million times too far. Samples are counted, not
    ///   compared: copies of a few pass;
    /// - [`InferError::NoSpread`]: all samples equal;
    /// - [`InferError::ScaleOutOfRange`]: raw features so large or so small that scores in f32 would say
    ///   nothing;
    /// - [`InferError::NotPositiveDefinite`]: the rest of the ways for a covariance to be singular.
    pub fn fit(&self, config: &MahalanobisConfig, device: &Device) -> Result<MahalanobisScorer, InferError> {
        MahalanobisScorer::new(estimate(self, config)?, device)
    }
}

impl MahalanobisRecord {
    /// Makes the scorer and places it on `device`.
    ///
    /// # Errors
    ///
    /// [`InferError::Empty`], [`InferError::RecordLength`], [`InferError::RecordValue`] or
    /// [`InferError::RecordAsymmetry`] when the record is damaged, [`InferError::NotPositiveDefinite`] or
    /// [`InferError::ScaleOutOfRange`] when a covariance is not one.
    pub fn into_scorer(self, device: &Device) -> Result<MahalanobisScorer, InferError> {
        self.check()?;
        MahalanobisScorer::new(self.share(), device)
    }
}

impl MahalanobisScorer {
    /// `record` has its shapes checked.
    fn new(record: MahalanobisRecord, device: &Device) -> Result<Self, InferError> {
        let device = device.clone().without_autodiff();
        check_means(&record)?;
        #[cfg(feature = "flex")]
        if device == Device::flex() {
            let gaussians = Form::Host(HostGaussians::new(&record)?);
            return Ok(Self { record, device, gaussians });
        }
        Self::general(record, device)
    }

    /// By tensor operations.
    fn general(record: MahalanobisRecord, device: Device) -> Result<Self, InferError> {
        let of_aux = 0..record.aux_classes;
        let gaussians = if record.is_shared() {
            Form::Tied(of_aux.map(|aux| TiedGaussians::new(&record, aux, &device)).collect::<Result<_, _>>()?)
        } else {
            Form::Device(of_aux.map(|aux| Gaussians::new(&record, aux, &device)).collect::<Result<_, _>>()?)
        };
        Ok(Self { record, device, gaussians })
    }

    /// Scores each view under each class: -d² or -d ([`Distance`]), never positive, higher = more normal.
    ///
    /// View `v` of every image is scored by the Gaussians of auxiliary class `view_aux[v]`
    /// ([`TestTimeViews::aux`](crate::TestTimeViews::aux)). The embeddings are scaled to unit length first,
    /// if the fit was with [`normalize`](MahalanobisConfig::normalize). Gradients are not tracked.
    ///
    /// On backends other than flex, embeddings are scaled in f32, which leaves the scores of tight clusters
    /// about three digits; products with factors rounded to TF32, as on CUDA, are corrected and cost none.
    ///
    /// A distance above 1.8e19, whose square is too large for f32, scores `-f32::MAX` squared and -1.8e19 as
    /// a root.
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
        let [images, views, _] = embeddings.dims();
        ViewBatch::new(embeddings.clone(), view_aux).check(self.dim(), self.aux_classes())?;
        if images == 0 {
            return Ok(f32_tensor(Vec::new(), [0, views, self.classes()], &self.device));
        }
        let embeddings = embeddings.without_autodiff().to_device(&self.device).cast(FloatDType::F32);
        let squared = match &self.gaussians {
            Form::Device(gaussians) => self.on_device(embeddings, view_aux, |embeddings, rows, view| {
                gaussians[view_aux[view]].squared_distances(embeddings, rows, view)
            })?,
            Form::Tied(gaussians) => self.on_device(embeddings, view_aux, |embeddings, rows, view| {
                gaussians[view_aux[view]].squared_distances(embeddings, rows, view)
            })?,
            #[cfg(feature = "flex")]
            Form::Host(gaussians) => {
                let read = |range| {
                    embeddings.clone().slice_dim(0, range).try_into_data().map_err(InferError::device)
                };
                let squared = gaussians.squared_distances(images, view_aux, read)?;
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

    /// d² by tensor operations, `[images, views, dim]` -> `[images, views, classes]`, where
    /// `squared_distances` takes the embeddings, a range of images and a view, and makes `[range, 1,
    /// classes]`.
    fn on_device(
        &self,
        embeddings: Tensor<3>,
        view_aux: &[usize],
        squared_distances: impl Fn(&Tensor<3>, Range<usize>, usize) -> Tensor<3>,
    ) -> Result<Tensor<3>, InferError> {
        let [images, _, dim] = embeddings.dims();
        let embeddings = self.prepare(embeddings)?;
        let chunk = image_chunk(self.classes(), dim);
        let score_view = |view| {
            let chunks = (0..images)
                .step_by(chunk)
                .map(|start| squared_distances(&embeddings, start..images.min(start + chunk), view));
            Tensor::cat(chunks.collect(), 0) // [images, 1, classes]
        };
        Ok(Tensor::cat((0..view_aux.len()).map(score_view).collect(), 1))
    }

    /// Means of the Gaussians, `[classes, aux_classes, dim]`.
    pub fn means(&self) -> &[f64] {
        &self.record.means
    }

    /// Covariances of the Gaussians with the ridge on their diagonals: `[classes, aux_classes, dim, dim]`,
    /// or, where the classes share them ([`Covariance::Tied`](crate::Covariance::Tied)), `[aux_classes, dim,
    /// dim]`.
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

    /// Checks the embeddings and brings them to unit length, if asked.
    fn prepare(&self, embeddings: Tensor<3>) -> Result<Tensor<3>, InferError> {
        let normalize = self.record.config.normalize;
        let magnitude = magnitude(&embeddings);
        let finite = magnitude.clone().lower_equal_scalar(f32::MAX);
        let sound = if normalize { finite.bool_and(magnitude.clone().greater_scalar(0.0)) } else { finite };
        if !sound.all().try_into_scalar::<bool>().map_err(InferError::device)? {
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

/// The mean magnitude of each row, [images, views, 1]: a sum of shares, which cannot overflow and carries NaN
/// along.
fn magnitude(embeddings: &Tensor<3>) -> Tensor<3> {
    let dim = embeddings.dims()[2];
    embeddings.clone().abs().div_scalar(dim as f32).sum_dim(2)
}

/// Finds the first row whose mean magnitude is zero or not finite.
fn locate_unsound(magnitude: Tensor<3>) -> InferError {
    let views = magnitude.dims()[1];
    let magnitude = match magnitude.try_into_vec_as::<f32>() {
        Ok(magnitude) => magnitude,
        Err(error) => return InferError::device(error),
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

impl Scorer for MahalanobisScorer {
    fn columns(&self) -> usize {
        self.classes()
    }

    fn views(&self) -> TestTimeViews {
        TestTimeViews::most(self.aux_classes())
    }

    /// As [`MahalanobisScorer::score`].
    fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
        self.score(batch.embeddings.clone(), batch.view_aux)
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
