//! How a detector scores and decides.

use burn::config::Config;
use mcl_data::ImageSet;
use mcl_infer::{
    Aggregation, Calibration, Cluster, Covariance, InferError, MahalanobisConfig, TestTimeViews,
};

use super::DetectorError;

/// Settings of a [`Detector`](super::Detector).
#[derive(Config, Debug, PartialEq)]
pub struct DetectorConfig {
    /// Covariance, distance and normalisation of the class Gaussians.
    #[config(default = "MahalanobisConfig::new()")]
    pub gaussians: MahalanobisConfig,
    /// Views of an image that are scored.
    #[config(default = "TestTimeViews::RotationsAndFlips")]
    pub views: TestTimeViews,
    /// How the scores of the views become one.
    #[config(default = "Aggregation::WeightedAverage")]
    pub aggregation: Aggregation,
    /// Share of normal images that are to pass as normal, above 0 and below 1. The threshold follows from it.
    #[config(default = 0.95)]
    pub tpr: f64,
    /// Images that go through the network at once, each in all its views: of 256 images in eight views, 2048.
    #[config(default = 256)]
    pub batch_size: usize,
}

impl DetectorConfig {
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
        let ridge = self.gaussians.ridge;
        if !(ridge.is_finite() && ridge >= 0.0) {
            let value = ridge.to_string();
            return Err(DetectorError::Config { setting: "ridge", value, expected: "a number not below 0" });
        }
        Ok(())
    }

    /// Checks all that [`Detector::fit`](super::Detector::fit) asks of the settings and of the numbers of images: to be
    /// called before a network is trained that could not become a detector.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate); [`DetectorError::ImageShape`] when the two sets differ in image size,
    /// [`DetectorError::Class`] when a class has too few training images, and [`DetectorError::Infer`] with
    /// [`InferError::TooFewToCalibrate`] when there are too few calibration images for [`tpr`](Self::tpr).
    pub fn check_images(&self, train: &ImageSet, calibration: &ImageSet) -> Result<(), DetectorError> {
        self.validate()?;
        let shape = |set: &ImageSet| [3, set.size().0, set.size().1];
        let (found, expected) = (shape(calibration), shape(train));
        if found != expected {
            return Err(DetectorError::ImageShape { found, expected });
        }
        // A covariance of its own takes two images, a share in a common one takes one.
        let needed = if self.gaussians.covariance == Covariance::PerClass { 2 } else { 1 };
        for (class, (&count, name)) in train.class_counts().iter().zip(train.class_names()).enumerate() {
            let count = count as u64;
            if count < needed {
                let cluster = Cluster { class: Some(class), aux: 0 };
                let source = InferError::TooFewSamples { cluster, count, needed };
                return Err(DetectorError::Class { name: name.clone(), source });
            }
        }
        // Whether there is a threshold depends on the number of scores alone.
        Calibration::new(vec![0.0; calibration.len()])?.threshold(self.tpr)?;
        Ok(())
    }
}
