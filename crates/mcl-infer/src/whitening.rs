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

/// W = L⁻¹, lower triangular; `None` when the covariance is not numerically positive definite.
pub(crate) fn whitening(covariance: &DMatrix<f64>) -> Option<DMatrix<f64>> {
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

    #[test]
    fn whitens() {
        let covariance = DMatrix::from_row_slice(3, 3, &[4.0, 2.0, 1.0, 2.0, 3.0, 0.5, 1.0, 0.5, 2.0]);
        let whitening = whitening(&covariance).unwrap();
        let identity = &whitening * &covariance * whitening.transpose();
        assert!((identity - DMatrix::identity(3, 3)).amax() < 1e-14);
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
