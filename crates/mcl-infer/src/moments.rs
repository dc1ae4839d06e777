//! Count, mean and scatter of one stream of vectors, in one pass (Chan et al., 1979).
//!
//! The scatter of the union of two samples A and B is, with δ the difference of their means,
//!
//! ```text
//! S = S_A + S_B + δ δᵀ n_A n_B / (n_A + n_B)
//! ```
//!
//! Sums of squares around zero would be shorter, and would lose every digit of the covariance when the mean
//! is large against the spread, which is what a tight cluster on the unit sphere looks like.

use nalgebra::{DMatrix, DVector};

/// Running moments of one cluster.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moments {
    pub(crate) count: u64,
    pub(crate) mean: DVector<f64>,
    /// Σ (x - mean)(x - mean)ᵀ, [dim, dim].
    pub(crate) scatter: DMatrix<f64>,
}

impl Moments {
    pub(crate) fn new(dim: usize) -> Self {
        Self { count: 0, mean: DVector::zeros(dim), scatter: DMatrix::zeros(dim, dim) }
    }

    /// Adds samples, one a column of `block` [dim, samples], which is centred in place.
    pub(crate) fn add(&mut self, block: &mut DMatrix<f64>) {
        let count = block.ncols();
        if count == 0 {
            return;
        }
        let mean = block.column_mean();
        for mut sample in block.column_iter_mut() {
            sample -= &mean;
        }
        // One matrix product for the whole block: [dim, samples] x [samples, dim].
        self.scatter.gemm(1.0, block, &block.transpose(), 1.0);
        self.join(count as u64, &mean);
    }

    /// Adds all that `other` has seen.
    pub(crate) fn merge(&mut self, other: &Self) {
        if other.count > 0 {
            self.scatter += &other.scatter;
            self.join(other.count, &other.mean);
        }
    }

    /// The rank-one term of the union, and the new mean and count; the scatters are added already.
    fn join(&mut self, count: u64, mean: &DVector<f64>) {
        let total = self.count + count;
        let share = count as f64 / total as f64;
        if self.count > 0 {
            let delta = mean - &self.mean;
            self.scatter.ger(self.count as f64 * share, &delta, &delta, 1.0);
            self.mean.axpy(share, &delta, 1.0);
        } else {
            self.mean.copy_from(mean);
        }
        self.count = total;
    }
}
