//! The whitening matrix of a covariance: the Mahalanobis distance as the length of a product.
//!
//! With Σ = L Lᵀ (Cholesky) and W = L⁻¹,
//!
//! ```text
//! d² = (x - μ)ᵀ Σ⁻¹ (x - μ) = |W (x - μ)|²
//! ```
//!
//! so that d² is a sum of squares: it cannot come out negative, and half the digits that Σ⁻¹ would cost in
//! f32 are kept.

use nalgebra::{Cholesky, DMatrix};

use super::record::MahalanobisRecord;
use crate::cluster::Cluster;
use crate::error::InferError;

/// Raw embeddings are cut off here. Nothing this far is told apart: it is 1000 standard deviations from any
/// mean, or more.
pub(crate) const FAR: f32 = 1e18;

/// No mean and no standard deviation is larger, and no entry of a whitening matrix: [`FAR`] leaves room
/// around each Gaussian, and is whitened without overflow.
const LARGEST: f64 = 1e15;

impl MahalanobisRecord {
    /// Returns the whitening matrix W of a (class, auxiliary class), `[dim, dim]` row by row, lower triangular: the squared
    /// distance of x is `|W (x - mean)|²`. Where the classes [share](Self::is_shared) a covariance, each has the same W.
    ///
    /// # Errors
    ///
    /// [`InferError::NotPositiveDefinite`] or [`InferError::ScaleOutOfRange`] when the covariance is not one.
    ///
    /// # Panics
    ///
    /// When the record has no such class or auxiliary class.
    pub fn whitening(&self, class: usize, aux: usize) -> Result<Vec<f64>, InferError> {
        Ok(whitening_of(self, class, aux)?.transpose().as_slice().to_vec()) // columns of the transpose are rows
    }
}

/// W of the covariance of a cluster.
pub(crate) fn whitening_of(
    record: &MahalanobisRecord,
    class: usize,
    aux: usize,
) -> Result<DMatrix<f64>, InferError> {
    let (cluster, ridge) = (record.behind(class, aux), record.config.ridge);
    let covariance = DMatrix::from_row_slice(record.dim, record.dim, record.covariance(class, aux));
    let whitening = whitening(&covariance).ok_or(InferError::NotPositiveDefinite { cluster, ridge })?;
    let variances = covariance.diagonal();
    in_range(cluster, variances.iter().map(|variance| variance.sqrt()).chain(whitening.iter().copied()))?;
    Ok(whitening)
}

/// Refuses means too far for scores in f32.
pub(crate) fn check_means(record: &MahalanobisRecord) -> Result<(), InferError> {
    for aux in 0..record.aux_classes {
        for class in 0..record.classes {
            in_range(Cluster { class: Some(class), aux }, record.mean(class, aux).iter().copied())?;
        }
    }
    Ok(())
}

/// Refuses values above [`LARGEST`].
fn in_range(cluster: Cluster, mut values: impl Iterator<Item = f64>) -> Result<(), InferError> {
    match values.find(|value| value.abs() > LARGEST) {
        None => Ok(()),
        Some(value) => Err(InferError::ScaleOutOfRange { cluster, value }),
    }
}

/// W = L⁻¹, lower triangular; `None` when the covariance is not numerically positive definite.
fn whitening(covariance: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    let dim = covariance.nrows();
    let factor = Cholesky::new(covariance.clone())?.unpack();
    // A pivot is what is left of a variance once the coordinates before it are known. When that is no more
    // than the rounding of the variance, in f64 here or in f32 where the embeddings came from, then the
    // factorisation went through by luck and its inverse is noise.
    let rounding = dim as f64 * f64::EPSILON + f64::from(f32::EPSILON).powi(2);
    let sound = (0..dim).all(|i| factor[(i, i)].powi(2) > rounding * covariance[(i, i)]);
    if !sound {
        return None;
    }
    let whitening = factor.solve_lower_triangular(&DMatrix::identity(dim, dim))?;
    whitening.iter().all(|value| value.is_finite()).then_some(whitening)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mahalanobis::MahalanobisConfig;

    #[test]
    fn whitens() {
        let covariance = DMatrix::from_row_slice(3, 3, &[4.0, 2.0, 1.0, 2.0, 3.0, 0.5, 1.0, 0.5, 2.0]);
        let whitening = whitening(&covariance).unwrap();
        let identity = &whitening * &covariance * whitening.transpose();
        assert!((identity - DMatrix::identity(3, 3)).amax() < 1e-14);
    }

    #[test]
    fn rows_of_the_matrix_follow_each_other() {
        let covariances = vec![4.0, 2.0, 2.0, 2.0];
        let config = MahalanobisConfig::new();
        let means = vec![0.0; 2];
        let record = MahalanobisRecord { config, classes: 1, aux_classes: 1, dim: 2, means, covariances };
        // The Cholesky factor is [[2, 0], [1, 1]].
        assert_eq!(record.whitening(0, 0).unwrap(), [0.5, 0.0, -0.5, 1.0]);
    }

    #[test]
    fn refuses_what_has_no_inverse() {
        for singular in [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 2.0, 1.0]] {
            assert_eq!(whitening(&DMatrix::from_row_slice(2, 2, &singular)), None, "{singular:?}");
        }
        // Singular but for rounding: Cholesky itself goes through.
        let third = DMatrix::from_row_slice(2, 2, &[1.0, 1.0, 1.0, 1.0 + f64::EPSILON]);
        assert!(Cholesky::new(third.clone()).is_some());
        assert_eq!(whitening(&third), None);
    }
}
