//! Running class statistics: what the class Gaussians are fitted from.
//!
//! The features of the training set (400,000 x 128 numbers for CIFAR-10 with rotations) need not be held:
//! each batch is folded into a count and a mean for its (class, auxiliary class) and into a scatter, in f64.
//! Parts gathered on different threads or machines merge into what one pass would have given, up to f64
//! rounding.

mod stored;
mod tied;

use burn::tensor::{Int, Tensor};
use nalgebra::{DMatrixView, DVectorView};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::config::{Covariance, MahalanobisConfig};
use super::moments::{Centre, Scatter, add_scatter, centre};
use crate::error::InferError;
use crate::samples::{SampleBatch, SampleShape};
use crate::tensor::{f32_values, labels};

/// Rows that go through one matrix product: enough to make the product efficient, few enough
/// (1 MiB at dimension 128, twice) to stay in cache.
const BLOCK_ROWS: usize = 512;

/// Mergeable count and mean of each (class, auxiliary class), and their scatters, in f64.
///
/// There is a scatter for each (class, auxiliary class), or, when the statistics come from
/// [`MahalanobisConfig::statistics`] with [`Covariance::Tied`](crate::Covariance::Tied), one for each
/// auxiliary class. Memory does not grow with the samples counted. In numbers of 8 bytes it is
///
/// ```text
/// classes * aux_classes * (dim + dim * dim)              one scatter for each (class, auxiliary class)
/// classes * aux_classes * dim + aux_classes * dim * dim  tied
/// ```
///
/// At 10,000 classes, 4 auxiliary classes and dimension 128 that is 5.3 GB, or 41 MB when tied.
///
/// Embeddings are scaled to unit length as they are counted, as
/// [`normalize`](crate::MahalanobisConfig::normalize) is on by default. For the other choice take the empty
/// statistics from [`MahalanobisConfig::statistics`]; [`fit`](Self::fit) refuses a configuration that does
/// not match, since sums of raw embeddings cannot be turned into sums of normalised ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "stored::Stored")]
pub struct GaussianStatistics {
    classes: usize,
    aux_classes: usize,
    dim: usize,
    normalize: bool,
    /// `[classes, aux_classes]`
    counts: Vec<u64>,
    /// `[classes, aux_classes, dim]`
    means: Vec<f64>,
    /// `[classes, aux_classes, dim, dim]`, or `[aux_classes, dim, dim]` when tied.
    scatters: Vec<f64>,
}

impl MahalanobisConfig {
    /// Empty statistics for a fit with this configuration, for `classes` classes of `aux_classes` auxiliary
    /// classes each and embeddings of `dim` numbers.
    ///
    /// They depend on [`normalize`](Self::normalize) and [`covariance`](Self::covariance) only: one pass over
    /// the samples serves any distance and ridge. Those of [`Covariance::PerClass`] serve
    /// [`Covariance::Tied`] too; those of `Tied` hold one scatter for each auxiliary class, and serve nothing
    /// else.
    pub fn statistics(&self, classes: usize, aux_classes: usize, dim: usize) -> GaussianStatistics {
        GaussianStatistics::with_config(self, classes, aux_classes, dim)
    }
}

impl GaussianStatistics {
    /// Empty statistics of unit-length embeddings of `dim` numbers, for `classes` classes of `aux_classes`
    /// auxiliary classes each (4 rotations in the paper; 1 where there are none).
    ///
    /// Equal to `MahalanobisConfig::new().statistics(classes, aux_classes, dim)`: each class has a scatter of
    /// its own, which serves either [`Covariance`](crate::Covariance).
    pub fn new(classes: usize, aux_classes: usize, dim: usize) -> Self {
        Self::with_config(&MahalanobisConfig::new(), classes, aux_classes, dim)
    }

    fn with_config(config: &MahalanobisConfig, classes: usize, aux_classes: usize, dim: usize) -> Self {
        let clusters = classes.saturating_mul(aux_classes);
        let scatters = match config.covariance {
            Covariance::PerClass => clusters,
            Covariance::Tied => aux_classes.min(clusters),
        };
        Self {
            classes,
            aux_classes,
            dim,
            normalize: config.normalize,
            counts: vec![0; clusters],
            means: vec![0.0; clusters.saturating_mul(dim)],
            scatters: vec![0.0; scatters.saturating_mul(dim).saturating_mul(dim)],
        }
    }

    /// Counts samples: row `i` of `features` (row-major, `[n, dim]`) belongs to `class[i]` and `aux[i]`.
    ///
    /// The sums do not depend on the number of threads.
    ///
    /// # Errors
    ///
    /// Lengths that do not match, a label out of range, NaN or infinity, or (when normalising) a row of
    /// zeros; the error names the first such row. Nothing is counted then.
    pub fn update(&mut self, features: &[f32], class: &[usize], aux: &[usize]) -> Result<(), InferError> {
        let (shape, batch) = (self.shape(), SampleBatch::new(features, class, aux));
        shape.check(&batch)?;
        if self.is_tied() {
            self.update_tied(&batch);
            return Ok(());
        }
        let rows_of = shape.rows_by_cluster(&batch);
        // Each cluster is one thread's, and takes its rows in order.
        self.par_clusters().zip(&rows_of).for_each(|((mut cluster, mut scatter), rows)| {
            for rows in rows.chunks(BLOCK_ROWS) {
                let mut block = shape.gather(features, rows);
                let mean = centre(&mut block);
                add_scatter(&mut scatter, &block);
                if let Some((weight, delta)) = cluster.join(rows.len() as u64, mean.as_view()) {
                    scatter.ger(weight, &delta, &delta, 1.0);
                }
            }
        });
        Ok(())
    }

    /// Counts samples that are tensors, of any device and float or integer type.
    ///
    /// # Shapes
    ///
    /// - features: `[n, dim]`
    /// - class, aux: `[n]`
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update); [`InferError::NegativeLabel`] and [`InferError::Device`].
    pub fn update_tensors(
        &mut self,
        features: Tensor<2>,
        class: Tensor<1, Int>,
        aux: Tensor<1, Int>,
    ) -> Result<(), InferError> {
        let [rows, dim] = features.dims();
        if dim != self.dim {
            return Err(InferError::FeatureCount { rows, dim: self.dim, found: rows * dim });
        }
        self.update(&f32_values(features)?, &labels(class)?, &labels(aux)?)
    }

    /// Adds all that `other` has counted.
    ///
    /// # Errors
    ///
    /// When the two differ in classes, auxiliary classes, dimension, `normalize` or the number of scatters;
    /// nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), InferError> {
        let pairs = [
            ("a number of classes of", self.classes, other.classes),
            ("a number of auxiliary classes of", self.aux_classes, other.aux_classes),
            ("dimension", self.dim, other.dim),
            ("normalize (0 = off, 1 = on) of", self.normalize.into(), other.normalize.into()),
            ("tied (0 = off, 1 = on) of", self.is_tied().into(), other.is_tied().into()),
        ];
        for (what, own, other) in pairs {
            if own != other {
                return Err(InferError::Unmergeable { what, own, other });
            }
        }
        if self.is_tied() {
            self.merge_tied(other);
            return Ok(());
        }
        let dim = self.dim;
        let others = other.counts.par_iter().zip(other.means.par_chunks(dim.max(1)));
        let others = others.zip(other.scatters.par_chunks(dim.saturating_mul(dim).max(1)));
        self.par_clusters().zip(others).for_each(|((mut own, mut scatter), ((&count, mean), other))| {
            if count > 0 {
                scatter += DMatrixView::from_slice(other, dim, dim);
                if let Some((weight, delta)) = own.join(count, DVectorView::from_slice(mean, dim)) {
                    scatter.ger(weight, &delta, &delta, 1.0);
                }
            }
        });
        Ok(())
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

    /// Whether there is one scatter for each auxiliary class, which serves
    /// [`Covariance::Tied`](crate::Covariance::Tied) only. With a single class there is no difference.
    pub fn is_tied(&self) -> bool {
        self.scatters.len() < self.counts.len() * self.dim * self.dim
    }

    /// Samples counted so far for each class and auxiliary class: `[classes, aux_classes]`.
    pub fn counts(&self) -> Vec<u64> {
        self.counts.clone()
    }

    pub(crate) fn count(&self, class: usize, aux: usize) -> u64 {
        self.counts[class * self.aux_classes + aux]
    }

    pub(crate) fn means(&self) -> &[f64] {
        &self.means
    }

    pub(crate) fn mean(&self, class: usize, aux: usize) -> DVectorView<'_, f64> {
        let cluster = class * self.aux_classes + aux;
        DVectorView::from_slice(&self.means[cluster * self.dim..], self.dim)
    }

    /// The scatter of a cluster, or when tied that of its auxiliary class.
    pub(crate) fn scatter(&self, class: usize, aux: usize) -> DMatrixView<'_, f64> {
        let size = self.dim * self.dim;
        let index = if self.is_tied() { aux } else { class * self.aux_classes + aux };
        DMatrixView::from_slice(&self.scatters[index * size..], self.dim, self.dim)
    }

    fn shape(&self) -> SampleShape {
        let &Self { classes, aux_classes, dim, normalize, .. } = self;
        SampleShape { classes, aux_classes, dim, normalize }
    }

    /// Each cluster with its scatter, when each has one.
    fn par_clusters(&mut self) -> impl IndexedParallelIterator<Item = (Centre<'_>, Scatter<'_>)> {
        let dim = self.dim;
        let means = self.means.par_chunks_mut(dim.max(1));
        let scatters = self.scatters.par_chunks_mut(dim.saturating_mul(dim).max(1));
        self.counts.par_iter_mut().zip(means).zip(scatters).map(move |((count, mean), scatter)| {
            (Centre::new(count, mean), Scatter::from_slice(scatter, dim, dim))
        })
    }
}
