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

/// The mean over all views, `[1]`.
pub(crate) fn ccm(loss: &MclLoss, pairs: &Pairs) -> Tensor<1> {
    let sibling_weight = match loss.formulation {
        Formulation::Paper => loss.alpha,
        Formulation::Released => loss.largest_logit(),
    };
    let log_sum = log_add_exp(pairs.log_others.clone(), pairs.siblings.clone().mul_scalar(sibling_weight));
    (log_sum - pairs.siblings.clone().div_scalar(loss.temperature)).mean()
}
