//! The parameters of the masked contrastive loss, after their check, and what follows from them.

use burn::tensor::Tensor;

use crate::{formulation::Formulation, mask::MaskWeights};

/// Floor of the similarities in the released code.
pub(crate) const RELEASED_FLOOR: f64 = 1e-7;

/// The numbers of an [`MclLossConfig`](crate::MclLossConfig) that the equations use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameters {
    pub(crate) temperature: f64,
    pub(crate) alpha: f64,
    pub(crate) beta: f64,
    pub(crate) spa_weight: f64,
    pub(crate) formulation: Formulation,
}

impl Parameters {
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
