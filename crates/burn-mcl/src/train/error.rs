//! The errors of training.

use std::path::PathBuf;

use mcl_data::{DataError, printable};
use mcl_loss::LossError;
use mcl_model::ModelError;

use crate::artifact::ArtifactError;
use crate::files::FileError;

/// Errors of [`Trainer`](super::Trainer) and of reading a run directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting is out of range.
    #[error("training setting `{setting}` is {value}, but must be {expected}")]
    Config {
        /// Name of the setting in [`TrainConfig`](super::TrainConfig) or of the validation.
        setting: &'static str,
        /// Value of the setting.
        value: String,
        /// The values that the setting may have.
        expected: &'static str,
    },
    /// There is no setting at a path.
    #[error("there is no training setting `{}`{}", printable(.path), those(.names))]
    NoSetting {
        /// The path.
        path: String,
        /// Names where the path ends; empty where there are no more names.
        names: Vec<String>,
    },
    /// A setting cannot have a value.
    #[error("training setting `{path}` cannot be `{}`: {}", printable(.value), printable(.reason))]
    SettingValue {
        /// Path of the setting.
        path: String,
        /// The value.
        value: String,
        /// What is wrong with the value.
        reason: String,
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
    /// The loss needs logits that the network does not give.
    #[error(
        "the loss needs a classifier of {needed} outputs, and the network has {given}: set MclModelConfig::classifier, or \
         give a network of one's own as many logits"
    )]
    Classifier {
        /// The outputs that the loss needs: classes times auxiliary classes for a cross-entropy over the pairs.
        needed: usize,
        /// Outputs of the network's classifier; 0 without a classifier.
        given: usize,
    },
    /// The loss reads the logits of outliers, and there are none.
    #[error("the loss needs auxiliary images to be unsure on: give them to Trainer::outliers")]
    NoOutliers,
    /// The outliers have another size than the training images.
    #[error(
        "the outliers are {} x {} pixels, and the training images {} x {}: resize the outliers",
        .found.0, .found.1, .expected.0, .expected.1
    )]
    OutlierSize {
        /// Height and width of the training images.
        expected: (usize, usize),
        /// Height and width of the outliers.
        found: (usize, usize),
    },
    /// The loss is NaN or infinite.
    #[error(
        "the loss is {loss} after {step} steps: lower the learning rate or lengthen the warm-up, in another run \
         directory ({})", last_good(.checkpoint)
    )]
    NonFiniteLoss {
        /// The value of the loss.
        loss: f32,
        /// Steps done before this loss.
        step: usize,
        /// The newest checkpoint with a finite loss after it, if there is one.
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
    /// The observer stopped the run. With a run directory the same call goes on from this step.
    #[error("stopped after {step} steps{}", goes_on(.checkpoint))]
    Stopped {
        /// Steps done.
        step: usize,
        /// The checkpoint of this step, if the run has a directory.
        checkpoint: Option<PathBuf>,
    },
    /// The given network has other names or shapes than the network that the settings make.
    #[error(
        "the given network does not fit the setting `model`: {difference}; set `model` to the MclModelConfig of the \
         network, or train the network with Trainer::with_network"
    )]
    OtherNetwork {
        /// The first parameter that differs.
        difference: String,
    },
    /// A validation failed.
    #[error("validation failed: {source}")]
    Validation {
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process, or another trainer in this one, is using the run directory.
    #[error(
        "{} is in use by another run: wait for that run, stop that run, or use another run directory",
        printable(.path)
    )]
    InUse {
        /// The run directory.
        path: PathBuf,
    },
    /// A class without images.
    #[error(
        "class `{}` has no images: select the classes that have images (ImageSet::select_classes)",
        printable(.name)
    )]
    EmptyClass {
        /// Name of the class.
        name: String,
    },
    /// A file or directory that a run would write over, in a directory where no run ever was.
    #[error("{} is there already, and no run wrote it: use another run directory", printable(.path))]
    Foreign {
        /// The file or directory.
        path: PathBuf,
    },
    /// The run directory holds no checkpoint.
    #[error("{} holds no checkpoint: train a network there first (Trainer::run_dir)", printable(.path))]
    Untrained {
        /// The run directory.
        path: PathBuf,
    },
    /// The run directory belongs to a run with other settings, images, weights or frozen layers.
    #[error(
        "{} holds a run whose {setting} is {}, but this run has {}: use another run directory, or the value of the run \
         in the directory", printable(.path), printable(.found), printable(.expected)
    )]
    OtherRun {
        /// The run directory.
        path: PathBuf,
        /// The first setting, or property of the images or of the start, that differs.
        setting: String,
        /// The value in the directory.
        found: String,
        /// The value in this run.
        expected: String,
    },
    /// All checkpoints are damaged.
    #[error(
        "all {count} checkpoints in {} are damaged, so the run cannot go on: delete this directory to begin the run \
         again. The newest checkpoint: {newest}", printable(.path)
    )]
    NoCheckpoint {
        /// The directory of the checkpoints.
        path: PathBuf,
        /// Number of checkpoints.
        count: usize,
        /// The error of the newest checkpoint.
        newest: Box<ArtifactError>,
    },
    /// The run directory cannot be read or written.
    #[error(transparent)]
    RunDir(#[from] ArtifactError),
    /// The settings of the loss are invalid.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The settings of the network are invalid.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The images or the settings of the augmentation are invalid.
    #[error(transparent)]
    Data(#[from] DataError),
}

impl TrainError {
    /// Wraps an error of a [`Validation`](super::Validation), for `map_err`.
    pub fn validation(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Validation { source: source.into() }
    }

    /// Returns a factor that must be above 0 and finite.
    pub(super) fn unless_positive(setting: &'static str, value: f64) -> Result<f64, Self> {
        if value.is_finite() && value > 0.0 {
            return Ok(value);
        }
        Err(Self::Config { setting, value: value.to_string(), expected: "a positive number" })
    }
}

impl From<FileError> for TrainError {
    fn from(error: FileError) -> Self {
        Self::RunDir(error.into())
    }
}

/// Names to choose from.
fn those(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; there are {}", names.join(", ")) }
}

fn last_good(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => {
            format!("train::load_network reads the last good weights from {}", printable(path))
        }
        None => "there is no earlier checkpoint".into(),
    }
}

fn goes_on(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!(", saved in {}: start the same run again to go on", printable(path)),
        None => ": the steps are lost, because the run has no run directory".into(),
    }
}
