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

use nalgebra::{DMatrix, DMatrixViewMut, DVector, DVectorView, DVectorViewMut};

/// Running count and mean of one cluster, in the memory of the statistics.
pub(crate) struct Centre<'a> {
    pub(crate) count: &'a mut u64,
    /// `[dim]`
    pub(crate) mean: DVectorViewMut<'a, f64>,
}

/// Σ (x - mean)(x - mean)ᵀ, `[dim, dim]`: of one cluster, or of all clusters that share a covariance.
pub(crate) type Scatter<'a> = DMatrixViewMut<'a, f64>;

impl<'a> Centre<'a> {
    pub(crate) fn new(count: &'a mut u64, mean: &'a mut [f64]) -> Self {
        Self { count, mean: DVectorViewMut::from_slice(mean, mean.len()) }
    }

    /// Takes in `count` samples around `mean`. Returns the rank-one term of the union's scatter, `weight * δ
    /// δᵀ` as (weight, δ), unless these are the first samples.
    pub(crate) fn join(&mut self, count: u64, mean: DVectorView<f64>) -> Option<(f64, DVector<f64>)> {
        let total = *self.count + count;
        let share = count as f64 / total as f64;
        let mut moved = None;
        if *self.count > 0 {
            let delta = mean - &self.mean;
            self.mean.axpy(share, &delta, 1.0);
            moved = Some((*self.count as f64 * share, delta));
        } else {
            self.mean.copy_from(&mean);
        }
        *self.count = total;
        moved
    }
}

/// Subtracts the mean of samples, one a column of `block` `[dim, samples]`, and returns it.
pub(crate) fn centre(block: &mut DMatrix<f64>) -> DVector<f64> {
    let mean = block.column_mean();
    for mut sample in block.column_iter_mut() {
        sample -= &mean;
    }
    mean
}

/// Adds the scatter of centred samples: one matrix product, `[dim, samples] x [samples, dim]`.
pub(crate) fn add_scatter(scatter: &mut Scatter, centred: &DMatrix<f64>) {
    scatter.gemm(1.0, centred, &centred.transpose(), 1.0);
}
