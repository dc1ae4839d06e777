//! The training loop.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use mcl_data::ImageSet;
use mcl_data::batch::{BatchConfig, HostBatch, Position};
use mcl_loss::MclLabels;
use mcl_model::MclModel;

use super::fingerprint::Fingerprint;
use super::objective::Loss;
use super::optimizer::optimizer;
use super::run_dir::RunDir;
use super::{ROTATIONS, StepReport, TrainConfig, TrainError};
use crate::progress::Progress;

type Observer<'a> = Box<dyn FnMut(&StepReport) -> ControlFlow<()> + 'a>;

/// Trains a network on labelled images.
///
/// With a [run directory](Self::run_dir) the settings, a log and checkpoints are kept there, and the same call
/// goes on where an earlier one stopped, or was killed: on the CPU the resumed run ends with the same bits as one
/// that was never stopped. A damaged checkpoint is set aside, with a warning, for the one before it.
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
    /// [`TrainError::Config`], [`TrainError::Loss`], [`TrainError::Data`] or [`TrainError::Model`] when a setting of the
    /// run, the loss, the augmentation or the network is out of range.
    pub fn new(config: TrainConfig, device: &Device) -> Result<Self, TrainError> {
        config.validate()?;
        config.objective.init()?;
        config.augment.try_init()?;
        config.model.try_init(device)?; // weights are drawn at their first use: this costs next to nothing
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
    /// [`TrainError::Stopped`]: how to act on Ctrl-C, with a flag that the signal sets and the observer reads.
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
    /// [`TrainError::EmptyClass`] when a class has none, [`TrainError::Config`] when the warm-up is as long as the run,
    /// [`TrainError::OtherRun`] when the run directory belongs to other settings or images, [`TrainError::InUse`]
    /// when another run is using it, [`TrainError::NonFiniteLoss`] and [`TrainError::NonFiniteWeights`] when training
    /// diverges, [`TrainError::Stopped`] when the observer asked for it, [`TrainError::NoCheckpoint`] when all
    /// checkpoints are damaged, [`TrainError::RunDir`] when the run directory cannot be read or written.
    pub fn fit(self, images: &ImageSet) -> Result<MclModel, TrainError> {
        let result = self.run(images);
        // The activations of a training step; what comes after needs much less.
        mcl_model::release_memory();
        result
    }

    fn run(mut self, images: &ImageSet) -> Result<MclModel, TrainError> {
        let count = images.len();
        let config = self.config.clone();
        let loss = config.objective.init()?;
        let batches = BatchConfig::new(config.images_per_batch)
            .with_seed(config.seed)
            .with_augment(config.augment.clone())
            .try_init(Arc::new(images.clone()))?;
        let total_steps = config.total_steps(count);
        let schedule = config.schedule(count);
        if schedule.warmup_steps >= total_steps {
            let (setting, value) = ("warmup_steps", schedule.warmup_steps.to_string());
            return Err(TrainError::Config { setting, value, expected: "fewer than the steps of the run" });
        }
        if let Some(class) = images.class_counts().iter().position(|&count| count == 0) {
            return Err(TrainError::EmptyClass { name: images.class_names()[class].clone() });
        }

        if let Some(message) = config.objective.caution(images.class_names().len()) {
            self.progress.warn(&message);
        }
        let mut model = config.model.try_init_seeded(config.seed, &self.device)?;
        let mut optimizer = optimizer(&config, &self.device);
        let open = |path: &PathBuf| RunDir::open(path, &config, &Fingerprint::of(images), &schedule);
        let mut run_dir = self.run_dir.as_ref().map(open).transpose()?;
        let mut done = 0;
        if let Some(dir) = &mut run_dir {
            (done, model, optimizer) = dir.load(model, optimizer, self.progress)?;
        }
        tracing::info!(images = count, step = done, total_steps, device = ?self.device, "training");

        let position = |step: usize| Position {
            epoch: step / batches.batches_per_epoch(),
            batch: step % batches.batches_per_epoch(),
        };
        let first = done;
        let mut stream = batches.stream(position(done), usize::MAX)?;
        let mut last = None;
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
                let checkpoint = run_dir.as_ref().and_then(|dir| dir.last_good(done));
                tracing::error!(step = done, loss = total, "the loss is not finite");
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
            tracing::debug!(step = done, loss = total, learning_rate, "step");
            // The first step of a process may be slow: devices compile their kernels then.
            if done == first + 2
                && let Some(message) = report.long(config.views_per_batch())
            {
                bar.suspend(|| self.progress.warn(&message));
            }
            last = Some(report);
            let stop = (self.observer)(&report).is_break();
            let mut checkpoint = None;
            if let Some(dir) = &mut run_dir {
                dir.log(&report)?;
                if stop || done == total_steps || done.is_multiple_of(config.checkpoint_every) {
                    let model = finite(model.valid(), done, Some(dir))?;
                    checkpoint = Some(dir.save(done, model, &optimizer)?);
                }
            }
            if stop && done < total_steps {
                tracing::info!(step = done, "stopped by the observer");
                return Err(TrainError::Stopped { step: done, checkpoint });
            }
        }
        bar.finish_and_clear();
        tracing::info!(step = done, "trained");
        if let Some(message) = last.as_ref().and_then(StepReport::collapse) {
            self.progress.warn(&message);
        }
        finite(model.valid(), done, run_dir.as_ref())
    }
}

/// The model, if all its weights and running statistics are numbers.
fn finite(model: MclModel, step: usize, run_dir: Option<&RunDir>) -> Result<MclModel, TrainError> {
    struct AllFinite(bool);
    impl ModuleVisitor for AllFinite {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            // A sum: it carries NaN along on every backend. What overflows it is as good as infinite.
            self.0 &= param.val().abs().sum().into_scalar::<f32>().is_finite();
        }
    }
    let mut all = AllFinite(true);
    model.visit(&mut all);
    if all.0 {
        return Ok(model);
    }
    tracing::error!(step, "the weights are not finite");
    Err(TrainError::NonFiniteWeights { step, checkpoint: run_dir.and_then(|dir| dir.last_good(step)) })
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

    /// Black images with these labels, of three classes.
    fn black(labels: &[usize]) -> ImageSet {
        let names = ["a", "b", "c"].map(String::from).to_vec();
        ImageSet::new(vec![0; 3 * 64 * labels.len()], (8, 8), labels.to_vec(), names).unwrap()
    }

    #[test]
    fn settings_of_every_part_are_checked_at_the_start() {
        let new = |config| Trainer::new(config, &Device::flex()).err();
        let augment = TrainConfig::new().augment.with_crop_scale((0.5, 0.1));
        assert!(matches!(new(TrainConfig::new().with_augment(augment)), Some(TrainError::Data(_))));
        let model = TrainConfig::new().model.with_hidden(0);
        assert!(matches!(new(TrainConfig::new().with_model(model)), Some(TrainError::Model(_))));
        assert!(new(TrainConfig::new()).is_none());
    }

    #[test]
    fn what_cannot_be_trained_is_refused_before_the_first_step() {
        let fit = |config: TrainConfig, images: &ImageSet| {
            let never = |_: &StepReport| panic!("a step was done");
            let config = config.with_images_per_batch(2);
            Trainer::new(config, &Device::flex()).unwrap().observer(never).fit(images).unwrap_err()
        };
        let error = fit(TrainConfig::new().with_steps(Some(3)), &black(&[0, 2]));
        assert!(matches!(&error, TrainError::EmptyClass { name } if name == "b"), "{error}");
        let config = TrainConfig::new().with_epochs(2).with_warmup_steps(Some(6));
        let error = fit(config, &black(&[0, 1, 2, 0, 1, 2]));
        assert!(matches!(&error, TrainError::Config { setting: "warmup_steps", .. }), "{error}");
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
