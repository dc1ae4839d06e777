//! Fitting a detector: the Gaussians of each class, and the threshold.

use mcl_data::ImageSet;
use mcl_infer::Calibration;
use mcl_model::{MclModel, MclModelConfig, Network};

use super::scorers::fit_views;
use super::{Detector, DetectorConfig, DetectorError};
use crate::progress::Progress;
use crate::train::shapes;

impl Detector<MclModel> {
    /// Fits the Gaussians of `model` on `train` and places the threshold by the scores of `calibration`: normal images
    /// that the network was not trained on.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Config`] when a setting is out of range or `model_config` is not what the model was made with,
    /// and as [`fit_network`](Self::fit_network).
    pub fn fit(
        model: &MclModel,
        model_config: MclModelConfig,
        train: &ImageSet,
        calibration: &ImageSet,
        config: DetectorConfig,
        progress: Progress,
    ) -> Result<Self, DetectorError> {
        config.check_numbers(train, calibration)?;
        check_model(model, &model_config)?;
        let mut detector = Self::fit_network(model, train, calibration, config, progress)?;
        detector.model_config = Some(model_config);
        Ok(detector)
    }
}

impl<N: Network> Detector<N> {
    /// Fits the Gaussians of any network on `train` and places the threshold by the scores of `calibration`: normal images
    /// that the network was not trained on. For an [`MclModel`] take [`fit`](Detector::fit), so that
    /// [`load`](Detector::load) can read the detector.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Config`] when a setting is out of range, [`DetectorError::ImageShape`] when the two sets differ in
    /// image size, [`DetectorError::Class`] when a class has too few images, [`DetectorError::Data`] when the images are
    /// not square, [`DetectorError::Infer`] when there are too few calibration images.
    pub fn fit_network(
        network: &N,
        train: &ImageSet,
        calibration: &ImageSet,
        config: DetectorConfig,
        progress: Progress,
    ) -> Result<Self, DetectorError> {
        config.check_numbers(train, calibration)?;
        tracing::info!(images = train.len(), calibration = calibration.len(), "fitting a detector");
        let model = network.valid();
        let scorer = fit_views(&model, train, &config, progress)?;
        let mut detector = Self {
            model,
            model_config: None,
            on_logits: config.score.on_logits(scorer.classes(), scorer.aux_classes()),
            scorer,
            config,
            class_names: train.class_names().to_vec(),
            image_size: train.size(),
            threshold: f64::NEG_INFINITY,
            calibration: Calibration::new(Vec::new())?,
            train_config: None,
            progress,
        };
        let scores = detector.detect_set(calibration)?.iter().map(|found| found.score).collect();
        detector.calibration = Calibration::new(scores)?;
        detector.threshold = detector.calibration.threshold(detector.config.tpr)?;
        tracing::info!(threshold = detector.threshold, tpr = detector.config.tpr, "detector fitted");
        Ok(detector)
    }
}

/// Whether the network is of the shape that the settings make: a detector saved with others could not be loaded.
fn check_model(model: &MclModel, config: &MclModelConfig) -> Result<(), DetectorError> {
    let (found, expected) = (shapes(model), shapes(&config.try_init(&model.device())?));
    let channels = config.encoder.in_channels();
    if found == expected && channels == 3 {
        return Ok(());
    }
    let values = |shapes: &[(String, Vec<usize>)]| -> usize {
        shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    };
    let (found, expected) = (values(&found), values(&expected));
    Err(DetectorError::Config {
        setting: "model_config",
        value: format!("a network of {expected} values for {channels} channels (the one given has {found})"),
        expected: "what the network was made with, for 3 channels",
    })
}
