//! Class-conditional masked contrastive loss (CCM, Eq. 3-6; with auxiliary labels Eq. 11).
//!
//! ```text
//! CCM = mean_i -log( exp(sim(i, j) / temperature) / sum_{k != i} exp(m(i, k) sim(i, k)) )
//! ```
//!
//! over all 2N views `i`, where `j` is the other view of the image of `i` and `m` the mask. In the paper `j`
//! itself has the weight `alpha` in the sum, for it has the label of `i`; in the released code `1 /
//! temperature`.

use burn::tensor::Tensor;

use crate::{formulation::Formulation, log_sum_exp::log_add_exp, parameters::Parameters};

/// The terms of the mean, `[rows, 1]`.
///
/// `log_others` is the logarithm of the sum over other images, `siblings` the similarity to the sibling, both
/// `[rows, 1]`.
pub(crate) fn per_view(parameters: &Parameters, log_others: &Tensor<2>, siblings: &Tensor<2>) -> Tensor<2> {
    let sibling_weight = match parameters.formulation {
        Formulation::Paper => parameters.alpha,
        Formulation::Released => parameters.largest_logit(),
    };
    let log_sum = log_add_exp(log_others.clone(), siblings.clone().mul_scalar(sibling_weight));
    // Times the inverse, here and in the other losses: the gradient of Burn's division by a scalar is rounded
    // to f32.
    log_sum - siblings.clone().mul_scalar(1.0 / parameters.temperature)
}
