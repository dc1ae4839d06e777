//! The training itself.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use burn_mcl::Progress;
use burn_mcl::burn::tensor::Device;
use burn_mcl::data::ImageSet;
use burn_mcl::model::{MclModel, ResNet};
use burn_mcl::train::{Objective, TrainConfig, TrainError, Trainer};

use super::settings::{LEAST_STEPS, Settings, Turns};
use super::{checks, pretrained};
use crate::interrupt;

/// How often a run on many pictures sees each of them.
const PASSES: usize = 10;

/// The settings of the training with what the pictures decide: objective, batch and number of steps.
pub(super) fn for_pictures(config: TrainConfig, settings: &Settings, train: &ImageSet) -> TrainConfig {
    let batch = settings.batch.min(train.len());
    let steps = settings.steps.unwrap_or((PASSES * train.len()).div_ceil(batch.max(1)).max(LEAST_STEPS));
    let objective = Objective::for_classes(train.class_names().len());
    config.with_objective(objective).with_images_per_batch(batch).with_steps(Some(steps))
}

/// A training run.
pub(super) struct Learning<'a> {
    pub(super) settings: &'a Settings,
    pub(super) config: &'a TrainConfig,
    pub(super) device: &'a Device,
    pub(super) progress: Progress,
    /// Ends the run with a checkpoint.
    pub(super) stop: &'a AtomicBool,
}

impl Learning<'_> {
    /// Trains a network, from the weights of the encoder if there is one. `before` is called when the training is about to begin.
    pub(super) fn run(
        self,
        encoder: Option<ResNet>,
        train: &ImageSet,
        before: impl FnOnce(),
    ) -> Result<MclModel, Box<dyn Error>> {
        let Self { settings, config, device, progress, stop } = self;
        if settings.rotations == Turns::None && train.class_names().len() == 1 {
            return Err("--rotations none leaves one class nothing to be told from: give several classes, one folder each, or \
                        leave --rotations out"
                .into());
        }
        let mut trainer = Trainer::new(config.clone(), device)?;
        if let Some(encoder) = encoder {
            let plain = device.clone().without_autodiff();
            let model = pretrained::with_new_head(encoder, &config.model, settings.seed, &plain)?;
            trainer = trainer.start_from(&model)?;
        }
        checks::write_command(settings)?;
        before();
        let trainer = trainer.run_dir(&settings.run).progress(progress);
        let trained = trainer.observer(interrupt::unless_stopped(stop)).fit(train);
        let model = trained.map_err(checks::by_flag)?;
        // From here on, Ctrl-C ends at once. It may have been pressed when there was no step left to stop at.
        if stop.swap(true, Ordering::Relaxed) {
            let (step, checkpoint) =
                (config.total_steps(train.len()), Some(settings.run.join("checkpoints")));
            return Err(TrainError::Stopped { step, checkpoint }.into());
        }
        Ok(model)
    }
}
