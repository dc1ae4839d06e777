//! What CCM and SPA share: the similarities of pairs of views and the repulsion by other images.

use burn::tensor::{Bool, Tensor};

use crate::{
    formulation::Formulation,
    labels::ViewLabels,
    log_sum_exp::SumExp,
    mask::{PairLabels, same_image, same_position},
    parameters::Parameters,
    similarity::Block,
};

/// Pairs of some views of a batch, the rows, with all its 2N views, the columns.
#[derive(Debug, Clone)]
pub(crate) struct Pairs {
    /// Similarity of each row to each column, `[rows, 2N]`.
    pub(crate) similarity: Tensor<2>,
    /// Similarity of each row to the other view of its image, `[rows, 1]`.
    pub(crate) siblings: Tensor<2>,
    /// The mask `m`, a constant, `[rows, 2N]`.
    pub(crate) mask: Tensor<2>,
    /// Logarithm of `sum_k exp(m(i, k) sim(i, k))` over the views `k` of other images than that of `i`, `[rows, 1]`.
    ///
    /// CCM adds the sibling to this sum, SPA in the paper takes it as it is.
    pub(crate) log_others: Tensor<2>,
    shared: PairLabels,
    same_image: Tensor<2, Bool>,
    pub(crate) rows: ViewLabels,
    pub(crate) columns: ViewLabels,
}

impl Pairs {
    /// The pairs of the rows of a block; `labels` are those of all views.
    pub(crate) fn new(parameters: &Parameters, block: &Block, labels: &ViewLabels) -> Self {
        let similarity = parameters.floored(block.pairs());
        let siblings = parameters.floored(block.siblings());
        let (rows, columns) = (labels.narrow(&block.range), labels.clone());
        let shared = PairLabels::between(&rows, &columns);
        let same_image = same_image(&rows, &columns);
        let mask = shared.mask(parameters.mask_weights(), &similarity);
        let logits = similarity.clone() * mask.clone();
        let log_others = SumExp::new(logits, same_image.clone(), parameters.largest_logit()).log();
        Self { similarity, siblings, mask, log_others, shared, same_image, rows, columns }
    }

    /// The views that SPA can draw for each row, `[rows, 2N]`.
    pub(crate) fn candidates(&self, formulation: Formulation) -> Tensor<2, Bool> {
        candidates(formulation, [&self.rows, &self.columns], &self.shared, self.same_image.clone())
    }
}

/// The views that SPA can draw for each row, from labels alone, `[rows, 2N]`.
pub(crate) fn candidates_by_label(
    formulation: Formulation,
    [rows, columns]: [&ViewLabels; 2],
) -> Tensor<2, Bool> {
    let shared = PairLabels::between(rows, columns);
    candidates(formulation, [rows, columns], &shared, same_image(rows, columns))
}

fn candidates(
    formulation: Formulation,
    [rows, columns]: [&ViewLabels; 2],
    shared: &PairLabels,
    same_image: Tensor<2, Bool>,
) -> Tensor<2, Bool> {
    let candidates = shared.same_label().bool_and(same_image.bool_not());
    match formulation {
        Formulation::Paper => candidates,
        Formulation::Released => candidates.bool_and(same_position(rows, columns)),
    }
}
