//! The arguments of `mcl train`, and the settings of training and detector that they stand for.

use std::error::Error;
use std::path::PathBuf;

use burn_mcl::data::augment::SimClrAugmentConfig;
use burn_mcl::data::batch::Rotations;
use burn_mcl::detector::{DetectorConfig, DetectorError};
use burn_mcl::infer::{Covariance, MahalanobisConfig, Shrinkage};
use burn_mcl::model::{MclModelConfig, ResNetConfig, ResNetDepth, Stem};
use burn_mcl::train::TrainConfig;
use clap::{Args, ValueEnum};

use crate::folder::{self, UNREADABLE};

/// Steps of a run on few pictures.
pub(super) const LEAST_STEPS: usize = 300;

/// The arguments of `mcl train`.
///
/// Each folder holds one folder a class, or pictures only, which are then one class. Some of the pictures to learn from are held out
/// to place the threshold. Other normal pictures and anomalous ones are for the report alone: they say how well the detector works.
#[derive(Debug, Args)]
pub struct Settings {
    /// Normal pictures to learn from
    pub(super) train: PathBuf,
    /// Other normal pictures, to count false alarms [default: the pictures held out]
    #[arg(long)]
    pub(super) normal: Option<PathBuf>,
    /// Anomalous pictures, to count those found; may be given several times
    #[arg(long)]
    pub(super) anomalous: Vec<PathBuf>,
    /// Folder for checkpoints, detector and report; the same command resumes the run, other settings need
    /// another
    #[arg(long, default_value = "runs/own")]
    pub(super) run: PathBuf,
    /// Folder for the decoded pictures [default: RUN/cache]
    #[arg(long)]
    pub(super) cache: Option<PathBuf>,
    /// Pretrained weights of a ResNet to start from: a file of torchvision (.pth or .safetensors)
    #[arg(long, value_name = "FILE")]
    pub(super) weights: Option<PathBuf>,
    /// Train nothing: fit the Gaussians to the features of the pretrained network. Takes minutes at most, and suits pictures of
    /// everyday things, which the weights know
    #[arg(long, requires = "weights", conflicts_with_all = ["steps", "batch", "learning_rate", "min_crop", "rotations"])]
    pub(super) no_train: bool,
    /// Pixels a side that pictures are resized to; a multiple of 32 [default: 32; with --weights 96; with --no-train 224]
    #[arg(long)]
    size: Option<usize>,
    /// How a picture becomes a square
    #[arg(long, value_enum, default_value_t = Fit::Stretch)]
    pub(super) fit: Fit,
    /// Share of the pictures of a folder that may be unreadable, and are skipped; rounded down to whole
    /// pictures
    #[arg(long, default_value_t = UNREADABLE, allow_negative_numbers = true)]
    pub(super) unreadable: f64,
    /// Share of the training pictures held out to place the threshold
    #[arg(long, default_value_t = 0.2, allow_negative_numbers = true)]
    pub(super) hold_out: f64,
    /// Share of normal pictures that are to pass as normal
    #[arg(long, default_value_t = 0.95, allow_negative_numbers = true)]
    pub(super) tpr: f64,
    /// Training steps: more take longer and find more [default: as many as show each picture ten times, at least 300]
    #[arg(long)]
    pub(super) steps: Option<usize>,
    /// Pictures in a batch; fewer if there are fewer
    #[arg(long, default_value_t = 32)]
    pub(super) batch: usize,
    /// ResNet-18, -34 or -50
    #[arg(long, default_value_t = 18)]
    pub(super) depth: u32,
    /// Channels of the network's first stage [default: 16; with --weights 64]
    #[arg(long)]
    width: Option<usize>,
    /// Peak learning rate [default: 0.1; with --weights 0.01]
    #[arg(long, allow_negative_numbers = true)]
    learning_rate: Option<f64>,
    /// Smallest crop, as a share of the picture
    #[arg(long, default_value_t = 0.5, allow_negative_numbers = true)]
    pub(super) min_crop: f64,
    /// Where few pictures leave the spread of a class open, how much is assumed [default: 0.001; with --no-train 0, the covariances
    /// being shrunk]
    #[arg(long, allow_negative_numbers = true)]
    ridge: Option<f64>,
    /// Which rotations of a picture are learned, each as a class of its own; none suits pictures without an up
    #[arg(long, value_enum, default_value_t = Turns::All)]
    pub(super) rotations: Turns,
    /// Number that decides what is drawn at random
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
}

impl Settings {
    pub(super) fn size(&self) -> usize {
        self.size.unwrap_or(match (self.no_train, &self.weights) {
            (true, _) => 224,
            (false, Some(_)) => 96,
            (false, None) => 32,
        })
    }

    pub(super) fn width(&self) -> usize {
        self.width.unwrap_or(if self.weights.is_some() { 64 } else { 16 })
    }

    pub(super) fn learning_rate(&self) -> f64 {
        self.learning_rate.unwrap_or(if self.weights.is_some() { 0.01 } else { 0.1 })
    }

    /// The encoder.
    pub(super) fn resnet(&self) -> Result<ResNetConfig, Box<dyn Error>> {
        let depth = ResNetDepth::from_layers(self.depth).ok_or("--depth must be 18, 34 or 50")?;
        // The stem for small pictures keeps every pixel; the one for large pictures makes them a fourth as wide first.
        let stem = match &self.weights {
            Some(_) => Stem::Torchvision,
            None if self.size() < 96 => Stem::Cifar,
            None => Stem::ImageNet,
        };
        Ok(ResNetConfig::new(depth).with_width(self.width()).with_stem(stem))
    }
}

/// How a picture becomes a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Fit {
    /// The whole picture, with other proportions
    Stretch,
    /// The largest square in the centre
    Crop,
}

/// Which rotations of a picture are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Turns {
    /// All four
    All,
    /// Pictures as they are
    None,
}

/// The settings of the training, but for what the pictures decide: objective, batch and number of steps.
pub(super) fn train_config(settings: &Settings) -> Result<TrainConfig, Box<dyn Error>> {
    if settings.size() == 0 || !settings.size().is_multiple_of(32) {
        return Err(format!("--size is {}, but must be a multiple of 32", settings.size()).into());
    }
    folder::check_share("hold-out", settings.hold_out)?;
    folder::check_share("unreadable", settings.unreadable)?;
    if !(settings.min_crop > 0.0 && settings.min_crop <= 1.0) {
        return Err(
            format!("--min-crop is {}, but must be a share above 0, at most 1", settings.min_crop).into()
        );
    }
    let resnet = settings.resnet()?;
    let model = MclModelConfig::new(resnet.clone());
    let model = if settings.no_train {
        // The projections are the features.
        model.with_hidden(resnet.feature_dim()).with_projection_dim(resnet.feature_dim())
    } else {
        model.with_hidden(16 * settings.width())
    };
    let config = TrainConfig::new()
        .with_model(model)
        .with_augment(SimClrAugmentConfig::new().with_crop_scale((settings.min_crop, 1.0)))
        .with_images_per_batch(settings.batch)
        .with_steps(Some(settings.steps.unwrap_or(LEAST_STEPS)))
        .with_rotations(match settings.rotations {
            Turns::All if !settings.no_train => Rotations::All,
            _ => Rotations::None,
        })
        .with_learning_rate(Some(settings.learning_rate()))
        .with_checkpoint_every(50)
        .with_seed(settings.seed);
    Ok(config)
}

/// The settings of the detector.
pub(super) fn detector_config(settings: &Settings, training: &TrainConfig) -> Result<DetectorConfig, String> {
    let config = if settings.no_train {
        // More dimensions than pictures: the classes share a covariance, and the covariance is shrunk.
        let gaussians = MahalanobisConfig::new()
            .with_covariance(Covariance::Tied)
            .with_shrinkage(Shrinkage::Oas)
            .with_ridge(settings.ridge.unwrap_or(0.0));
        DetectorConfig::upright().with_gaussians(gaussians)
    } else {
        let gaussians = MahalanobisConfig::new().with_ridge(settings.ridge.unwrap_or(1e-3));
        DetectorConfig::suited_to(training).with_gaussians(gaussians)
    };
    let config = config.with_tpr(settings.tpr).with_centre_crop(match settings.fit {
        Fit::Stretch => None,
        Fit::Crop => Some(settings.size()),
    });
    config.validate().map(|()| config).map_err(detector_flag)
}

/// An error of the settings of a detector, which have the names of their flags.
pub(crate) fn detector_flag(error: DetectorError) -> String {
    match error {
        DetectorError::Config { setting, value, expected } => {
            format!("--{setting} is {value}, but must be {expected}")
        }
        error => error.to_string(),
    }
}
