//! The seam for losses: what a loss sees of a batch, and what it returns.

use burn::tensor::{Int, Tensor};
use mcl_loss::{Attraction, MclLabels, MclLoss, NtXentLoss, SupConLoss};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

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
    /// Logits of the views of the [outliers](super::Trainer::outliers), `[outlier views, classes]`. `None` when the loss asks for
    /// no outliers ([`TrainingLoss::needs_outliers`]).
    pub outlier_logits: Option<Tensor<2>>,
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
    /// Returns the loss of a batch. The total and all parts have the shape `[1]`, and the total depends on a
    /// parameter of the network that is trained: other losses end the run with [`TrainError::LossShape`](super::TrainError::LossShape) or
    /// [`TrainError::NothingToTrain`](super::TrainError::NothingToTrain).
    fn value(&self, input: &LossInput) -> LossValue;

    /// The number of logits that the loss needs of a network trained on this many classes and auxiliary classes. `None`, the
    /// default, needs none.
    fn logits(&self, classes: usize, aux_classes: usize) -> Option<usize> {
        let _ = (classes, aux_classes);
        None
    }

    /// Whether the loss shapes the projections. A loss on the logits or features alone does not: then the projections stay
    /// close together, and training says nothing about it. Default: true
    fn shapes_projections(&self) -> bool {
        true
    }

    /// Whether the loss reads the logits of outliers. Then each step shows the network as many outliers as images. Default: false
    fn needs_outliers(&self) -> bool {
        false
    }
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
    fn joint_labels_number_the_pairs() {
        let device = burn::tensor::Device::flex();
        let input = LossInput {
            features: Tensor::zeros([6, 2], &device),
            projections: Tensor::zeros([3, 2, 2], &device),
            logits: None,
            outlier_logits: None,
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
