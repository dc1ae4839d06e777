//! The denominator of SPA in the released code: it depends on the positive.
//!
//! ```text
//! sum_{k not in image of i} exp(m(i, k) sim(i, k)) + exp(0) - exp(m(i, p) sim(i, p)) + exp(sim(i, p) / temperature)
//! ```
//!
//! The sibling of `i` stays in the sum as `exp(0)`, and the positive `p` has the weight `1 / temperature`.

use burn::tensor::Tensor;

use crate::parameters::Parameters;

/// The logarithm of the denominators of some pairs `(i, p)`, from the sum over other images of `i`, `sim(i,
/// p)` and `m(i, p)`: all tensors have the shape of those pairs.
pub(super) fn log_sum(
    parameters: &Parameters,
    log_others: Tensor<2>,
    similarity: Tensor<2>,
    mask: Tensor<2>,
) -> Tensor<2> {
    let attracted = similarity.clone().mul_scalar(1.0 / parameters.temperature);
    let largest = log_others.clone().inner().max_pair(attracted.clone().inner()).clamp_min(0.0);
    // The third term removes what the first holds of the positive: their difference is not negative, and
    // one of the remaining terms is exp(0), so the logarithm is safe.
    let sum = (log_others - largest.clone()).exp() + largest.clone().neg().exp()
        - (similarity * mask - largest.clone()).exp()
        + (attracted - largest.clone()).exp();
    sum.log() + largest
}
