//! The denominator of SPA in the released code: it depends on the positive.
//!
//! ```text
//! sum_{k not in image of i} exp(m(i, k) sim(i, k)) + exp(0) - exp(m(i, p) sim(i, p)) + exp(sim(i, p) / temperature)
//! ```
//!
//! The sibling of `i` stays in the sum as `exp(0)`, and the positive `p` has the weight `1 / temperature`.

use burn::tensor::Tensor;

use crate::mcl::MclLoss;

/// The denominators of some pairs `(i, p)`: all tensors have the shape of those pairs.
#[derive(Debug, Clone)]
pub(super) struct ReleasedSum {
    log_others: Tensor<2>,
    similarity: Tensor<2>,
    mask: Tensor<2>,
    /// Logarithm of the denominator.
    pub(super) log: Tensor<2>,
}

impl ReleasedSum {
    /// From the sum over other images of `i`, `sim(i, p)` and `m(i, p)`.
    pub(super) fn new(loss: &MclLoss, log_others: Tensor<2>, similarity: Tensor<2>, mask: Tensor<2>) -> Self {
        let attracted = similarity.clone().mul_scalar(1.0 / loss.temperature);
        let largest = log_others.clone().inner().max_pair(attracted.clone().inner()).clamp_min(0.0);
        // The third term removes what the first holds of the positive: their difference is not negative, and
        // one of the remaining terms is exp(0), so the logarithm is safe.
        let sum = (log_others.clone() - largest.clone()).exp() + largest.clone().neg().exp()
            - (similarity.clone() * mask.clone() - largest.clone()).exp()
            + (attracted - largest.clone()).exp();
        Self { log_others, similarity, mask, log: sum.log() + largest }
    }

    /// Derivative of the logarithm towards that of the sum over other images.
    pub(super) fn slope_of_others(&self) -> Tensor<2> {
        (self.log_others.clone() - self.log.clone()).exp()
    }

    /// Derivative of the logarithm towards `sim(i, p)`, other than through the sum over other images.
    pub(super) fn slope_of_positive(&self, loss: &MclLoss) -> Tensor<2> {
        let attracted = self.similarity.clone().mul_scalar(1.0 / loss.temperature) - self.log.clone();
        let removed = self.similarity.clone() * self.mask.clone() - self.log.clone();
        attracted.exp().mul_scalar(1.0 / loss.temperature) - removed.exp() * self.mask.clone()
    }
}
