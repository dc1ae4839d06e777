//! The loss of a run: masked contrastive learning, a loss to compare with, or a loss of one's own.

use burn::tensor::{Int, Tensor};
use mcl_data::batch::Rotations;
use mcl_loss::{
    Attraction, MclLabels, MclLoss, MclLossConfig, NtXentLoss, NtXentLossConfig, SupConLoss, SupConLossConfig,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use super::TrainError;

/// The built-in losses, as plain data. Other losses implement [`TrainingLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Objective {
    /// Masked contrastive learning (Eq. 10-11). The stochastic attraction is the expectation over the draw of
    /// positives. With [`Attraction::Sampled`] the attraction is one draw a step from the seed of the run.
    Mcl(MclLossConfig),
    /// NT-Xent (Eq. 1-2), which uses no labels.
    NtXent(NtXentLossConfig),
    /// Supervised contrastive learning (SupCon). The class of a sample is the pair (class, rotation).
    SupCon(SupConLossConfig),
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

    /// Returns every variant with its defaults.
    pub(super) fn defaults() -> [Self; 3] {
        [
            Self::Mcl(MclLossConfig::new()),
            Self::NtXent(NtXentLossConfig::new()),
            Self::SupCon(SupConLossConfig::new()),
        ]
    }

    /// Returns the warning for training on images of this many classes, if the projections may collapse.
    pub(super) fn caution(&self, classes: usize, rotations: Rotations) -> Option<String> {
        match self {
            Self::Mcl(_) | Self::SupCon(_) if classes == 1 && rotations == Rotations::None => Some(
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
            _ => None,
        }
    }

    pub(super) fn init(&self) -> Result<Box<dyn TrainingLoss>, TrainError> {
        Ok(match self {
            Self::Mcl(config) => Box::new(config.try_init()?),
            Self::NtXent(config) => Box::new(config.try_init()?),
            Self::SupCon(config) => Box::new(config.try_init()?),
        })
    }
}

/// The input of a loss: one training batch. A *sample* is one image in one rotation, with two views.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LossInput {
    /// Features of the views, `[2 * samples, feature_dim]`; the two views of a sample are neighbours.
    pub features: Tensor<2>,
    /// Projections of the views, `[samples, 2, dim]`, not normalised.
    pub projections: Tensor<3>,
    /// Logits of the views, `[2 * samples, classes]`, in the order of the features. `None` for a network
    /// without a classifier.
    pub logits: Option<Tensor<2>>,
    /// Class of each sample, `[samples]`.
    pub class: Tensor<1, Int>,
    /// Auxiliary label of each sample, `[samples]`: its rotation in quarter turns.
    pub aux: Tensor<1, Int>,
    /// Number of auxiliary classes: 4 with rotations, 1 without.
    pub aux_classes: usize,
    /// The same labels on the host. Reading the labels from a GPU would wait for the GPU.
    pub on_host: HostLabels,
    /// Seed of the run.
    pub seed: u64,
    /// Steps done before this one.
    pub step: usize,
}

/// Labels of the samples of a batch, on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostLabels {
    /// Class of each sample.
    pub class: Vec<i64>,
    /// Auxiliary label of each sample.
    pub aux: Vec<i64>,
}

impl LossInput {
    /// Returns a random generator for the draws of a loss. The seed and the step decide the generator, so a
    /// resumed run draws the same numbers as a run that never stopped.
    pub fn generator(&self) -> ChaCha8Rng {
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
        // Batches draw from other generators of the same seed. No batch uses this stream.
        generator.set_stream(u64::MAX - self.step as u64);
        generator
    }

    /// Returns the pair (class, rotation) of each sample as one label, `[samples]`: `class * aux_classes +
    /// aux`.
    pub fn joint_labels(&self) -> Tensor<1, Int> {
        self.class.clone() * self.aux_classes as i64 + self.aux.clone()
    }

    /// Returns the labels for the losses of `mcl-loss`.
    pub fn labels(&self) -> MclLabels {
        MclLabels::new(self.class.clone()).with_aux(self.aux.clone())
    }
}

/// A loss and its parts.
#[derive(Debug, Clone)]
pub struct LossValue {
    /// The number to minimise, `[1]`.
    pub total: Tensor<1>,
    /// Parts for the log by name, each `[1]`. [`StepReport`](super::StepReport) has fields for the parts
    /// `contrastive` and `attraction`. All other parts are shown, and logged for
    /// [`read_loss_parts`](super::read_loss_parts).
    pub parts: Vec<(&'static str, Tensor<1>)>,
}

impl LossValue {
    /// Returns a loss without parts.
    pub fn new(total: Tensor<1>) -> Self {
        Self { total, parts: Vec::new() }
    }

    /// Adds a named part.
    #[must_use]
    pub fn with_part(mut self, name: &'static str, value: Tensor<1>) -> Self {
        self.parts.push((name, value));
        self
    }
}

/// Computes a loss with named parts from features, projections and labels.
///
/// [`MclLoss`], [`NtXentLoss`] and [`SupConLoss`] implement this trait, and so does any function from
/// [`LossInput`] to [`LossValue`]:
///
/// ```
/// use burn_mcl::train::{LossInput, LossValue};
///
/// /// Pulls the two views of a sample together.
/// fn invariance(input: &LossInput) -> LossValue {
///     let [samples, _, dim] = input.projections.dims();
///     let view = |index| input.projections.clone().narrow(1, index, 1).reshape([samples, dim]);
///     LossValue::new((view(0) - view(1)).square().mean())
/// }
/// ```
///
/// Only the network is trained. A loss with weights of its own, such as a classifier of (class, rotation),
/// therefore keeps the weights in the network. The network returns the output of these weights as
/// [`Embedding::logits`](mcl_model::Embedding::logits).
pub trait TrainingLoss {
    /// Returns the loss of a batch. The total and all parts have the shape [1], and the total depends on a
    /// parameter of the network that is trained: other losses end the run with [`TrainError::LossShape`] or
    /// [`TrainError::NothingToTrain`].
    fn value(&self, input: &LossInput) -> LossValue;
}

impl<F: Fn(&LossInput) -> LossValue> TrainingLoss for F {
    fn value(&self, input: &LossInput) -> LossValue {
        self(input)
    }
}

impl TrainingLoss for MclLoss {
    fn value(&self, input: &LossInput) -> LossValue {
        let HostLabels { class, aux } = &input.on_host;
        let positives = (self.attraction() == Attraction::Sampled)
            .then(|| self.sample_positives(class, Some(aux), &mut input.generator()));
        let terms = self.forward_with_parts(input.projections.clone(), &input.labels(), positives.as_deref());
        LossValue::new(terms.total).with_part("contrastive", terms.ccm).with_part("attraction", terms.spa)
    }
}

impl TrainingLoss for NtXentLoss {
    fn value(&self, input: &LossInput) -> LossValue {
        LossValue::new(self.forward(input.projections.clone()))
    }
}

impl TrainingLoss for SupConLoss {
    fn value(&self, input: &LossInput) -> LossValue {
        LossValue::new(self.forward(input.projections.clone(), input.joint_labels()))
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

    #[test]
    fn joint_labels_number_the_pairs() {
        let device = burn::tensor::Device::flex();
        let input = LossInput {
            features: Tensor::zeros([6, 2], &device),
            projections: Tensor::zeros([3, 2, 2], &device),
            logits: None,
            class: Tensor::from_ints([0, 2, 1], &device),
            aux: Tensor::from_ints([3, 0, 1], &device),
            aux_classes: 4,
            on_host: HostLabels { class: vec![0, 2, 1], aux: vec![3, 0, 1] },
            seed: 0,
            step: 0,
        };
        assert_eq!(input.joint_labels().into_data().iter::<i64>().collect::<Vec<_>>(), [3, 8, 5]);
    }
}
