//! What CCM and SPA share: the similarities of pairs of views and the repulsion by other images.

use core::ops::Range;

use burn::tensor::{Bool, Tensor};

use crate::{
    formulation::Formulation,
    labels::ViewLabels,
    log_sum_exp::SumExp,
    mask::{MaskWeights, PairLabels, same_image, same_position},
    mcl::MclLoss,
    similarity::Views,
};

/// Floor of the similarities in the released code.
pub(crate) const RELEASED_FLOOR: f64 = 1e-7;

/// Pairs of some views of a batch, the rows, with all its 2N views, the columns.
#[derive(Debug, Clone)]
pub(crate) struct Pairs {
    /// Similarity of each row to each column, `[rows, 2N]`.
    pub(crate) similarity: Tensor<2>,
    /// Similarity of each row to the other view of its image, `[rows, 1]`.
    pub(crate) siblings: Tensor<2>,
    /// The mask `m`, a constant, `[rows, 2N]`.
    pub(crate) mask: Tensor<2>,
    /// `sum_k exp(m(i, k) sim(i, k))` over the views `k` of other images than that of `i`.
    ///
    /// CCM adds the sibling to this sum, SPA in the paper takes it as it is.
    pub(crate) others: SumExp,
    /// Its logarithm, `[rows, 1]`.
    pub(crate) log_others: Tensor<2>,
    /// Pairs of other images with one label, `[rows, 2N]`.
    same_label: Tensor<2, Bool>,
    pub(crate) rows: ViewLabels,
    pub(crate) columns: ViewLabels,
}

impl Pairs {
    /// The pairs of a range of views; `siblings` are those of all views, `[2N, 1]`, as the formulation has them.
    pub(crate) fn new(
        loss: &MclLoss,
        views: &Views,
        labels: &ViewLabels,
        siblings: &Tensor<2>,
        rows: &Range<usize>,
    ) -> Self {
        let similarity = loss.floored(views.with_all(views.narrow(rows)));
        let siblings = siblings.clone().narrow(0, rows.start, rows.len());
        let (rows, columns) = (labels.narrow(rows), labels.clone());
        let shared = PairLabels::between(&rows, &columns);
        let same_image = same_image(&rows, &columns);
        let mask = shared.mask(loss.mask_weights(), &similarity);
        let others = SumExp::new(similarity.clone() * mask.clone(), same_image.clone(), loss.largest_logit());
        let log_others = others.log();
        let same_label = shared.same_label().bool_and(same_image.bool_not());
        Self { similarity, siblings, mask, others, log_others, same_label, rows, columns }
    }

    /// The views that SPA can draw for each row, `[rows, 2N]`.
    pub(crate) fn positives(&self, formulation: Formulation) -> Tensor<2, Bool> {
        match formulation {
            Formulation::Paper => self.same_label.clone(),
            Formulation::Released => {
                self.same_label.clone().bool_and(same_position(&self.rows, &self.columns))
            }
        }
    }
}

impl MclLoss {
    /// The similarity of the formulation: the released code keeps none below [`RELEASED_FLOOR`].
    pub(crate) fn floored(&self, similarity: Tensor<2>) -> Tensor<2> {
        match self.formulation {
            Formulation::Paper => similarity,
            Formulation::Released => similarity.clamp_min(RELEASED_FLOOR),
        }
    }

    /// Weight of unmasked pairs, `1 / temperature`, which bounds every logit.
    pub(crate) fn largest_logit(&self) -> f64 {
        self.temperature.recip()
    }

    pub(crate) fn mask_weights(&self) -> MaskWeights {
        MaskWeights { same_label: self.alpha, same_class: self.beta, other_class: self.largest_logit() }
    }
}
