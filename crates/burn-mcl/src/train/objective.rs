//! What a run minimises: masked contrastive learning, or one of the losses it is compared with.

use burn::tensor::Tensor;
use mcl_loss::{
    MclLabels, MclLoss, MclLossConfig, NtXentLoss, NtXentLossConfig, SupConLoss, SupConLossConfig,
};
use serde::{Deserialize, Serialize};

use super::TrainError;

/// The loss of a training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Objective {
    /// Masked contrastive learning (Eq. 10-11).
    Mcl(MclLossConfig),
    /// Plain NT-Xent (Eq. 1-2), which sees no labels.
    NtXent(NtXentLossConfig),
    /// Supervised contrastive learning; its class is the pair (class, rotation).
    SupCon(SupConLossConfig),
}

impl Default for Objective {
    fn default() -> Self {
        Self::Mcl(MclLossConfig::new())
    }
}

impl Objective {
    pub(super) fn init(&self) -> Result<Loss, TrainError> {
        Ok(match self {
            Self::Mcl(config) => Loss::Mcl(config.try_init()?),
            Self::NtXent(config) => Loss::NtXent(config.try_init()?),
            Self::SupCon(config) => Loss::SupCon(config.try_init()?),
        })
    }
}

pub(super) enum Loss {
    Mcl(MclLoss),
    NtXent(NtXentLoss),
    SupCon(SupConLoss),
}

/// The loss to descend, and its parts (contrastive, attraction) for the log.
pub(super) struct LossTerms {
    pub(super) total: Tensor<1>,
    pub(super) contrastive: Tensor<1>,
    pub(super) attraction: Option<Tensor<1>>,
}

impl Loss {
    /// Whether the loss has an attraction term.
    pub(super) fn has_attraction(&self) -> bool {
        matches!(self, Self::Mcl(_))
    }

    /// `projections` is [samples, 2, dim].
    pub(super) fn terms(&self, projections: Tensor<3>, labels: &MclLabels, rotations: usize) -> LossTerms {
        match self {
            Self::Mcl(loss) => {
                let terms = loss.terms(projections, labels, None);
                LossTerms { total: terms.total, contrastive: terms.ccm, attraction: Some(terms.spa) }
            }
            Self::NtXent(loss) => LossTerms::single(loss.forward(projections)),
            Self::SupCon(loss) => {
                let class = match &labels.aux {
                    Some(aux) => labels.class.clone() * rotations as i64 + aux.clone(),
                    None => labels.class.clone(),
                };
                LossTerms::single(loss.forward(projections, class))
            }
        }
    }
}

impl LossTerms {
    fn single(loss: Tensor<1>) -> Self {
        Self { total: loss.clone(), contrastive: loss, attraction: None }
    }
}
