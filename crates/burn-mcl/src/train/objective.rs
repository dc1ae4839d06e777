//! The loss of a run: masked contrastive learning, a loss to compare with, or a loss of one's own.

use mcl_data::batch::Rotations;
use mcl_loss::{MclLossConfig, NtXentLossConfig, SupConLossConfig};
use serde::{Deserialize, Serialize};

use super::class_and_rotation::ClassAndRotationConfig;
use super::cross_entropy::{CrossEntropyConfig, WithCrossEntropy};
use super::outlier_exposure::OutlierExposureConfig;
use super::sum::{Sum, Term};
use super::{TrainError, TrainingLoss};

/// The built-in losses, as plain data. Other losses implement [`TrainingLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Objective {
    /// Masked contrastive learning (Eq. 10-11). The stochastic attraction is the expectation over the draw of
    /// positives. With [`Attraction::Sampled`](mcl_loss::Attraction::Sampled) the attraction is one draw a step from the seed of the run.
    Mcl(MclLossConfig),
    /// NT-Xent (Eq. 1-2), which uses no labels.
    NtXent(NtXentLossConfig),
    /// Supervised contrastive learning (SupCon). The class of a sample is the pair (class, rotation).
    SupCon(SupConLossConfig),
    /// Cross-entropy over the pairs (class, rotation), for a network with a classifier.
    CrossEntropy(CrossEntropyConfig),
    /// MCL on the projections plus `weight` times the cross-entropy over (class, rotation), for a network with a
    /// classifier.
    MclCrossEntropy {
        /// The contrastive loss.
        mcl: MclLossConfig,
        /// The loss of the classifier.
        cross_entropy: CrossEntropyConfig,
        /// Factor of the cross-entropy, above 0.
        weight: f64,
    },
    /// Cross-entropies of a class head and of a rotation head, for a network with a classifier of `classes + rotations` outputs.
    ClassAndRotation(ClassAndRotationConfig),
    /// Cross-entropy, and an even distribution for auxiliary images ([`Trainer::outliers`](super::Trainer::outliers)).
    OutlierExposure(OutlierExposureConfig),
    /// A weighted sum of other losses: NT-Xent beside a cross-entropy, for example.
    Sum(Vec<Term>),
}

impl Default for Objective {
    fn default() -> Self {
        Self::Mcl(MclLossConfig::new())
    }
}

impl Objective {
    /// Returns MCL with the paper's parameters for images of this many classes.
    ///
    /// Views of other classes repel at full scale. With one class there are no such views, so `beta = 1 /
    /// temperature` lets the other rotations repel at full scale. The paper's beta is half as large: with one
    /// class attraction then outweighs repulsion, and the projections collapse.
    pub fn for_classes(classes: usize) -> Self {
        let config = MclLossConfig::new();
        let beta = if classes == 1 { config.temperature.recip() } else { config.beta };
        Self::Mcl(config.with_beta(beta))
    }

    /// Returns the name of the loss for the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Mcl(_) => "mcl",
            Self::NtXent(_) => "nt_xent",
            Self::SupCon(_) => "sup_con",
            Self::CrossEntropy(_) => "cross_entropy",
            Self::MclCrossEntropy { .. } => "mcl_cross_entropy",
            Self::ClassAndRotation(_) => "class_and_rotation",
            Self::OutlierExposure(_) => "outlier_exposure",
            Self::Sum(_) => "sum",
        }
    }

    /// Returns every variant that has defaults, with its defaults.
    pub(super) fn defaults() -> [Self; 7] {
        [
            Self::Mcl(MclLossConfig::new()),
            Self::NtXent(NtXentLossConfig::new()),
            Self::SupCon(SupConLossConfig::new()),
            Self::CrossEntropy(CrossEntropyConfig::new()),
            Self::MclCrossEntropy {
                mcl: MclLossConfig::new(),
                cross_entropy: CrossEntropyConfig::new(),
                weight: 1.0,
            },
            Self::ClassAndRotation(ClassAndRotationConfig::new()),
            Self::OutlierExposure(OutlierExposureConfig::new()),
        ]
    }

    /// Returns the warning for training on images of this many classes, if the projections may collapse.
    pub(super) fn caution(&self, classes: usize, rotations: Rotations) -> Option<String> {
        match self {
            Self::Mcl(_) | Self::SupCon(_) if classes == 1 && rotations.aux_classes() == 1 => Some(
                "with one class and no rotations no views repel each other, and all projections will collapse; train with \
                 rotations"
                    .into(),
            ),
            Self::Mcl(MclLossConfig { temperature, beta, .. })
                if classes == 1 && *beta < temperature.recip() =>
            {
                let full = temperature.recip();
                Some(format!(
                    "with one class only the other rotations repel, and at beta = {beta} the projections may collapse; \
                     take Objective::for_classes(1), beta = {full}"
                ))
            }
            Self::ClassAndRotation(_) if rotations.aux_classes() == 1 => Some(
                "without rotations the rotation head has nothing to tell apart; train with rotations, or by the cross-entropy \
                 alone"
                    .into(),
            ),
            Self::Sum(terms) => terms.iter().find_map(|term| term.objective.caution(classes, rotations)),
            _ => None,
        }
    }

    pub(super) fn init(&self) -> Result<Box<dyn TrainingLoss>, TrainError> {
        Ok(match self {
            Self::Mcl(config) => Box::new(config.try_init()?),
            Self::NtXent(config) => Box::new(config.try_init()?),
            Self::SupCon(config) => Box::new(config.try_init()?),
            Self::CrossEntropy(config) => Box::new(config.try_init()?),
            Self::MclCrossEntropy { mcl, cross_entropy, weight } => {
                let weight = TrainError::unless_positive("objective.weight", *weight)?;
                let (contrastive, cross_entropy) = (mcl.try_init()?, cross_entropy.try_init()?);
                Box::new(WithCrossEntropy { contrastive, cross_entropy, weight })
            }
            Self::ClassAndRotation(config) => Box::new(config.try_init()?),
            Self::OutlierExposure(config) => Box::new(config.try_init()?),
            Self::Sum(terms) => Box::new(Sum::try_new(terms)?),
        })
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
        assert!(Objective::default().caution(1, Rotations::All).unwrap().contains("beta = 5"));
        assert!(Objective::for_classes(1).caution(1, Rotations::None).unwrap().contains("no rotations"));
        for (objective, classes) in [
            (Objective::default(), 2),
            (Objective::for_classes(1), 1),
            (Objective::NtXent(NtXentLossConfig::new()), 1),
        ] {
            assert_eq!(objective.caution(classes, Rotations::All), None);
        }
    }
}
