//! SPA with one given positive per view (Eq. 7-9).

use burn::tensor::Tensor;

use super::released;
use crate::{
    formulation::Formulation, labels::ViewLabels, mask::PairLabels, parameters::Parameters,
    positives::Positives,
};

/// The terms of some views, the rows, `[rows, 1]`.
///
/// `log_others` `[rows, 1]` is the logarithm of the sum over other images; then come the labels of the rows
/// and of all views; `positives` are those of the rows, and `similarity` `[rows, 1]` the similarities to
/// them, as the formulation has them.
pub(crate) fn per_view(
    parameters: &Parameters,
    log_others: &Tensor<2>,
    [rows, columns]: [&ViewLabels; 2],
    positives: &Positives,
    similarity: Tensor<2>,
) -> Tensor<2> {
    let similarity = similarity.mask_fill(positives.missing.clone(), 0.0);
    let log_sum = match parameters.formulation {
        Formulation::Paper => log_others.clone(),
        Formulation::Released => {
            let mask = PairLabels::paired(rows, &columns.select(&positives.index));
            let mask = mask.mask(parameters.mask_weights(), &similarity);
            released::log_sum(parameters, log_others.clone(), similarity.clone(), mask)
        }
    };
    let attraction = similarity.mul_scalar(1.0 / parameters.temperature);
    (log_sum - attraction).mask_fill(positives.missing.clone(), 0.0)
}
