//! The training loop.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::optim::{
    GradientsParams, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig,
};
use burn::tensor::{Device, Tensor};
use mcl_data::ImageSet;
use mcl_data::batch::{BatchConfig, HostBatch, Position};
use mcl_loss::MclLabels;
use mcl_model::MclModel;

use super::objective::Loss;
use super::run_dir::RunDir;
use super::{ROTATIONS, StepReport, TrainConfig, TrainError};
use crate::progress::Progress;

type Observer<'a> = Box<dyn FnMut(&StepReport) -> ControlFlow<()> + 'a>;

/// Trains a network on labelled images.
///
/// With a [run directory](Self::run_dir) the settings, a log and checkpoints are kept there, and the same call
/// goes on where an earlier one stopped: on the CPU the resumed run ends with the same bits as one that was
/// never stopped.
pub struct Trainer<'a> {
    config: TrainConfig,
    device: Device,
    run_dir: Option<PathBuf>,
    progress: Progress,
    observer: Observer<'a>,
}

impl<'a> Trainer<'a> {
    /// A run with these settings on `device`.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`], [`TrainError::Loss`] or [`TrainError::Model`] when a setting is out of range.
    pub fn new(config: TrainConfig, device: &Device) -> Result<Self, TrainError> {
        config.validate()?;
        config.objective.init()?;
        Ok(Self {
            config,
            device: device.clone().autodiff(),
            run_dir: None,
            progress: Progress::Hidden,
            observer: Box::new(|_| ControlFlow::Continue(())),
        })
    }

    /// Keeps settings, log and checkpoints in `path`, and goes on from the newest checkpoint there.
    #[must_use]
    pub fn run_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.run_dir = Some(path.into());
        self
    }

    /// Shows a progress bar with the parts of the loss, the learning rate and the speed.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Calls `observer` after each step. When it breaks, the run writes a checkpoint and stops with
    /// [`TrainError::Stopped`].
    #[must_use]
    pub fn observer(mut self, observer: impl FnMut(&StepReport) -> ControlFlow<()> + 'a) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// Trains on `images` and returns the network in evaluation mode.
    ///
    /// # Errors
    ///
    /// [`TrainError::Data`] when there are fewer images than a batch takes or they are not square,
    /// [`TrainError::OtherRun`] when the run directory belongs to other settings or images,
    /// [`TrainError::NonFiniteLoss`] when training diverges, [`TrainError::Stopped`] when the observer asked
    /// for it, [`TrainError::Checkpoint`] and [`TrainError::Io`] when the run directory cannot be used.
    pub fn fit(mut self, images: &ImageSet) -> Result<MclModel, TrainError> {
        let count = images.len();
        let config = self.config.clone();
        let loss = config.objective.init()?;
        let batches = BatchConfig::new(config.images_per_batch)
            .with_seed(config.seed)
            .with_augment(config.augment.clone())
            .try_init(Arc::new(images.clone()))?;
        let total_steps = config.total_steps(count);
        let schedule = config.schedule(count);

        let mut model = config.model.try_init_seeded(config.seed, &self.device)?;
        let mut optimizer = optimizer(&config);
        let mut run_dir = self.run_dir.as_ref().map(|path| RunDir::open(path, &config)).transpose()?;
        let mut done = 0;
        if let Some(dir) = &mut run_dir {
            (done, model, optimizer) = dir.load(count, model, optimizer)?;
        }

        let position = |step: usize| Position {
            epoch: step / batches.batches_per_epoch(),
            batch: step % batches.batches_per_epoch(),
        };
        let mut stream = batches.stream(position(done), usize::MAX)?;
        let bar = self.progress.bar("training", total_steps, done);
        while done < total_steps {
            let started = Instant::now();
            let batch = stream.next().expect("the stream has no end")?;
            let waited = started.elapsed();

            let epoch = batch.position.epoch;
            let learning_rate = schedule.learning_rate(done);
            let values;
            (model, values) = step(model, &mut optimizer, &loss, batch, learning_rate, &self.device);
            let [total, contrastive, attraction, concentration] = values;
            if !total.is_finite() {
                let checkpoint = run_dir.as_ref().and_then(RunDir::newest);
                return Err(TrainError::NonFiniteLoss { loss: total, step: done, checkpoint });
            }
            done += 1;

            let seconds = started.elapsed().as_secs_f64();
            let report = StepReport {
                step: done,
                total_steps,
                epoch,
                loss: total,
                contrastive,
                attraction: loss.has_attraction().then_some(attraction),
                concentration,
                learning_rate,
                views_per_second: config.views_per_batch() as f64 / seconds,
                data_wait: waited.as_secs_f64() / seconds,
            };
            bar.set_message(report.to_string());
            bar.inc(1);
            let stop = (self.observer)(&report).is_break();
            if let Some(dir) = &mut run_dir {
                dir.log(&report)?;
                if stop || done == total_steps || done.is_multiple_of(config.checkpoint_every) {
                    dir.save(done, count, &model, &optimizer)?;
                }
            }
            if stop && done < total_steps {
                return Err(TrainError::Stopped { step: done });
            }
        }
        bar.finish_and_clear();
        Ok(model.valid())
    }
}

/// Stochastic gradient descent as the paper uses it. Burn's dampening is not 0 by default; the paper's is.
fn optimizer(config: &TrainConfig) -> ModuleOptimizer {
    let momentum = MomentumConfig::new()
        .with_momentum(config.momentum)
        .with_dampening(0.0)
        .with_nesterov(config.nesterov);
    let mut sgd = SgdConfig::new();
    if config.momentum > 0.0 {
        sgd = sgd.with_momentum(Some(momentum));
    }
    if config.weight_decay > 0.0 {
        sgd = sgd.with_weight_decay(Some(WeightDecayConfig::new(config.weight_decay as f32)));
    }
    sgd.init()
}

/// One step of gradient descent: the network after it, and (loss, contrastive, attraction, concentration) before it.
fn step(
    model: MclModel,
    optimizer: &mut ModuleOptimizer,
    loss: &Loss,
    batch: HostBatch,
    learning_rate: f64,
    device: &Device,
) -> (MclModel, [f32; 4]) {
    let samples = batch.samples();
    let batch = batch.to_device(device);
    let projections = model.forward(batch.images).projections; // [2 * samples, dim]
    let dim = projections.dims()[1];
    let concentration = concentration(projections.clone().detach());
    let labels = MclLabels::new(batch.class).with_aux(batch.aux);
    let terms = loss.terms(projections.reshape([samples, 2, dim]), &labels, ROTATIONS);

    let attraction = terms.attraction.unwrap_or_else(|| terms.contrastive.zeros_like());
    let values =
        Tensor::cat(vec![terms.total.clone(), terms.contrastive, attraction, concentration], 0).detach();
    let gradients = GradientsParams::from_grads(terms.total.backward(), &model);
    let model = optimizer.step(learning_rate, model, gradients);
    // The only wait for the device in a step.
    let mut host = values.into_data().iter::<f32>().collect::<Vec<_>>().into_iter();
    (model, std::array::from_fn(|_| host.next().expect("four values")))
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
