//! A trained network, its Gaussians and a threshold: images in, decisions out.

mod artifact;
mod config;
mod error;
mod gaussians;

pub use config::DetectorConfig;
pub use error::DetectorError;
pub use gaussians::fit_gaussians;

use burn::module::Module;
use burn::tensor::Tensor;
use mcl_data::ImageSet;
use mcl_data::batch::eval_batches;
use mcl_infer::MahalanobisScorer;
use mcl_model::{MclModel, MclModelConfig};

use crate::progress::Progress;

/// What a detector says of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// The nearest class, an index into [`Detector::class_names`].
    pub label: usize,
    /// Negative distance to that class; higher is more normal.
    pub score: f64,
    /// Whether the score is below the detector's threshold.
    pub is_anomaly: bool,
}

/// Decides whether images are normal, and of which class.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use burn_mcl::data::{Split, cifar10};
/// use burn_mcl::detector::{Detector, DetectorConfig};
/// use burn_mcl::train::{TrainConfig, Trainer};
///
/// let device = burn::tensor::Device::default();
/// let config = TrainConfig::new();
/// let train = cifar10::load("data".as_ref(), Split::Train)?;
/// let (train, held_out) = (train.take(45_000), train.subset(&(45_000..50_000).collect::<Vec<_>>())?);
///
/// let model = Trainer::new(config.clone(), &device)?.fit(&train)?;
/// let detector = Detector::fit(&model, config.model, &train, &held_out, DetectorConfig::new())?;
/// detector.save("detector")?;
/// for detection in Detector::load("detector", &device)?.detect_set(&held_out)? {
///     println!("class {}, score {:.2}, anomaly: {}", detection.label, detection.score, detection.is_anomaly);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Detector {
    model: MclModel,
    model_config: MclModelConfig,
    scorer: MahalanobisScorer,
    config: DetectorConfig,
    class_names: Vec<String>,
    image_size: (usize, usize),
    threshold: f64,
}

impl Detector {
    /// Fits the Gaussians to `train` and places the threshold on `calibration`.
    ///
    /// `calibration` holds normal images that the network was not trained on: on training images its scores
    /// are higher than they will ever be again. `model_config` is what `model` was made with; it is saved
    /// with the detector.
    ///
    /// # Errors
    ///
    /// [`DetectorError`] when a setting is out of range, a class has too few images for its Gaussian, there
    /// are too few calibration images for the threshold, or the two sets differ in image size.
    pub fn fit(
        model: &MclModel,
        model_config: MclModelConfig,
        train: &ImageSet,
        calibration: &ImageSet,
        config: DetectorConfig,
    ) -> Result<Self, DetectorError> {
        config.validate()?;
        let model = model.valid();
        let scorer = fit_gaussians(&model, train, &config.gaussians, config.batch_size, Progress::Hidden)?;
        let mut detector = Self {
            model,
            model_config,
            scorer,
            config,
            class_names: train.class_names().to_vec(),
            image_size: train.size(),
            threshold: f64::NEG_INFINITY,
        };
        let scores: Vec<f64> = detector.detect_set(calibration)?.iter().map(|found| found.score).collect();
        detector.threshold = threshold(scores, detector.config.tpr)?;
        Ok(detector)
    }

    /// Judges images [n, 3, height, width] with values in [0, 1].
    ///
    /// # Errors
    ///
    /// [`DetectorError::ImageShape`] when they are of another size than the training images, and
    /// [`DetectorError::NonFiniteScore`] when a pixel is not a number.
    pub fn detect(&self, images: Tensor<4>) -> Result<Vec<Detection>, DetectorError> {
        let [n, channels, height, width] = images.dims();
        let expected = [3, self.image_size.0, self.image_size.1];
        if [channels, height, width] != expected {
            return Err(DetectorError::ImageShape { found: [channels, height, width], expected });
        }
        if n == 0 {
            return Ok(Vec::new());
        }
        let views = self.config.views;
        let count = views.aux().len();
        let images = views.expand(images).reshape([n * count, channels, height, width]);
        let projections = self.model.forward(images).projections;
        let dim = projections.dims()[1];
        let scores = self.scorer.score(projections.reshape([n, count, dim]), views.aux())?;
        let prediction = self.config.aggregation.apply(scores);
        let labels = prediction.label.into_data();
        let scores = prediction.score.into_data();
        labels
            .iter::<i64>()
            .zip(scores.iter::<f64>())
            .enumerate()
            .map(|(image, (label, score))| {
                if !score.is_finite() {
                    return Err(DetectorError::NonFiniteScore { image, score });
                }
                Ok(Detection { label: label as usize, score, is_anomaly: score < self.threshold })
            })
            .collect()
    }

    /// Judges every image of a set, in its order.
    ///
    /// # Errors
    ///
    /// As [`detect`](Self::detect).
    pub fn detect_set(&self, set: &ImageSet) -> Result<Vec<Detection>, DetectorError> {
        let device = self.model.device();
        let mut detections = Vec::with_capacity(set.len());
        for batch in eval_batches(set, self.config.batch_size, &device)? {
            detections.extend(self.detect(batch.images)?);
        }
        Ok(detections)
    }

    /// Names of the classes, in the order of [`Detection::label`].
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Scores below this are anomalies.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The same detector with another threshold.
    #[must_use]
    pub fn with_threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &DetectorConfig {
        &self.config
    }

    /// The network, in evaluation mode.
    pub fn model(&self) -> &MclModel {
        &self.model
    }

    /// The Gaussians.
    pub fn scorer(&self) -> &MahalanobisScorer {
        &self.scorer
    }
}

/// The highest threshold that at least a share `tpr` of new normal images passes, on average over draws of the
/// calibration scores: the split-conformal quantile. Scores equal to the threshold pass.
fn threshold(mut scores: Vec<f64>, tpr: f64) -> Result<f64, DetectorError> {
    // Of n scores in ascending order, a new one falls below the k-th with probability at most k / (n + 1).
    let k = ((scores.len() + 1) as f64 * (1.0 - tpr) + 1e-9).floor() as usize;
    if k == 0 {
        let needed = (1.0 / (1.0 - tpr) - 1.0 - 1e-9).ceil() as usize;
        return Err(DetectorError::TooFewForThreshold { images: scores.len(), needed, tpr });
    }
    scores.sort_unstable_by(f64::total_cmp);
    Ok(scores[k - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threshold_is_the_conformal_quantile() {
        let scores: Vec<f64> = (0..99).rev().map(f64::from).collect();
        assert_eq!(threshold(scores.clone(), 0.95).unwrap(), 4.0); // k = 5 of 99
        assert_eq!(threshold(scores, 0.99).unwrap(), 0.0); // k = 1
    }

    #[test]
    fn too_few_calibration_images_say_how_many_are_needed() {
        match threshold(vec![0.0; 18], 0.95) {
            Err(DetectorError::TooFewForThreshold { images: 18, needed: 19, .. }) => {}
            other => panic!("{other:?}"),
        }
        assert!(threshold(vec![0.0; 19], 0.95).is_ok());
    }
}
