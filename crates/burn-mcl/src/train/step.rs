//! One step of gradient descent.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use mcl_data::batch::HostBatch;
use mcl_model::{Embedding, Network};

use super::clip::clip;
use super::draws::{Pass, seed_device};
use super::{HostLabels, LossInput, LossValue, TrainError, TrainingLoss};

/// The figures of a step, computed with the weights from before the step.
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
    /// Number of classes.
    pub(super) classes: usize,
    /// Number of auxiliary classes.
    pub(super) aux_classes: usize,
    /// Largest norm of all gradients together.
    pub(super) clip: Option<f64>,
    /// Seed of what the network and the loss draw.
    pub(super) seed: u64,
    pub(super) device: Device,
}

impl Stepper<'_> {
    /// Returns the network after one step on `batch`, with the outliers that the loss asks for, and the figures from before the
    /// step. `step` steps are done already.
    ///
    /// # Errors
    ///
    /// [`TrainError::LossShape`] when the loss or a part of it is not of shape [1],
    /// [`TrainError::NothingToTrain`] when no parameter of the network gets a gradient,
    /// [`TrainError::Classifier`] when the loss needs other logits than the network gives.
    pub(super) fn step<N: Network>(
        &mut self,
        network: N,
        batch: HostBatch,
        outliers: Option<HostBatch>,
        step: usize,
        learning_rate: f64,
    ) -> Result<(N, Found), TrainError> {
        seed_device(&self.device, self.seed, Pass::Step(step));
        let samples = batch.samples();
        let on_host = HostLabels { class: batch.class.clone(), aux: batch.aux.clone() };
        let batch = batch.to_device(&self.device);
        let (embedding, outlier_logits) = match outliers {
            None => (network.forward(batch.images), None),
            Some(outliers) => with_outliers(&network, batch.images, outliers.to_device(&self.device).images),
        };
        let projections = embedding.projections; // [2 * samples, dim]
        let dim = projections.dims()[1];
        let concentration = concentration(projections.clone().detach());
        let input = LossInput {
            features: embedding.features,
            projections: projections.reshape([samples, 2, dim]),
            logits: embedding.logits,
            outlier_logits,
            class: batch.class,
            aux: batch.aux,
            aux_classes: self.aux_classes,
            on_host,
            seed: self.seed,
            step,
        };
        let given = input.logits.as_ref().map(|logits| logits.dims()[1]);
        if let Some(needed) = self.loss.logits(self.classes, self.aux_classes)
            && given != Some(needed)
        {
            return Err(TrainError::Classifier { needed, given: given.unwrap_or(0) });
        }
        let value = self.loss.value(&input);
        drop(input);
        check_shapes(&value)?;
        if !value.total.is_tracked() {
            return Err(TrainError::NothingToTrain);
        }

        let (names, parts): (Vec<_>, Vec<_>) = value.parts.into_iter().unzip();
        let numbers = [vec![value.total.clone(), concentration], parts].concat();
        let numbers = Tensor::cat(numbers, 0).detach();
        let mut gradients = GradientsParams::from_grads(value.total.backward(), &network);
        if gradients.is_empty() {
            return Err(TrainError::NothingToTrain);
        }
        if let Some(limit) = self.clip {
            gradients = clip(gradients, &network, limit);
        }
        let network = self.optimizer.step(learning_rate, network, gradients);
        // The only wait for the device in a step.
        let numbers: Vec<f32> = numbers.into_data().iter::<f32>().collect();
        let parts = names.into_iter().zip(numbers[2..].iter().copied()).collect();
        let concentration = if self.loss.shapes_projections() { numbers[1] } else { f32::NAN };
        Ok((network, Found { loss: numbers[0], concentration, parts }))
    }
}

/// Runs the network on images and outliers in one pass: both are in the statistics of the batch norms. Returns the embedding of the
/// images and the logits of the outliers.
fn with_outliers<N: Network>(
    network: &N,
    images: Tensor<4>,
    outliers: Tensor<4>,
) -> (Embedding, Option<Tensor<2>>) {
    let (count, others) = (images.dims()[0], outliers.dims()[0]);
    let mut embedding = network.forward(Tensor::cat(vec![images, outliers], 0));
    let of_outliers = embedding.logits.clone().map(|logits| logits.narrow(0, count, others));
    embedding.features = embedding.features.narrow(0, 0, count);
    embedding.projections = embedding.projections.narrow(0, 0, count);
    embedding.logits = embedding.logits.map(|logits| logits.narrow(0, 0, count));
    (embedding, of_outliers)
}

/// Refuses a loss of which the total or a part is not of shape [1].
fn check_shapes(value: &LossValue) -> Result<(), TrainError> {
    let parts = value.parts.iter().map(|(name, part)| (*name, part));
    for (part, found) in [("total", &value.total)].into_iter().chain(parts) {
        if found.dims() != [1] {
            return Err(TrainError::LossShape { part, shape: found.dims().to_vec() });
        }
    }
    Ok(())
}

/// Whether a network has a parameter that is trained.
pub(super) fn is_trainable(network: &impl Module) -> bool {
    struct AnyTrained(bool);
    impl ModuleVisitor for AnyTrained {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.is_require_grad();
        }
    }
    let mut any = AnyTrained(false);
    network.visit(&mut any);
    any.0
}

/// Whether all weights and running statistics of a network are finite.
pub(super) fn is_finite(network: &impl Module) -> bool {
    struct AllFinite(bool);
    impl ModuleVisitor for AllFinite {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            // The sum of NaN and anything is NaN on every backend. Weights whose sum overflows count as
            // infinite.
            self.0 &= param.val().abs().sum().into_scalar::<f32>().is_finite();
        }
    }
    let mut all = AllFinite(true);
    network.visit(&mut all);
    all.0
}

/// Returns the length of the mean of the rows of `projections` after each row is scaled to length 1: [n, dim]
/// -> [1].
fn concentration(projections: Tensor<2>) -> Tensor<1> {
    let norm = projections.clone().square().sum_dim(1).sqrt().clamp_min(f32::MIN_POSITIVE); // [n, 1]
    (projections / norm).mean_dim(0).square().sum().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_another_shape_is_named() {
        let one = || Tensor::<1>::zeros([1], &Device::flex());
        let two = || Tensor::<1>::zeros([2], &Device::flex());
        assert!(check_shapes(&LossValue::new(one()).with_part("size", one())).is_ok());
        let cases = [
            (LossValue::new(two()), "total"),
            (LossValue::new(one()).with_part("size", one()).with_part("spread", two()), "spread"),
        ];
        for (value, name) in cases {
            match check_shapes(&value) {
                Err(TrainError::LossShape { part, shape }) => assert_eq!((part, shape), (name, vec![2])),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

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
