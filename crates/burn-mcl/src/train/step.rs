//! One step of gradient descent.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use mcl_data::batch::HostBatch;
use mcl_model::Network;

use super::clip::clip;
use super::{HostLabels, LossInput, TrainingLoss};

/// What a step found, before it changed the weights.
pub(super) struct Found {
    pub(super) loss: f32,
    /// See [`StepReport::concentration`](super::StepReport::concentration).
    pub(super) concentration: f32,
    /// The parts of the loss by name.
    pub(super) parts: Vec<(&'static str, f32)>,
}

/// The loss, the optimizer, and what else a step needs.
pub(super) struct Stepper<'a> {
    pub(super) loss: Box<dyn TrainingLoss + 'a>,
    pub(super) optimizer: ModuleOptimizer,
    /// Number of auxiliary classes.
    pub(super) aux_classes: usize,
    /// Largest norm of all gradients together.
    pub(super) clip: Option<f64>,
    /// Seed of what the loss draws.
    pub(super) seed: u64,
    pub(super) device: Device,
}

impl Stepper<'_> {
    /// The network after step number `step` on `batch`, and what was found before it.
    pub(super) fn step<N: Network>(
        &mut self,
        network: N,
        batch: HostBatch,
        step: usize,
        learning_rate: f64,
    ) -> (N, Found) {
        let samples = batch.samples();
        let on_host = HostLabels { class: batch.class.clone(), aux: batch.aux.clone() };
        let batch = batch.to_device(&self.device);
        let embedding = network.forward(batch.images);
        let projections = embedding.projections; // [2 * samples, dim]
        let dim = projections.dims()[1];
        let concentration = concentration(projections.clone().detach());
        let input = LossInput {
            features: embedding.features,
            projections: projections.reshape([samples, 2, dim]),
            logits: embedding.logits,
            class: batch.class,
            aux: batch.aux,
            aux_classes: self.aux_classes,
            on_host,
            seed: self.seed,
            step,
        };
        let value = self.loss.value(&input);
        drop(input);

        let (names, parts): (Vec<_>, Vec<_>) = value.parts.into_iter().unzip();
        let numbers = [vec![value.total.clone(), concentration], parts].concat();
        let numbers = Tensor::cat(numbers, 0).detach();
        let mut gradients = GradientsParams::from_grads(value.total.backward(), &network);
        if let Some(limit) = self.clip {
            gradients = clip(gradients, &network, limit);
        }
        let network = self.optimizer.step(learning_rate, network, gradients);
        // The only wait for the device in a step.
        let numbers: Vec<f32> = numbers.into_data().iter::<f32>().collect();
        let parts = names.into_iter().zip(numbers[2..].iter().copied()).collect();
        (network, Found { loss: numbers[0], concentration: numbers[1], parts })
    }
}

/// Whether all weights and running statistics of a network are numbers.
pub(super) fn is_finite(network: &impl Module) -> bool {
    struct AllFinite(bool);
    impl ModuleVisitor for AllFinite {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            // A sum: it carries NaN along on every backend. What overflows it is as good as infinite.
            self.0 &= param.val().abs().sum().into_scalar::<f32>().is_finite();
        }
    }
    let mut all = AllFinite(true);
    network.visit(&mut all);
    all.0
}

/// Length of the mean of the rows of `projections`, each scaled to length 1: [n, dim] -> [1].
fn concentration(projections: Tensor<2>) -> Tensor<1> {
    let norm = projections.clone().square().sum_dim(1).sqrt().clamp_min(f32::MIN_POSITIVE); // [n, 1]
    (projections / norm).mean_dim(0).square().sum().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concentration_is_one_at_a_point_and_zero_for_opposites() {
        let of = |rows: [[f32; 2]; 2]| {
            concentration(Tensor::from_floats(rows, &Device::flex())).into_scalar::<f32>()
        };
        assert!((of([[3.0, 4.0], [0.3, 0.4]]) - 1.0).abs() < 1e-6);
        assert!(of([[3.0, 4.0], [-0.3, -0.4]]).abs() < 1e-6);
        assert!((of([[1.0, 0.0], [0.0, 2.0]]) - 0.5f32.sqrt()).abs() < 1e-6);
        assert_eq!(of([[0.0, 0.0], [0.0, 0.0]]), 0.0);
    }
}
