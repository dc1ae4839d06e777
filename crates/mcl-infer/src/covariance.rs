//! From class statistics to the means and covariances of the class Gaussians.

use nalgebra::{DMatrix, DVector};

use crate::{Cluster, Covariance, GaussianStatistics, InferError, MahalanobisConfig, MahalanobisRecord};

/// The least ridge, relative to the mean variance of the directions in which something was seen, that may
/// stand in for the others. A smaller one makes a step in such a direction count a million times as much as
/// one elsewhere, so that the score says little more than whether an embedding lies in the span of the
/// samples.
const LEAST_RELATIVE_RIDGE: f64 = 1e-6;

/// A spread below this share of the length of the mean (squared) is f32 rounding, not spread.
const ROUNDING: f64 = 1e-14;

/// Unbiased means and covariances, ridge included.
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

    let mut means = Vec::with_capacity(classes * aux_classes * dim);
    let mut covariances = Vec::with_capacity(classes * aux_classes * dim * dim);
    let pooled = match config.covariance {
        Covariance::PerClass => None,
        Covariance::Tied => Some(pooled(statistics, config.ridge)?),
    };
    for class in 0..classes {
        for aux in 0..aux_classes {
            let moments = statistics.moments(class, aux);
            means.extend_from_slice(moments.mean.as_slice());
            match &pooled {
                Some(pooled) => covariances.extend_from_slice(pooled[aux].as_slice()),
                None => {
                    let sample = Sample {
                        cluster: Cluster { class: Some(class), aux },
                        count: moments.count,
                        means: 1,
                        power: moments.mean.norm_squared(),
                    };
                    let covariance = sample.covariance(&moments.scatter, config.ridge)?;
                    covariances.extend_from_slice(covariance.as_slice());
                }
            }
        }
    }
    Ok(MahalanobisRecord { config: *config, classes, aux_classes, dim, means, covariances })
}

/// One covariance an auxiliary class, of the deviations of its samples from the means of their classes.
fn pooled(statistics: &GaussianStatistics, ridge: f64) -> Result<Vec<DMatrix<f64>>, InferError> {
    let (classes, dim) = (statistics.classes(), statistics.dim());
    let of_aux = |aux| {
        let mut scatter = DMatrix::zeros(dim, dim);
        let mut sample =
            Sample { cluster: Cluster { class: None, aux }, count: 0, means: classes as u64, power: 0.0 };
        for class in 0..classes {
            let moments = statistics.moments(class, aux);
            if moments.count == 0 {
                let cluster = Cluster { class: Some(class), aux };
                return Err(InferError::TooFewSamples { cluster, count: 0, needed: 1 });
            }
            scatter += &moments.scatter;
            sample.count += moments.count;
            sample.power = sample.power.max(moments.mean.norm_squared());
        }
        sample.covariance(&scatter, ridge)
    };
    (0..statistics.aux_classes()).map(of_aux).collect()
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
    fn covariance(&self, scatter: &DMatrix<f64>, ridge: f64) -> Result<DMatrix<f64>, InferError> {
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
        // All variance lies in the span of the deviations, which has as many dimensions as there is freedom.
        let needed = LEAST_RELATIVE_RIDGE * trace / freedom as f64;
        if freedom < dim as u64 && ridge < needed {
            return Err(InferError::RankDeficient { cluster, count, dim, ridge, needed });
        }
        covariance += DMatrix::from_diagonal(&DVector::from_element(dim, ridge));
        Ok(covariance)
    }
}
