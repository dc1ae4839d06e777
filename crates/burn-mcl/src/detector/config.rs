//! How a detector scores and decides.

use burn::config::Config;
use mcl_infer::{Aggregation, MahalanobisConfig, TestTimeViews};

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
    /// Images that go through the network at once.
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
        Ok(())
    }
}
