//! The expectation of SPA over the draw of the positives (Eq. 9 in closed form).

use burn::tensor::Tensor;

use super::released;
use crate::{formulation::Formulation, pairs::Pairs, parameters::Parameters};

/// The expected terms of the rows of `pairs`, `[rows, 1]`; 0 for a row that has no candidate.
///
/// # Panics
///
/// If `pairs` have no candidates.
pub(crate) fn per_view(parameters: &Parameters, pairs: &Pairs) -> Tensor<2> {
    let candidates = pairs.candidates.as_ref().expect("an expectation is over candidates");
    let towards = 1.0 / parameters.temperature;
    match parameters.formulation {
        // The denominator does not depend on the draw: the mean of the similarities is enough.
        Formulation::Paper => (pairs.log_sum.clone() - candidates.attraction.clone().mul_scalar(towards))
            .mask_fill(candidates.missing.clone(), 0.0),
        Formulation::Released => {
            // Outside of the candidates any value does; 0 keeps the denominator above 1.
            let similarity = pairs.similarity.clone() * candidates.marks.clone();
            let log_others = pairs.log_sum.clone().expand(similarity.dims());
            let mask = candidates.marks.full_like(parameters.alpha);
            let log_sum = released::log_sum(parameters, log_others, similarity.clone(), mask);
            let terms = (log_sum - similarity.mul_scalar(towards)) * candidates.marks.clone();
            terms.sum_dim(1) / candidates.count.clone()
        }
    }
}
