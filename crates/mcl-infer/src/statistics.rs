//! Running class statistics: what the class Gaussians are fitted from.
//!
//! The features of the training set (400,000 x 128 numbers for CIFAR-10 with rotations) need not be held:
//! each batch is folded into a count, a mean and a scatter for its (class, auxiliary class), in f64. Parts
//! gathered on different threads or machines merge into what one pass would have given, up to f64 rounding.

use burn::tensor::Device;
use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::covariance;
use crate::error::InferError;
use crate::moments::Moments;
use crate::{MahalanobisConfig, MahalanobisScorer};

/// Rows of one cluster that go through one matrix product: enough to make the product efficient, few enough
/// (1 MiB at dimension 128, twice) to stay in cache.
const BLOCK_ROWS: usize = 512;

/// Mergeable count, mean and scatter of each (class, auxiliary class), in f64.
///
/// Memory is `classes * aux_classes * dim * (dim + 1)` numbers of 8 bytes, however many samples are counted.
///
/// Embeddings are scaled to unit length as they are counted, as
/// [`normalize`](crate::MahalanobisConfig::normalize) is on by default. For the other choice take the empty
/// statistics from [`MahalanobisConfig::statistics`]; [`fit`](Self::fit) refuses a configuration that does
/// not match, since sums of raw embeddings cannot be turned into sums of normalised ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct GaussianStatistics {
    classes: usize,
    aux_classes: usize,
    dim: usize,
    normalize: bool,
    /// `[classes, aux_classes]`
    moments: Vec<Moments>,
}

impl GaussianStatistics {
    /// Empty statistics of unit-length embeddings of `dim` numbers, for `classes` classes of `aux_classes`
    /// auxiliary classes each (4 rotations in the paper; 1 where there are none).
    ///
    /// Equal to `MahalanobisConfig::new().statistics(classes, aux_classes, dim)`.
    pub fn new(classes: usize, aux_classes: usize, dim: usize) -> Self {
        Self::with_normalize(classes, aux_classes, dim, true)
    }

    pub(crate) fn with_normalize(classes: usize, aux_classes: usize, dim: usize, normalize: bool) -> Self {
        let moments = vec![Moments::new(dim); classes.saturating_mul(aux_classes)];
        Self { classes, aux_classes, dim, normalize, moments }
    }

    /// Counts samples: row `i` of `features` (row-major, `[n, dim]`) belongs to `class[i]` and `aux[i]`.
    ///
    /// # Errors
    ///
    /// Lengths that do not match, a label out of range, NaN or infinity, or (when normalising) a row of
    /// zeros; the error names the first such row. Nothing is counted then.
    pub fn update(&mut self, features: &[f32], class: &[usize], aux: &[usize]) -> Result<(), InferError> {
        self.check(features, class, aux)?;
        let rows_of = self.rows_by_cluster(class, aux);
        let (dim, normalize) = (self.dim, self.normalize);
        // Each cluster is one thread's, and takes its rows in order: the sums do not depend on the number of
        // threads.
        self.moments.par_iter_mut().zip(&rows_of).for_each(|(moments, rows)| {
            for rows in rows.chunks(BLOCK_ROWS) {
                moments.add(&mut gather(features, rows, dim, normalize));
            }
        });
        Ok(())
    }

    /// Adds all that `other` has counted.
    ///
    /// # Errors
    ///
    /// When the two differ in classes, auxiliary classes, dimension or `normalize`; nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), InferError> {
        let pairs = [
            ("a number of classes of", self.classes, other.classes),
            ("a number of auxiliary classes of", self.aux_classes, other.aux_classes),
            ("dimension", self.dim, other.dim),
            ("normalize (0 = off, 1 = on) of", self.normalize.into(), other.normalize.into()),
        ];
        for (what, own, other) in pairs {
            if own != other {
                return Err(InferError::Unmergeable { what, own, other });
            }
        }
        for (own, other) in self.moments.iter_mut().zip(&other.moments) {
            own.merge(other);
        }
        Ok(())
    }

    /// Fits one Gaussian to each (class, auxiliary class) and places them on `device`.
    ///
    /// Covariances are unbiased: divided by n - 1, or by n - classes when they are
    /// [tied](crate::Covariance::Tied); the ridge comes on top.
    ///
    /// # Errors
    ///
    /// - [`InferError::NormalizeMismatch`], [`InferError::InvalidRidge`], [`InferError::Empty`];
    /// - [`InferError::TooFewSamples`]: fewer than two samples (tied: none, or none to spare for a variance);
    /// - [`InferError::RankDeficient`]: no more samples than dimensions (tied: fewer than dimensions and classes together),
    ///   and a ridge under a millionth of the mean variance within the samples' span: every direction outside it
    ///   would then count as a million times too far. Samples are counted, not compared: copies of a few pass;
    /// - [`InferError::NoSpread`]: all samples equal;
    /// - [`InferError::ScaleOutOfRange`]: raw features so large or so small that scores in f32 would say nothing;
    /// - [`InferError::NotPositiveDefinite`]: the rest of the ways for a covariance to be singular.
    pub fn fit(&self, config: &MahalanobisConfig, device: &Device) -> Result<MahalanobisScorer, InferError> {
        covariance::estimate(self, config)?.into_scorer(device)
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of auxiliary classes.
    pub fn aux_classes(&self) -> usize {
        self.aux_classes
    }

    /// Length of an embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Whether samples are scaled to unit length as they are counted.
    pub fn normalize(&self) -> bool {
        self.normalize
    }

    /// Samples counted so far for each class and auxiliary class: `[classes, aux_classes]`.
    pub fn counts(&self) -> Vec<u64> {
        self.moments.iter().map(|moments| moments.count).collect()
    }

    pub(crate) fn moments(&self, class: usize, aux: usize) -> &Moments {
        &self.moments[class * self.aux_classes + aux]
    }

    fn check(&self, features: &[f32], class: &[usize], aux: &[usize]) -> Result<(), InferError> {
        let &Self { classes, aux_classes, dim, .. } = self;
        let rows = class.len();
        if aux.len() != rows {
            return Err(InferError::LabelCount { class: rows, aux: aux.len() });
        }
        if rows.checked_mul(dim) != Some(features.len()) {
            return Err(InferError::FeatureCount { rows, dim, found: features.len() });
        }
        for (row, (&class, &aux)) in class.iter().zip(aux).enumerate() {
            if class >= classes {
                return Err(InferError::ClassOutOfRange { row, class, classes });
            }
            if aux >= aux_classes {
                return Err(InferError::AuxOutOfRange { row, aux, aux_classes });
            }
            let feature = &features[row * dim..][..dim];
            if let Some(column) = feature.iter().position(|value| !value.is_finite()) {
                let value = feature[column];
                return Err(InferError::NonFiniteFeature { row, column, class, aux, value });
            }
            if self.normalize && feature.iter().all(|&value| value == 0.0) {
                return Err(InferError::ZeroFeature { row, class, aux });
            }
        }
        Ok(())
    }

    /// The rows of each cluster, in their order.
    fn rows_by_cluster(&self, class: &[usize], aux: &[usize]) -> Vec<Vec<usize>> {
        let mut rows_of = vec![Vec::new(); self.moments.len()];
        for (row, (&class, &aux)) in class.iter().zip(aux).enumerate() {
            rows_of[class * self.aux_classes + aux].push(row);
        }
        rows_of
    }
}

/// The chosen rows as the columns of a matrix [dim, rows] in f64, at unit length if asked.
fn gather(features: &[f32], rows: &[usize], dim: usize, normalize: bool) -> DMatrix<f64> {
    let mut block = DMatrix::zeros(dim, rows.len());
    for (mut sample, &row) in block.column_iter_mut().zip(rows) {
        for (to, &from) in sample.iter_mut().zip(&features[row * dim..][..dim]) {
            *to = f64::from(from);
        }
        if normalize {
            // The squares of any f32 but zero are normal numbers in f64: no overflow, no underflow.
            let norm = sample.norm();
            sample /= norm;
        }
    }
    block
}

/// The stored form: plain vectors, checked when read.
#[derive(Serialize, Deserialize)]
#[serde(rename = "GaussianStatistics")]
struct Stored {
    classes: usize,
    aux_classes: usize,
    dim: usize,
    normalize: bool,
    /// `[classes, aux_classes]`
    counts: Vec<u64>,
    /// `[classes, aux_classes, dim]`
    means: Vec<f64>,
    /// `[classes, aux_classes, dim, dim]`
    scatters: Vec<f64>,
}

impl From<GaussianStatistics> for Stored {
    fn from(statistics: GaussianStatistics) -> Self {
        let GaussianStatistics { classes, aux_classes, dim, normalize, moments } = statistics;
        Self {
            classes,
            aux_classes,
            dim,
            normalize,
            counts: moments.iter().map(|m| m.count).collect(),
            means: moments.iter().flat_map(|m| m.mean.iter().copied()).collect(),
            scatters: moments.iter().flat_map(|m| m.scatter.iter().copied()).collect(),
        }
    }
}

impl TryFrom<Stored> for GaussianStatistics {
    type Error = InferError;

    fn try_from(stored: Stored) -> Result<Self, InferError> {
        let Stored { classes, aux_classes, dim, normalize, counts, means, scatters } = stored;
        let clusters = crate::record::shape_product(&[classes, aux_classes]);
        crate::record::check_length("counts", clusters, counts.len())?;
        // No stream is that long, and sums of a few such counts still fit.
        if let Some(position) = counts.iter().position(|&count| count > 1 << 53) {
            let value = counts[position] as f64;
            return Err(InferError::RecordValue { field: "counts", position, value });
        }
        crate::record::check_values("means", crate::record::shape_product(&[clusters, dim]), &means)?;
        crate::record::check_values(
            "scatters",
            crate::record::shape_product(&[clusters, dim, dim]),
            &scatters,
        )?;
        let moments = (0..clusters)
            .map(|i| Moments {
                count: counts[i],
                mean: DVector::from_column_slice(&means[i * dim..][..dim]),
                scatter: DMatrix::from_column_slice(dim, dim, &scatters[i * dim * dim..][..dim * dim]),
            })
            .collect();
        Ok(Self { classes, aux_classes, dim, normalize, moments })
    }
}
