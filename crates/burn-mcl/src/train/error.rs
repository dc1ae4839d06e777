//! What can go wrong while training.

use std::path::PathBuf;

use mcl_data::{DataError, printable};
use mcl_loss::LossError;
use mcl_model::ModelError;

use crate::artifact::ArtifactError;
use crate::files::FileError;

/// Errors of [`Trainer`](super::Trainer) and of what it leaves in a run directory.
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
    /// The loss depends on no parameter that is trained.
    #[error(
        "the loss depends on no parameter that is trained: give the network float parameters, unfreeze some of them \
         (Module::unfreeze), and compute the loss from what the network returns, without detaching it"
    )]
    NothingToTrain,
    /// The loss, or a part of it, is not one number.
    #[error(
        "`{}` of the loss has the shape {shape:?}, but must have the shape [1]: take the mean or the sum",
        printable(.part)
    )]
    LossShape {
        /// Name of the part; `total` is what is minimised.
        part: &'static str,
        /// The shape of the part.
        shape: Vec<usize>,
    },
    /// The loss is NaN or infinite.
    #[error(
        "the loss is {loss} after {step} steps: lower the learning rate or lengthen the warm-up, in another run \
         directory ({})", last_good(.checkpoint)
    )]
    NonFiniteLoss {
        /// The value of the loss.
        loss: f32,
        /// Steps done before it.
        step: usize,
        /// The newest checkpoint from which a step still had a finite loss, if there is one.
        checkpoint: Option<PathBuf>,
    },
    /// A weight or a running statistic is NaN or infinite.
    #[error(
        "the weights are not finite after {step} steps: lower the learning rate or lengthen the warm-up, in another \
         run directory ({})", last_good(.checkpoint)
    )]
    NonFiniteWeights {
        /// Steps done.
        step: usize,
        /// The newest checkpoint, if there is one.
        checkpoint: Option<PathBuf>,
    },
    /// The observer asked the run to stop; it goes on from here when started again.
    #[error("stopped after {step} steps{}", goes_on(.checkpoint))]
    Stopped {
        /// Steps done.
        step: usize,
        /// The checkpoint of this step, if the run has a directory.
        checkpoint: Option<PathBuf>,
    },
    /// The network given has other weights than the one that the settings make.
    #[error(
        "the network given does not fit the setting `model`: {difference}; give the MclModelConfig that it was made with, \
         or train it with Trainer::with_network"
    )]
    OtherNetwork {
        /// The first parameter that differs.
        difference: String,
    },
    /// A validation failed.
    #[error("validation failed: {source}")]
    Validation {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process, or another trainer in this one, is using the run directory.
    #[error("{} is in use by another run: wait for it, stop it, or use another directory", printable(.path))]
    InUse {
        /// The run directory.
        path: PathBuf,
    },
    /// A class without images.
    #[error(
        "class `{}` has no images: take only the classes that have some (ImageSet::select_classes)",
        printable(.name)
    )]
    EmptyClass {
        /// Its name.
        name: String,
    },
    /// Nothing was trained in the run directory yet.
    #[error("{} holds no checkpoint: nothing was trained there yet", printable(.path))]
    Untrained {
        /// The run directory.
        path: PathBuf,
    },
    /// The run directory belongs to a run with other settings or other images.
    #[error(
        "{} holds a run whose {setting} is {}, and this run's is {}: use another run \
         directory, or what it was started with", printable(.path), printable(.found), printable(.expected)
    )]
    OtherRun {
        /// The run directory.
        path: PathBuf,
        /// The first setting or property of the images that differs.
        setting: String,
        /// Its value in the directory.
        found: String,
        /// Its value in this run.
        expected: String,
    },
    /// There are checkpoints, and none is whole.
    #[error(
        "none of the {count} checkpoints in {} can be read, so the run cannot go on; delete the directory to start \
         over. The newest: {newest}", printable(.path)
    )]
    NoCheckpoint {
        /// The directory of the checkpoints.
        path: PathBuf,
        /// How many there are.
        count: usize,
        /// What is wrong with the newest.
        newest: Box<ArtifactError>,
    },
    /// The run directory cannot be read or written.
    #[error(transparent)]
    RunDir(#[from] ArtifactError),
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

impl TrainError {
    /// An error of a [`Validation`](super::Validation), for `map_err`.
    pub fn validation(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Validation { source: source.into() }
    }
}

impl From<FileError> for TrainError {
    fn from(error: FileError) -> Self {
        Self::RunDir(error.into())
    }
}

fn last_good(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => {
            format!("the last good weights are in {}, and train::load_network reads them", printable(path))
        }
        None => "there is no earlier checkpoint".into(),
    }
}

fn goes_on(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!(", saved in {}: start the same run again to go on", printable(path)),
        None => ", without a run directory to keep them in".into(),
    }
}
