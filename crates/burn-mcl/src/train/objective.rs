//! What a run minimises: masked contrastive learning, or one of the losses it is compared with.

use burn::tensor::Tensor;
use mcl_loss::{
    MclLabels, MclLoss, MclLossConfig, NtXentLoss, NtXentLossConfig, SupConLoss, SupConLossConfig,
};
use serde::{Deserialize, Serialize};

use super::TrainError;

/// The loss of a training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Objective {
    /// Masked contrastive learning (Eq. 10-11), with the expectation of its stochastic attraction over the draw of
    /// positives: nothing is sampled, not even under [`Formulation::Released`](mcl_loss::Formulation::Released).
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
    /// MCL with the paper's parameters for images of this many classes.
    ///
    /// With one class there are no views of other classes, which repel at full scale; the other rotations take their
    /// place, with `beta = 1 / temperature`. At the paper's beta, half of that, attraction outweighs repulsion there,
    /// and all projections fall to one point.
    pub fn for_classes(classes: usize) -> Self {
        let config = MclLossConfig::new();
        let beta = if classes == 1 { config.temperature.recip() } else { config.beta };
        Self::Mcl(config.with_beta(beta))
    }

    /// What to say before training on images of this many classes.
    pub(super) fn caution(&self, classes: usize) -> Option<String> {
        match self {
            Self::Mcl(MclLossConfig { temperature, beta, .. })
                if classes == 1 && *beta < temperature.recip() =>
            {
                let full = temperature.recip();
                Some(format!(
                    "with one class only the other rotations repel, and beta = {beta} may be too little to keep the \
                     projections apart; take Objective::for_classes(1), beta = {full}"
                ))
            }
            _ => None,
        }
    }

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
                let terms = loss.forward_with_parts(projections, labels, None);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_class_makes_rotations_repel_at_full_scale() {
        assert_eq!(Objective::for_classes(10), Objective::default());
        assert_eq!(Objective::for_classes(1), Objective::Mcl(MclLossConfig::new().with_beta(5.0)));
        assert!(Objective::for_classes(1).init().is_ok());
        assert!(Objective::default().caution(1).unwrap().contains("beta = 5"));
        for (objective, classes) in [
            (Objective::default(), 2),
            (Objective::for_classes(1), 1),
            (Objective::NtXent(NtXentLossConfig::new()), 1),
        ] {
            assert_eq!(objective.caution(classes), None);
        }
    }
}
