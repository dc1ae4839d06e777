//! What CCM and SPA share: the similarities of all pairs of views and the repulsion by other images.

use burn::tensor::{Bool, Tensor};

use crate::{
    formulation::Formulation,
    labels::ViewLabels,
    log_sum_exp::log_sum_exp,
    mask::{MaskWeights, PairLabels, same_image},
    mcl::MclLoss,
    similarity::Views,
};

/// Floor of the similarities in the released code.
const RELEASED_FLOOR: f64 = 1e-7;

/// The pairs of one batch of 2N views.
#[derive(Debug, Clone)]
pub(crate) struct Pairs {
    /// Similarity of every view to every view, `[2N, 2N]`.
    pub(crate) similarity: Tensor<2>,
    /// Similarity of each view to the other view of its image, `[2N, 1]`.
    pub(crate) siblings: Tensor<2>,
    /// Who shares a label with whom, `[2N, 2N]`.
    pub(crate) labels: PairLabels,
    /// Pairs within an image, `[2N, 2N]`.
    pub(crate) same_image: Tensor<2, Bool>,
    /// `log sum_k exp(m(i, k) sim(i, k))` over the views `k` of other images than that of `i`, `[2N, 1]`.
    ///
    /// CCM adds the sibling to this sum, SPA in the paper takes it as it is.
    pub(crate) log_others: Tensor<2>,
}

impl Pairs {
    pub(crate) fn new(loss: &MclLoss, views: &Views, labels: &ViewLabels) -> Self {
        let similarity = loss.floored(views.all_pairs());
        let siblings = loss.floored(views.siblings());
        let labels = PairLabels::all_pairs(labels);
        let same_image = same_image(&similarity);
        let mask = labels.mask(loss.mask_weights(), &similarity);
        let log_others = log_sum_exp(similarity.clone() * mask, same_image.clone(), loss.largest_logit());
        Self { similarity, siblings, labels, same_image, log_others }
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
