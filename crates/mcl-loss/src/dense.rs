//! MCL by tensor operations: the terms of some views, and the whole loss as one `[2N, 2N]` matrix of all pairs.

use burn::tensor::{Bool, Tensor};

use crate::{
    batch::Batch,
    ccm,
    formulation::Formulation,
    pairs::Pairs,
    parameters::Parameters,
    similarity::Block,
    spa::{expected, sampled},
    terms::MclTerms,
};

/// The loss and its parts.
pub(crate) fn terms(parameters: &Parameters, batch: &Batch) -> MclTerms {
    let block = batch.views.all();
    let pairs = Pairs::new(parameters, &block, &batch.labels);
    let ccm = ccm(parameters, &pairs).mean();
    let mut spa = spa(parameters, batch, &block, &pairs).mean();
    if drops_spa(parameters, batch) {
        spa = spa * complete(pairs.candidates(parameters.formulation), &pairs.log_others);
    }
    MclTerms::new(ccm, spa, parameters.spa_weight)
}

/// CCM of the rows of `pairs`, `[rows, 1]`.
pub(crate) fn ccm(parameters: &Parameters, pairs: &Pairs) -> Tensor<2> {
    ccm::per_view(parameters, &pairs.log_others, &pairs.siblings)
}

/// SPA of the rows of `pairs`, `[rows, 1]`; see [`drops_spa`].
pub(crate) fn spa(parameters: &Parameters, batch: &Batch, block: &Block, pairs: &Pairs) -> Tensor<2> {
    match &batch.positives {
        Some(positives) => {
            let positives = positives.narrow(&block.range);
            let attraction = parameters.floored(block.to_partners(&positives.index));
            let labels = [&pairs.rows, &pairs.columns];
            sampled::per_view(parameters, &pairs.log_others, labels, &positives, attraction)
        }
        None => expected::per_view(parameters, pairs),
    }
}

/// Whether a view without a candidate drops SPA from the loss: in the expectation of the released code.
pub(crate) fn drops_spa(parameters: &Parameters, batch: &Batch) -> bool {
    parameters.formulation == Formulation::Released && batch.positives.is_none()
}

/// 0 if a row has no candidate, else 1, `[1]`; a constant of the type of `like`, `[rows, _]`.
pub(crate) fn complete(candidates: Tensor<2, Bool>, like: &Tensor<2>) -> Tensor<1> {
    let missing = candidates.any_dim(1).bool_not();
    like.clone().inner().narrow(1, 0, 1).ones_like().mask_fill(missing, 0.0).min()
}
