//! A trained network, its Gaussians and a threshold: images in, decisions out.

mod arrays;
mod config;
mod error;
mod fit;
mod pictures;
mod saved;
mod scorers;

pub use config::{DetectorConfig, Score};
pub use error::DetectorError;
#[cfg(feature = "onnx")]
pub(crate) use saved::FILES;
pub use scorers::{fit_gaussians, update_estimators};

use burn::tensor::Tensor;
use mcl_data::ImageSet;
use mcl_data::batch::eval_batches;
use mcl_infer::{
    Calibration, MahalanobisScorer, Neighbour, NeighbourIndex, Scorer, SoftmaxScorer, TestTimeViews,
    ViewBatch,
};
use mcl_model::{MclModel, MclModelConfig, Network};
use serde::Serialize;

use crate::embed::embed;
use crate::progress::Progress;
use crate::train::TrainConfig;

/// What a detector says of one image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Detection {
    /// The nearest class, an index into [`Detector::class_names`].
    pub label: usize,
    /// What [`DetectorConfig::score`] asks for; higher is more normal.
    pub score: f64,
    /// How unusual the score is among normal images, above 0 and at most 1: flagging all images with a p-value of at
    /// most 0.01 flags at most 1% of normal images, on average over draws of the calibration images
    /// ([`Calibration::p_value`]).
    pub p_value: f64,
    /// Whether the score is below the detector's threshold.
    pub is_anomaly: bool,
}

/// Decides whether images are normal, and of which class.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use burn_mcl::Progress;
/// use burn_mcl::data::{Split, cifar10};
/// use burn_mcl::detector::{Detector, DetectorConfig};
/// use burn_mcl::train::{TrainConfig, Trainer};
///
/// let device = burn::tensor::Device::default();
/// let config = TrainConfig::new();
/// let train = cifar10::load("data".as_ref(), Split::Train)?;
/// let (train, held_out) = (train.take(45_000), train.subset(&(45_000..50_000).collect::<Vec<_>>())?);
/// let settings = DetectorConfig::new();
/// settings.check_images(&train, &held_out, config.model.projection_dim)?;
///
/// let model = Trainer::new(config.clone(), &device)?.fit(&train)?;
/// let detector =
///     Detector::fit(&model, config.model.clone(), &train, &held_out, settings, Progress::Terminal)?;
/// detector.with_train_config(config).save("detector")?;
/// for found in Detector::load("detector", &device)?.detect_set(&held_out)? {
///     println!("class {}, p-value {:.3}, anomaly: {}", found.label, found.p_value, found.is_anomaly);
/// }
/// # Ok(())
/// # }
/// ```
///
/// A detector of any other [`Network`] is made by [`fit_network`](Self::fit_network), and read by
/// [`load_network`](Self::load_network).
#[derive(Debug)]
pub struct Detector<N: Network = MclModel> {
    model: N,
    /// What an [`MclModel`] was made with; `None` for other networks.
    model_config: Option<MclModelConfig>,
    scorer: MahalanobisScorer,
    /// Scores instead of the Gaussians, if the settings say so.
    on_logits: Option<SoftmaxScorer>,
    config: DetectorConfig,
    class_names: Vec<String>,
    image_size: (usize, usize),
    threshold: f64,
    calibration: Calibration,
    train_config: Option<TrainConfig>,
    progress: Progress,
}

impl Detector<MclModel> {
    /// What its network was made with.
    ///
    /// # Panics
    ///
    /// For a detector of [`fit_network`](Self::fit_network) or [`load_network`](Self::load_network), which do not know it.
    pub fn model_config(&self) -> &MclModelConfig {
        self.known_config().expect("a detector of Detector::fit or Detector::load")
    }

    /// [`model_config`](Self::model_config), if it is known.
    pub(crate) fn known_config(&self) -> Option<&MclModelConfig> {
        self.model_config.as_ref()
    }
}

impl<N: Network> Detector<N> {
    /// Judges images [n, 3, height, width] with values in [0, 1].
    ///
    /// # Errors
    ///
    /// [`DetectorError::ImageShape`] when they are of another size than the training images, and
    /// [`DetectorError::NonFiniteScore`] when a pixel is not a number.
    pub fn detect(&self, images: Tensor<4>) -> Result<Vec<Detection>, DetectorError> {
        let [n, channels, height, width] = images.dims();
        self.check_shape([channels, height, width])?;
        if n == 0 {
            return Ok(Vec::new());
        }
        let views = self.config.views;
        let count = views.aux().len();
        let images = views.expand(images).reshape([n * count, channels, height, width]);
        let outputs = self.model.forward(images);
        let by_image = |values: Tensor<2>| {
            let dim = values.dims()[1];
            values.reshape([n, count, dim])
        };
        let mut batch = ViewBatch::new(by_image(outputs.projections), views.aux());
        if let Some(logits) = outputs.logits {
            batch = batch.with_logits(by_image(logits));
        }
        let prediction = self.scored_by().score_aggregated(&batch, &self.config.aggregation)?;
        let (labels, scores) = prediction.into_host()?;
        labels
            .into_iter()
            .zip(scores)
            .enumerate()
            .map(|(image, (label, score))| {
                if !score.is_finite() {
                    return Err(DetectorError::NonFiniteScore { image, score });
                }
                Ok(Detection {
                    label,
                    score,
                    p_value: self.calibration.p_value(score),
                    is_anomaly: score < self.threshold,
                })
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
        let bar = self.progress.bar("scoring", set.len(), 0);
        for batch in eval_batches(set, self.config.batch_size, &device)? {
            let found = self.detect(batch.images)?;
            bar.inc(found.len() as u64);
            detections.extend(found);
        }
        bar.finish_and_clear();
        Ok(detections)
    }

    /// An index of the projections of `images`, in which [`neighbours`](Self::neighbours) looks: of the training
    /// images, to see what an image was taken for (Fig. 4 of the paper). It is not saved with the detector.
    ///
    /// # Errors
    ///
    /// [`DetectorError::ImageShape`] when the images are of another size than the detector's, and
    /// [`DetectorError::Infer`] when a projection is zero or not finite.
    pub fn index(&self, images: &ImageSet) -> Result<NeighbourIndex, DetectorError> {
        Ok(NeighbourIndex::new(self.project(images)?)?)
    }

    /// For each image of `images` the `k` images of the index that are nearest to it, nearest first.
    /// [`Neighbour::index`] counts the images that the index was made of.
    ///
    /// # Errors
    ///
    /// As [`index`](Self::index).
    pub fn neighbours(
        &self,
        index: &NeighbourIndex,
        images: &ImageSet,
        k: usize,
    ) -> Result<Vec<Vec<Neighbour>>, DetectorError> {
        Ok(index.search(self.project(images)?, k)?)
    }

    /// Projections of the images as they are: [images, dim].
    fn project(&self, images: &ImageSet) -> Result<Tensor<2>, DetectorError> {
        let (height, width) = images.size();
        self.check_shape([3, height, width])?;
        let embeddings =
            embed(&self.model, images, TestTimeViews::Identity, self.config.batch_size, self.progress)?;
        let dim = self.scorer.dim();
        Ok(embeddings.tensor(0, images.len(), &self.model.device()).reshape([images.len(), dim]))
    }

    fn check_shape(&self, found: [usize; 3]) -> Result<(), DetectorError> {
        let expected = [3, self.image_size.0, self.image_size.1];
        if found == expected { Ok(()) } else { Err(DetectorError::ImageShape { found, expected }) }
    }

    /// The same detector, with the settings that its network was trained with: they are saved with it, for the
    /// record.
    #[must_use]
    pub fn with_train_config(mut self, config: TrainConfig) -> Self {
        self.train_config = Some(config);
        self
    }

    /// The same detector, showing progress in [`detect_set`](Self::detect_set) and [`index`](Self::index), or not.
    #[must_use]
    pub fn with_progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// The same detector with the threshold at another share of normal images that are to pass, from the
    /// calibration scores it keeps.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Config`] when `tpr` is not above 0 and below 1, [`DetectorError::Infer`] when there are too
    /// few calibration scores for it.
    pub fn with_tpr(mut self, tpr: f64) -> Result<Self, DetectorError> {
        self.config.tpr = tpr;
        self.config.validate()?;
        self.threshold = self.calibration.threshold(tpr)?;
        Ok(self)
    }

    /// Names of the classes, in the order of [`Detection::label`].
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Height and width of the images that it takes.
    pub fn image_size(&self) -> (usize, usize) {
        self.image_size
    }

    /// Scores below this are anomalies: those with a p-value of at most about `1 - tpr`, see [`Calibration::threshold`].
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The scores of the held-out images, which the threshold and the p-values come from.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &DetectorConfig {
        &self.config
    }

    /// The settings its network was trained with, if they were [given](Self::with_train_config).
    pub fn train_config(&self) -> Option<&TrainConfig> {
        self.train_config.as_ref()
    }

    /// Whether its long work shows a bar.
    pub(crate) fn progress(&self) -> Progress {
        self.progress
    }

    /// The network, in evaluation mode.
    pub fn model(&self) -> &N {
        &self.model
    }

    /// What scores the images: the Gaussians, or the probabilities of the classifier ([`DetectorConfig::score`]).
    pub fn scored_by(&self) -> &dyn Scorer {
        match &self.on_logits {
            Some(scorer) => scorer,
            None => &self.scorer,
        }
    }

    /// The Gaussians.
    pub fn scorer(&self) -> &MahalanobisScorer {
        &self.scorer
    }
}
