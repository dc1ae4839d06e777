//! What can go wrong while training.

use std::path::PathBuf;

use mcl_data::DataError;
use mcl_loss::LossError;
use mcl_model::ModelError;

/// Errors of [`Trainer`](super::Trainer).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting is out of range.
    #[error("training setting `{setting}` is {value}, but must be {expected}")]
    Config {
        /// Name of the setting in [`TrainConfig`](super::TrainConfig).
        setting: &'static str,
        /// Its value.
        value: String,
        /// The values it may have.
        expected: &'static str,
    },
    /// The loss stopped being a number. The newest checkpoint in the run directory is from before.
    #[error(
        "the loss is {loss} at step {step}; the weights up to {} are good: resume from there with a lower \
         learning rate, or with warm-up", last_good(*.checkpoint)
    )]
    NonFiniteLoss {
        /// The value of the loss.
        loss: f32,
        /// Step at which it appeared, counted from 0.
        step: usize,
        /// Steps done at the newest checkpoint, if one was written.
        checkpoint: Option<usize>,
    },
    /// The observer asked the run to stop; it goes on from here when started again.
    #[error("stopped after {step} steps; start the same run again to go on")]
    Stopped {
        /// Steps done.
        step: usize,
    },
    /// The run directory belongs to a run with other settings.
    #[error(
        "{} holds a run whose {setting} is {found}, and this run's is {expected}: use another directory, or \
         the settings it was started with", .path.display()
    )]
    OtherRun {
        /// The run directory.
        path: PathBuf,
        /// The first setting that differs.
        setting: String,
        /// Its value in the directory.
        found: String,
        /// Its value in this run.
        expected: String,
    },
    /// A checkpoint cannot be read back.
    #[error("the checkpoint {} cannot be read: {reason}; delete it to go on from the one before", .path.display())]
    Checkpoint {
        /// The checkpoint's directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the run could not be read or written.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The loss's settings are invalid.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The network's settings are invalid.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The images or their augmentation are invalid.
    #[error(transparent)]
    Data(#[from] DataError),
}

fn last_good(checkpoint: Option<usize>) -> String {
    checkpoint.map_or_else(|| "the start".to_string(), |step| format!("the checkpoint at step {step}"))
}
