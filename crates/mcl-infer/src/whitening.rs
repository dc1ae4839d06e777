//! The whitening matrix of a covariance: the Mahalanobis distance as the length of a product.
//!
//! With Σ = L Lᵀ (Cholesky) and W = L⁻¹,
//!
//! ```text
//! d² = (x - μ)ᵀ Σ⁻¹ (x - μ) = |W (x - μ)|²
//! ```
//!
//! so that d² is a sum of squares: it cannot come out negative, and half the digits that Σ⁻¹ would cost in f32 are
//! kept.

use nalgebra::{Cholesky, DMatrix};

/// W = L⁻¹, lower triangular; `None` when the covariance is not numerically positive definite.
pub(crate) fn whitening(covariance: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    let dim = covariance.nrows();
    let factor = Cholesky::new(covariance.clone())?.unpack();
    // A pivot is what is left of a variance once the coordinates before it are known. When that is within the
    // rounding of the variance itself the factorisation went through by luck, and its inverse is noise.
    let rounding = dim as f64 * f64::EPSILON;
    let sound = (0..dim).all(|i| factor[(i, i)].powi(2) > rounding * covariance[(i, i)]);
    if !sound {
        return None;
    }
    let whitening = factor.solve_lower_triangular(&DMatrix::identity(dim, dim))?;
    whitening.iter().all(|value| value.is_finite()).then_some(whitening)
}
