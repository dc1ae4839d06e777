//! The expectation of SPA over the draw of the positives (Eq. 9 in closed form).

use burn::tensor::Tensor;

use super::released;
use crate::{formulation::Formulation, pairs::Pairs, parameters::Parameters};

/// The expected terms of the rows of `pairs`, `[rows, 1]`; 0 for a row that has no positive to draw.
pub(crate) fn per_view(parameters: &Parameters, pairs: &Pairs) -> Tensor<2> {
    let candidates = pairs.candidates(parameters.formulation);
    let marks = pairs.mask.zeros_like().mask_fill(candidates.clone(), 1.0);
    // [rows, 2N] -> [rows, 1]
    let count = marks.clone().sum_dim(1);
    let missing = count.clone().lower_scalar(0.5);
    let count = count.clamp_min(1.0);
    let attraction = 1.0 / parameters.temperature;
    match parameters.formulation {
        // The denominator does not depend on the draw: the mean of the similarities is enough.
        Formulation::Paper => {
            let mean = (pairs.similarity.clone() * marks).sum_dim(1) / count;
            (pairs.log_others.clone() - mean.mul_scalar(attraction)).mask_fill(missing, 0.0)
        }
        Formulation::Released => {
            // Outside of the candidates any value does; 0 keeps the denominator above 1.
            let similarity = pairs.similarity.clone().mask_fill(candidates.bool_not(), 0.0);
            let log_others = pairs.log_others.clone().expand(similarity.dims());
            let mask = pairs.mask.full_like(parameters.alpha);
            let log_sum = released::log_sum(parameters, log_others, similarity.clone(), mask);
            ((log_sum - similarity.mul_scalar(attraction)) * marks).sum_dim(1) / count
        }
    }
}
