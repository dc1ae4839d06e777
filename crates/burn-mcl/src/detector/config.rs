//! How a detector scores and decides.

use burn::config::Config;
use mcl_data::ImageSet;
use mcl_data::batch::Rotations;
use mcl_infer::{
    Aggregation, Calibration, Cluster, Confidence, Covariance, InferError, MahalanobisConfig, Shrinkage,
    SoftmaxScorer, TestTimeViews,
};
use serde::{Deserialize, Serialize};

use super::DetectorError;
use super::scorers::named;
use crate::train::TrainConfig;

/// What the score of a [`Detector`](super::Detector) is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Score {
    /// The distance to the Gaussians of the projections, as in the paper.
    #[default]
    Gaussians,
    /// The highest softmax probability of the network's classifier of (class, rotation): for a network that was trained with
    /// one. The aggregation must be [`Aggregation::Mean`] or [`Aggregation::Max`].
    Softmax,
    /// The negative entropy of the same probabilities ([`Confidence::NegativeEntropy`]).
    Entropy,
}

impl Score {
    /// The scorer of the logits, for a score that comes from them.
    pub(super) fn on_logits(self, classes: usize, aux_classes: usize) -> Option<SoftmaxScorer> {
        let softmax = SoftmaxScorer::new(classes, aux_classes);
        match self {
            Self::Gaussians => None,
            Self::Softmax => Some(softmax),
            Self::Entropy => Some(softmax.with_confidence(Confidence::NegativeEntropy)),
        }
    }
}

/// Settings of a [`Detector`](super::Detector).
#[derive(Config, Debug, PartialEq)]
pub struct DetectorConfig {
    /// Covariance, distance and normalisation of the class Gaussians.
    #[config(default = "MahalanobisConfig::new()")]
    pub gaussians: MahalanobisConfig,
    /// Rotations that the network was trained on ([`TrainConfig::rotations`](crate::train::TrainConfig::rotations)): with
    /// [`Rotations::None`] or [`Rotations::Augmentation`] a class has one Gaussian instead of four, and only views of the upright
    /// image can be scored.
    #[config(default = "Rotations::All")]
    pub rotations: Rotations,
    /// What the score of an image is.
    #[config(default = "Score::Gaussians")]
    pub score: Score,
    /// Views of an image that are scored.
    #[config(default = "TestTimeViews::RotationsAndFlips")]
    pub views: TestTimeViews,
    /// How the scores of the views become one.
    #[config(default = "Aggregation::WeightedAverage")]
    pub aggregation: Aggregation,
    /// Share of normal images that are to pass as normal, above 0 and below 1. The threshold follows from it.
    #[config(default = 0.95)]
    pub tpr: f64,
    /// How a picture becomes an image of the detector's size, as
    /// [`ImageFolderConfig::centre_crop`](mcl_data::image_folder::ImageFolderConfig::centre_crop) does it: `None` stretches the
    /// picture, `Some(n)` keeps its proportions. The training pictures must have been read in the same way
    /// ([`Detector::reading`](super::Detector::reading)).
    #[config(default = "None")]
    pub centre_crop: Option<usize>,
    /// Images that go through the network at once, each in all its views: of 256 images in eight views, 2048.
    #[config(default = 256)]
    pub batch_size: usize,
}

impl DetectorConfig {
    /// Settings for a network trained on upright images alone. One view is scored; a network that has seen flips and shifts in
    /// training gains by [`TestTimeViews::FlipsAndShifts`].
    pub fn upright() -> Self {
        Self::new().with_rotations(Rotations::None).with_views(TestTimeViews::Identity)
    }

    /// Settings that suit a network trained by `config`: its rotations; the views that the network has seen the like of in
    /// training; and, where the network has a classifier, the entropy of its probabilities as the score, meaned over the views.
    pub fn suited_to(config: &TrainConfig) -> Self {
        let augment = &config.augment;
        let views = match config.rotations.aux_classes() {
            1 if !augment.flip => TestTimeViews::Identity,
            1 if augment.shift == Some(0) => TestTimeViews::Flips,
            1 => TestTimeViews::FlipsAndShifts,
            _ => TestTimeViews::RotationsAndFlips,
        };
        let suited = Self::new().with_rotations(config.rotations).with_views(views);
        match config.model.classifier {
            Some(_) => suited.with_score(Score::Entropy).with_aggregation(Aggregation::Mean),
            None => suited,
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Config`] names the first setting that is out of range.
    pub fn validate(&self) -> Result<(), DetectorError> {
        if !(self.tpr > 0.0 && self.tpr < 1.0) {
            let value = self.tpr.to_string();
            return Err(DetectorError::Config { setting: "tpr", value, expected: "above 0 and below 1" });
        }
        if self.batch_size == 0 {
            let value = "0".to_string();
            return Err(DetectorError::Config { setting: "batch_size", value, expected: "at least 1" });
        }
        if self.rotations.aux_classes() == 1 && self.views.rotates() {
            let value = format!("{:?}", self.views);
            return Err(DetectorError::Config {
                setting: "views",
                value,
                expected: "Identity, Flips or FlipsAndShifts without rotations as auxiliary classes",
            });
        }
        let distances = !matches!(self.aggregation, Aggregation::Mean | Aggregation::Max);
        if self.score != Score::Gaussians && distances {
            let value = format!("{:?}", self.aggregation);
            return Err(DetectorError::Config {
                setting: "aggregation",
                value,
                expected: "Mean or Max for probabilities",
            });
        }
        let ridge = self.gaussians.ridge;
        if !(ridge.is_finite() && ridge >= 0.0) {
            let value = ridge.to_string();
            return Err(DetectorError::Config { setting: "ridge", value, expected: "a number not below 0" });
        }
        Ok(())
    }

    /// Checks all that [`Detector::fit`](super::Detector::fit) asks of the settings and of the numbers of images: to be
    /// called before a network is trained that could not become a detector. `projection_dim` is that of the network
    /// ([`MclModelConfig`](mcl_model::MclModelConfig)).
    ///
    /// Where a covariance has fewer images than dimensions, the ridge that the fit asks for grows with the spread of the
    /// projections. Here it must be enough for the largest spread that unit vectors can have; without
    /// [`normalize`](MahalanobisConfig::normalize) there is no largest, and the ridge is left to the fit. With
    /// [shrinkage](MahalanobisConfig::shrinkage) no ridge is needed.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate), and when
    /// [`centre_crop`](Self::centre_crop) is smaller than the images; [`DetectorError::ImageShape`] when the two sets differ in
    /// image size;
    /// [`DetectorError::Class`], or [`DetectorError::Infer`] where classes share a covariance, when there are too few
    /// training images ([`InferError::TooFewSamples`]), or too few for the ridge ([`InferError::RankDeficient`]);
    /// [`DetectorError::Infer`] with [`InferError::TooFewToCalibrate`] when there are too few calibration images for
    /// [`tpr`](Self::tpr).
    pub fn check_images(
        &self,
        train: &ImageSet,
        calibration: &ImageSet,
        projection_dim: usize,
    ) -> Result<(), DetectorError> {
        self.check_numbers(train, calibration)?;
        self.check_ridge(train, projection_dim)
    }

    /// What [`check_images`](Self::check_images) checks, but for the ridge.
    pub(super) fn check_numbers(
        &self,
        train: &ImageSet,
        calibration: &ImageSet,
    ) -> Result<(), DetectorError> {
        self.validate()?;
        let shape = |set: &ImageSet| [3, set.size().0, set.size().1];
        let (found, expected) = (shape(calibration), shape(train));
        if found != expected {
            return Err(DetectorError::ImageShape { found, expected });
        }
        if let Some(short_side) = self.centre_crop.filter(|&side| side < train.size().0.max(train.size().1)) {
            let (setting, value) = ("centre_crop", short_side.to_string());
            let expected = "at least as long as both sides of the images";
            return Err(DetectorError::Config { setting, value, expected });
        }
        // A covariance of its own takes two images; a share in a common one takes one, and one class takes two.
        let tied = self.gaussians.covariance == Covariance::Tied;
        let needed = if tied { 1 } else { 2 };
        for (class, (&count, name)) in train.class_counts().iter().zip(train.class_names()).enumerate() {
            let count = count as u64;
            if count < needed {
                let cluster = Cluster { class: Some(class), aux: 0 };
                let source = InferError::TooFewSamples { cluster, count, needed };
                return Err(DetectorError::Class { name: name.clone(), source });
            }
        }
        let (count, classes) = (train.len() as u64, train.class_names().len() as u64);
        if tied && count <= classes {
            let cluster = Cluster { class: None, aux: 0 };
            return Err(InferError::TooFewSamples { cluster, count, needed: classes + 1 }.into());
        }
        // Whether there is a threshold depends on the number of scores alone.
        Calibration::new(vec![0.0; calibration.len()])?.threshold(self.tpr)?;
        Ok(())
    }

    /// Refuses a ridge that may be too small to stand in for directions in which no image lies.
    fn check_ridge(&self, train: &ImageSet, dim: usize) -> Result<(), DetectorError> {
        let MahalanobisConfig { covariance, ridge, normalize, shrinkage, .. } = self.gaussians;
        if !normalize || shrinkage != Shrinkage::None {
            return Ok(());
        }
        // The images behind each covariance, and the means taken out of them.
        let counts = train.class_counts();
        let samples: Vec<_> = match covariance {
            Covariance::Tied => vec![(None, train.len(), counts.len())],
            _ => counts.into_iter().enumerate().map(|(class, count)| (Some(class), count, 1)).collect(),
        };
        let Some((class, count, means)) = samples.into_iter().min_by_key(|&(_, count, _)| count) else {
            return Ok(());
        };
        // The variances of n unit vectors sum to at most n / (n - means), in n - means directions. If these are not all,
        // the fit wants a millionth of their mean for the others.
        let freedom = count - means;
        let needed = 1e-6 * count as f64 / (freedom as f64).powi(2);
        if freedom >= dim || ridge >= needed {
            return Ok(());
        }
        let cluster = Cluster { class, aux: 0 };
        let source = InferError::RankDeficient { cluster, count: count as u64, dim, ridge, needed };
        Err(named(source, train.class_names()))
    }
}
