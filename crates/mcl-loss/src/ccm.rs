//! Class-conditional masked contrastive loss (CCM, Eq. 3-6; with auxiliary labels Eq. 11).
//!
//! ```text
//! CCM = mean_i -log( exp(sim(i, j) / temperature) / sum_{k != i} exp(m(i, k) sim(i, k)) )
//! ```
//!
//! over all 2N views `i`, where `j` is the other view of the image of `i` and `m` the mask. In the paper `j`
//! itself has the weight `alpha` in the sum, for it has the label of `i`; in the released code `1 / temperature`.

use burn::tensor::Tensor;

use crate::{formulation::Formulation, log_sum_exp::log_add_exp, mcl::MclLoss, pairs::Pairs};

/// The terms of the mean, `[rows, 1]`.
///
/// `log_others` is the logarithm of the sum over other images, `siblings` the similarity to the sibling, both
/// `[rows, 1]`.
pub(crate) fn per_view(loss: &MclLoss, log_others: &Tensor<2>, siblings: &Tensor<2>) -> Tensor<2> {
    // Times the inverse, here and in the other losses: the gradient of Burn's division by a scalar is rounded to f32.
    log_sum(loss, log_others, siblings) - siblings.clone().mul_scalar(1.0 / loss.temperature)
}

/// Derivatives of the term of each row, `[rows, 1]` each.
pub(crate) struct CcmSlopes {
    /// Towards `log_others`.
    pub(crate) others: Tensor<2>,
    /// Towards the similarity to the sibling.
    pub(crate) siblings: Tensor<2>,
}

/// The derivatives of [`per_view`].
pub(crate) fn slopes(loss: &MclLoss, pairs: &Pairs) -> CcmSlopes {
    let others = (pairs.log_others.clone() - log_sum(loss, &pairs.log_others, &pairs.siblings)).exp();
    let siblings = others.clone().neg().add_scalar(1.0).mul_scalar(sibling_weight(loss));
    CcmSlopes { others, siblings: siblings.sub_scalar(loss.temperature.recip()) }
}

/// Logarithm of the denominator, `[rows, 1]`.
fn log_sum(loss: &MclLoss, log_others: &Tensor<2>, siblings: &Tensor<2>) -> Tensor<2> {
    log_add_exp(log_others.clone(), siblings.clone().mul_scalar(sibling_weight(loss)))
}

fn sibling_weight(loss: &MclLoss) -> f64 {
    match loss.formulation {
        Formulation::Paper => loss.alpha,
        Formulation::Released => loss.largest_logit(),
    }
}
