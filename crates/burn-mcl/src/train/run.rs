//! The training loop.

use std::sync::Arc;
use std::time::Instant;

use mcl_data::ImageSet;
use mcl_data::batch::{BatchConfig, Position, TwoViewBatches};
use mcl_model::Network;

use super::average::WeightAverage;
use super::fingerprint::Fingerprint;
use super::optimizer::optimizer;
use super::report::{LogLine, LossParts};
use super::run_dir::{Networks, Resumed, RunDir, has_checkpoint};
use super::step::{Found, Stepper, is_finite, is_trainable};
use super::validation::Standing;
use super::{StepReport, TrainError, Trainer, read_validations};

/// Steps in a row with collapsed projections, after the warm-up, that lead to a warning.
const COLLAPSED: usize = 25;

/// Runs the training that `trainer` describes, from the start or from its newest checkpoint.
pub(super) fn run<N: Network>(trainer: Trainer<'_, N>, images: &ImageSet) -> Result<N, TrainError> {
    let Trainer {
        config,
        device,
        network,
        start,
        prepare,
        loss,
        outliers,
        run_dir,
        progress,
        mut observer,
        mut watch,
        patience,
    } = trainer;
    let count = images.len();
    let batches_of = |images: &ImageSet| {
        BatchConfig::new(config.images_per_batch)
            .with_seed(config.seed)
            .with_augment(config.augment.clone())
            .with_rotations(config.rotations)
            .try_init(Arc::new(images.clone()))
    };
    let batches = batches_of(images)?;
    let total_steps = config.total_steps(count);
    let schedule = config.schedule(count);
    if schedule.warmup_steps >= total_steps {
        let (setting, value) = ("warmup_steps", schedule.warmup_steps.to_string());
        return Err(TrainError::Config { setting, value, expected: "fewer than the steps of the run" });
    }
    if let Some(class) = images.class_counts().iter().position(|&count| count == 0) {
        return Err(TrainError::EmptyClass { name: images.class_names()[class].clone() });
    }
    if !is_trainable(&network) {
        return Err(TrainError::NothingToTrain);
    }
    let outliers = match outliers.filter(|_| loss.needs_outliers()) {
        None if loss.needs_outliers() => return Err(TrainError::NoOutliers),
        Some(outliers) if outliers.size() != images.size() => {
            return Err(TrainError::OutlierSize { expected: images.size(), found: outliers.size() });
        }
        outliers => outliers.as_ref().map(batches_of).transpose()?,
    };
    if let Some(watch) = &watch {
        watch.validation.check()?;
    }
    if start.loss.is_none()
        && let Some(message) = config.objective.caution(images.class_names().len(), config.rotations)
    {
        progress.warn(&message);
    }

    let mut stepper = Stepper {
        loss,
        optimizer: optimizer(&config, &device),
        classes: images.class_names().len(),
        aux_classes: config.aux_classes(),
        clip: config.gradient_clip,
        seed: config.seed,
        device: device.clone(),
    };
    // A checkpoint replaces the weights.
    let resumes = run_dir.as_deref().is_some_and(has_checkpoint);
    let mut network = if resumes { network } else { prepare(network, images)? };
    let mut average = config.weight_average.map(|decay| WeightAverage::new(&network, decay));
    let open = |path| RunDir::open(path, &config, &Fingerprint::of(images), &schedule, &start, progress);
    let mut run_dir = run_dir.as_deref().map(open).transpose()?;
    let mut done = 0;
    let mut standing = Standing::default();
    if let Some(dir) = &mut run_dir {
        let averaged = average.as_ref().map(|average| average.network.clone());
        let resumed = dir.load(progress, network, averaged, stepper.optimizer)?;
        let averaged;
        Resumed { steps: done, model: network, average: averaged, optimizer: stepper.optimizer } = resumed;
        if let (Some(average), Some(network)) = (&mut average, averaged) {
            average.network = network;
        }
        standing = Standing::after(&read_validations(dir.root())?);
    }
    tracing::info!(images = count, step = done, total_steps, ?device, "training");

    let first = done;
    let mut stream = batches.stream(position(&batches, done), usize::MAX)?;
    let stream_of = |outliers: &TwoViewBatches| outliers.stream(position(outliers, done), usize::MAX);
    let mut outliers = outliers.as_ref().map(stream_of).transpose()?;
    let mut collapsed = 0;
    let mut last = None;
    let mut current = None;
    let bar = progress.bar("training", total_steps, done);
    while done < total_steps && !standing.is_exhausted(patience) {
        let started = Instant::now();
        let batch = stream.next().expect("the stream has no end")?;
        let outlying = outliers.as_mut().map(|outliers| outliers.next().expect("the stream has no end"));
        let waited = started.elapsed();

        let epoch = batch.position.epoch;
        let learning_rate = schedule.learning_rate(done);
        let found;
        current = None;
        (network, found) = stepper.step(network, batch, outlying.transpose()?, done, learning_rate)?;
        if !found.loss.is_finite() {
            let checkpoint = run_dir.as_ref().and_then(|dir| dir.last_good(done));
            tracing::error!(step = done, loss = found.loss, "the loss is not finite");
            return Err(TrainError::NonFiniteLoss { loss: found.loss, step: done, checkpoint });
        }
        done += 1;
        average = average.map(|average| average.update(&network, done));

        let seconds = started.elapsed().as_secs_f64();
        let (mut report, parts) = reported(found);
        report.step = done;
        report.total_steps = total_steps;
        report.epoch = epoch;
        report.learning_rate = learning_rate;
        report.views_per_second = config.views_per_batch() as f64 / seconds;
        report.data_wait = waited.as_secs_f64() / seconds;
        let shown: String = parts.iter().map(|(name, value)| format!("{name} {value:.4}  ")).collect();
        bar.set_message(format!("{shown}{report}"));
        bar.inc(1);
        tracing::debug!(step = done, loss = report.loss, learning_rate, "step");
        // Devices compile their kernels in the first step of a process, so the second step is timed.
        if done == first + 2
            && let Some(message) = report.long(config.views_per_batch())
        {
            bar.suspend(|| progress.warn(&message));
        }
        collapsed = if done > schedule.warmup_steps && report.is_collapsed() { collapsed + 1 } else { 0 };
        if collapsed == COLLAPSED && done < total_steps {
            bar.suspend(|| progress.warn(&report.collapsing()));
        }

        let stop = observer(&report).is_break();
        if let Some(dir) = &mut run_dir {
            dir.log(&LogLine { report: &report, parts: &parts })?;
        }
        if let Some(watch) = &mut watch
            && done.is_multiple_of(watch.every)
        {
            let judged = result(&mut current, &network, average.as_ref(), &batches, &stepper)?;
            let judged = finite(judged, done, run_dir.as_ref())?;
            let mut found = watch.validation.validate(&judged)?;
            found.step = done;
            let best = standing.add(&found);
            bar.suspend(|| progress.say(&found.to_string()));
            if let Some(dir) = &run_dir {
                dir.log_validation(&found, best.then_some(judged))?;
            }
        }
        let ends = done == total_steps || standing.is_exhausted(patience);
        let mut checkpoint = None;
        if let Some(dir) = &mut run_dir
            && (stop || ends || done.is_multiple_of(config.checkpoint_every))
        {
            let model = finite(network.valid(), done, Some(dir))?;
            let averaged = (ends && average.is_some())
                .then(|| result(&mut current, &network, average.as_ref(), &batches, &stepper))
                .transpose()?;
            let average = average.as_ref().map(|average| average.network.clone());
            checkpoint = Some(dir.save(done, Networks { model, average, averaged }, &stepper.optimizer)?);
        }
        last = Some(report);
        if stop && !ends {
            tracing::info!(step = done, "stopped by the observer");
            return Err(TrainError::Stopped { step: done, checkpoint });
        }
    }
    bar.finish_and_clear();
    tracing::info!(step = done, "trained");
    if let Some(message) = last.as_ref().and_then(StepReport::collapse) {
        progress.warn(&message);
    }
    let result = result(&mut current, &network, average.as_ref(), &batches, &stepper)?;
    finite(result, done, run_dir.as_ref())
}

/// Returns the place of a step in the data.
fn position(batches: &TwoViewBatches, step: usize) -> Position {
    Position { epoch: step / batches.batches_per_epoch(), batch: step % batches.batches_per_epoch() }
}

/// Splits the figures of a step into a report and the parts of the loss that have no field there. The caller
/// fills in the fields about the run.
fn reported(found: Found) -> (StepReport, LossParts) {
    let mut report = StepReport::of_loss(found.loss, found.concentration);
    let mut parts = LossParts::new();
    for (name, value) in found.parts {
        match name {
            "contrastive" => report.contrastive = value,
            "attraction" => report.attraction = Some(value),
            _ => {
                parts.insert(name.to_string(), value);
            }
        }
    }
    (report, parts)
}

/// Returns the network that the run would end with now, in evaluation mode. `current` caches the network of
/// the current step, because the statistics of averaged weights take 40 batches.
fn result<N: Network>(
    current: &mut Option<N>,
    network: &N,
    average: Option<&WeightAverage<N>>,
    batches: &TwoViewBatches,
    stepper: &Stepper<'_>,
) -> Result<N, TrainError> {
    let made = match (current.take(), average) {
        (Some(made), _) => made,
        (None, Some(average)) => average.with_statistics(batches, &stepper.device, stepper.seed)?,
        (None, None) => network.valid(),
    };
    Ok(current.insert(made).clone())
}

/// Returns the network if all its weights and running statistics are finite.
fn finite<N: Network>(network: N, step: usize, run_dir: Option<&RunDir>) -> Result<N, TrainError> {
    if is_finite(&network) {
        return Ok(network);
    }
    tracing::error!(step, "the weights are not finite");
    Err(TrainError::NonFiniteWeights { step, checkpoint: run_dir.and_then(|dir| dir.last_good(step)) })
}
