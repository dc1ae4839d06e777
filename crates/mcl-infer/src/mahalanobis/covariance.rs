//! From class statistics to the means and covariances of the class Gaussians.

use nalgebra::{DMatrix, DMatrixView, DVector};
use rayon::prelude::*;

use super::config::{Covariance, MahalanobisConfig};
use super::record::MahalanobisRecord;
use super::shrinkage::Shrinkage;
use super::statistics::GaussianStatistics;
use crate::cluster::Cluster;
use crate::error::InferError;

/// The least ridge, relative to the mean variance of the directions in which something was seen, that may
/// stand in for the others. A smaller one makes a step in such a direction count a million times as much as
/// one elsewhere, so that the score says little more than whether an embedding lies in the span of the
/// samples.
const LEAST_RELATIVE_RIDGE: f64 = 1e-6;

/// A spread below this share of the length of the mean (squared) is f32 rounding, not spread.
const ROUNDING: f64 = 1e-14;

/// Unbiased means and covariances; shrinkage and ridge included.
pub(crate) fn estimate(
    statistics: &GaussianStatistics,
    config: &MahalanobisConfig,
) -> Result<MahalanobisRecord, InferError> {
    let (classes, aux_classes, dim) = (statistics.classes(), statistics.aux_classes(), statistics.dim());
    if classes == 0 || aux_classes == 0 || dim == 0 {
        return Err(InferError::Empty { classes, aux_classes, dim });
    }
    if statistics.normalize() != config.normalize {
        let (statistics, config) = (statistics.normalize(), config.normalize);
        return Err(InferError::NormalizeMismatch { statistics, config });
    }
    if !(config.ridge.is_finite() && config.ridge >= 0.0) {
        return Err(InferError::InvalidRidge { ridge: config.ridge });
    }

    let size = dim * dim;
    let tied = config.covariance == Covariance::Tied;
    if statistics.is_tied() && !tied {
        return Err(InferError::OnlyTied);
    }
    let covariance = |index: usize| {
        let floor = Floor { shrinkage: config.shrinkage, ridge: config.ridge };
        if tied { pooled(statistics, index, floor) } else { own(statistics, index, floor) }
    };
    let matrices = if tied { aux_classes } else { classes * aux_classes };
    let mut covariances = vec![0.0; matrices * size];
    // Each covariance is one thread's. Of several errors the first counts, whichever thread is the fastest.
    let write = |(index, to): (usize, &mut [f64])| {
        covariance(index).map(|covariance| to.copy_from_slice(covariance.as_slice()))
    };
    let first = covariances.par_chunks_mut(size).enumerate().map(write).find_first(Result::is_err);
    first.unwrap_or(Ok(()))?;
    let means = statistics.means().to_vec();
    Ok(MahalanobisRecord { config: *config, classes, aux_classes, dim, means, covariances })
}

/// The covariance of a (class, auxiliary class), of which `index` counts all.
fn own(statistics: &GaussianStatistics, index: usize, floor: Floor) -> Result<DMatrix<f64>, InferError> {
    let (class, aux) = (index / statistics.aux_classes(), index % statistics.aux_classes());
    let sample = Sample {
        cluster: Cluster { class: Some(class), aux },
        count: statistics.count(class, aux),
        means: 1,
        power: statistics.mean(class, aux).norm_squared(),
    };
    sample.covariance(statistics.scatter(class, aux), floor)
}

/// The covariance of an auxiliary class, of the deviations of its samples from the means of their classes.
fn pooled(statistics: &GaussianStatistics, aux: usize, floor: Floor) -> Result<DMatrix<f64>, InferError> {
    let (classes, dim) = (statistics.classes(), statistics.dim());
    let mut scatter = DMatrix::zeros(dim, dim);
    let mut sample =
        Sample { cluster: Cluster { class: None, aux }, count: 0, means: classes as u64, power: 0.0 };
    for class in 0..classes {
        let count = statistics.count(class, aux);
        if count == 0 {
            let cluster = Cluster { class: Some(class), aux };
            return Err(InferError::TooFewSamples { cluster, count, needed: 1 });
        }
        if !statistics.is_tied() || class == 0 {
            scatter += statistics.scatter(class, aux);
        }
        sample.count += count;
        sample.power = sample.power.max(statistics.mean(class, aux).norm_squared());
    }
    sample.covariance(scatter.as_view(), floor)
}

/// What keeps a covariance from being singular.
#[derive(Clone, Copy)]
struct Floor {
    shrinkage: Shrinkage,
    ridge: f64,
}

/// The samples behind one covariance.
struct Sample {
    cluster: Cluster,
    count: u64,
    /// How many means were taken out of them, each of which costs a degree of freedom.
    means: u64,
    /// Squared length of the (longest) mean.
    power: f64,
}

impl Sample {
    fn covariance(&self, scatter: DMatrixView<f64>, floor: Floor) -> Result<DMatrix<f64>, InferError> {
        let &Self { cluster, count, means, power } = self;
        let dim = scatter.nrows();
        if count <= means {
            return Err(InferError::TooFewSamples { cluster, count, needed: means + 1 });
        }
        let freedom = count - means;
        // Half of S + Sᵀ: the products leave the two triangles a rounding apart.
        let mut covariance = (scatter + scatter.transpose()) / (2.0 * freedom as f64);
        let trace = covariance.trace();
        if trace <= ROUNDING * power {
            return Err(InferError::NoSpread { cluster, count });
        }
        let weight = floor.shrinkage.weight(&covariance, freedom);
        let ridge = floor.ridge + weight * trace / dim as f64;
        // All variance lies in the span of the deviations, which has as many dimensions as there is freedom.
        let needed = LEAST_RELATIVE_RIDGE * trace / freedom as f64;
        if freedom < dim as u64 && ridge < needed {
            return Err(InferError::RankDeficient { cluster, count, dim, ridge, needed });
        }
        if weight > 0.0 {
            covariance *= 1.0 - weight;
        }
        covariance += DMatrix::from_diagonal(&DVector::from_element(dim, ridge));
        Ok(covariance)
    }
}
