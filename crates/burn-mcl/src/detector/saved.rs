//! A detector on disk: one directory with its settings, its weights, its Gaussians and its calibration.
//!
//! ```text
//! manifest.json             what this is, format, version of the library, size and SHA-256 of the other files
//! detector.json             settings, class names, images, threshold; the training settings if they were given
//! model.safetensors         weights under PyTorch's names
//! gaussians.safetensors     means [classes, 4, dim] and covariances [classes, 4, dim, dim], f64
//! calibration.safetensors   scores [n] of the held-out images, ascending, f64
//! ```

use std::path::Path;

use burn::tensor::Device;
use mcl_infer::{Calibration, MahalanobisRecord, MahalanobisScorer};
use mcl_model::MclModelConfig;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Detector, DetectorConfig, DetectorError};
use crate::artifact::{Artifact, ArtifactError, ArtifactWriter, Kind, may_replace};
use crate::progress::Progress;
use crate::train::{ROTATIONS, TrainConfig};

const KIND: Kind = Kind { name: "burn-mcl detector", format: 1 };

const SETTINGS: &str = "detector.json";
const WEIGHTS: &str = "model.safetensors";
const GAUSSIANS: &str = "gaussians.safetensors";
const CALIBRATION: &str = "calibration.safetensors";

/// Bytes of the largest header and of the most calibration scores (8 million) that are read.
const SPARE: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Settings {
    class_names: Vec<String>,
    images: Images,
    model: MclModelConfig,
    detector: DetectorConfig,
    threshold: f64,
    training: Option<Value>,
}

/// What the network takes: this version makes tensors of RGB images with values in [0, 1], not standardised.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Images {
    height: usize,
    width: usize,
    channels: String,
    range: [f64; 2],
}

impl Images {
    fn of_size((height, width): (usize, usize)) -> Self {
        Self { height, width, channels: "RGB".into(), range: [0.0, 1.0] }
    }
}

impl Detector {
    /// Writes the detector to the directory `path`. A detector that was there is replaced when the new one is whole
    /// and on disk; whenever the process is killed or the disk is full, [`load`](Self::load) finds the old one or the
    /// new one.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Artifact`] or [`DetectorError::Weights`] when a file cannot be written, or when there is
    /// something at `path` that is no detector; what was there before is still there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), DetectorError> {
        let path = path.as_ref();
        let settings = Settings {
            class_names: self.class_names.clone(),
            images: Images::of_size(self.image_size),
            model: self.model_config.clone(),
            detector: self.config.clone(),
            threshold: self.threshold,
            training: self.train_config.as_ref().map(|c| serde_json::to_value(c).expect("plain data")),
        };
        let [classes, aux, dim] = [self.scorer.classes(), self.scorer.aux_classes(), self.scorer.dim()];
        let (means, covariances) = (self.scorer.means(), self.scorer.covariances());
        let scores = self.calibration.scores();

        let mut writer = ArtifactWriter::new(path, KIND).map_err(ArtifactError::from)?;
        self.model.save_safetensors(writer.path(WEIGHTS))?;
        let mut write = || {
            writer.adopt(WEIGHTS)?;
            let gaussians = [
                ("means", vec![classes, aux, dim], means),
                ("covariances", vec![classes, aux, dim, dim], covariances),
            ];
            writer.write(GAUSSIANS, &to_bytes(&gaussians))?;
            writer.write(CALIBRATION, &to_bytes(&[("scores", vec![scores.len()], scores)]))?;
            let json = serde_json::to_vec_pretty(&settings).expect("settings are plain data");
            writer.write(SETTINGS, &json)
        };
        write().and_then(|()| writer.commit()).map_err(ArtifactError::from)?;
        tracing::info!(path = %path.display(), "detector saved");
        Ok(())
    }

    /// Checks that [`save`](Self::save) may write to `path`: nothing is there, or an empty directory, or a detector. To be
    /// called before a network is trained whose detector could not be saved.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Artifact`] when something else is there.
    pub fn may_save(path: impl AsRef<Path>) -> Result<(), DetectorError> {
        Ok(may_replace(path.as_ref(), KIND).map_err(ArtifactError::from)?)
    }

    /// Reads a detector that [`save`](Self::save) wrote, after checking that every file is the one that was saved.
    /// On the same backend its scores equal those of the detector that was saved, bit for bit.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Artifact`] when the directory is something else, of a newer format, lacks a file, has one too
    /// many or one that was changed, or when the files contradict each other; [`DetectorError::Weights`],
    /// [`DetectorError::Model`] and [`DetectorError::Infer`] for weights, settings and Gaussians that cannot be used.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, DetectorError> {
        let artifact = Artifact::open(path.as_ref(), KIND)?;
        let settings: Settings = artifact.json(SETTINGS)?;
        check(&settings).map_err(|reason| artifact.unusable(SETTINGS, reason))?;
        settings.detector.validate()?;

        let device = device.clone().without_autodiff();
        let model = settings.model.try_init(&device)?.load_safetensors(artifact.path(WEIGHTS))?;
        let scorer = load_gaussians(&artifact, &settings, &device)?;
        let calibration = load_calibration(&artifact)?;
        let threshold = calibration.threshold(settings.detector.tpr)?;
        if threshold != settings.threshold {
            let reason =
                format!("the threshold is {:?}, but the scores give {threshold:?}", settings.threshold);
            return Err(artifact.unusable(SETTINGS, reason).into());
        }
        tracing::info!(path = %path.as_ref().display(), "detector loaded");
        Ok(Self {
            model,
            model_config: settings.model,
            scorer,
            config: settings.detector,
            class_names: settings.class_names,
            image_size: (settings.images.height, settings.images.width),
            threshold,
            calibration,
            train_config: settings.training.and_then(recorded),
            progress: Progress::Hidden,
        })
    }
}

/// The training settings, unless another version of the library had others: they are for the record, and no reason to
/// refuse a detector.
fn recorded(training: Value) -> Option<TrainConfig> {
    let config = serde_json::from_value(training);
    config.inspect_err(|error| tracing::warn!("the training settings cannot be read: {error}")).ok()
}

/// What the settings must fulfil so that the detector can be asked.
fn check(settings: &Settings) -> Result<(), String> {
    let images = &settings.images;
    let expected = Images::of_size((images.height, images.width));
    if *images != expected {
        return Err(format!("it takes {images:?}, and this version makes {expected:?}"));
    }
    if images.height == 0 || images.height != images.width {
        return Err(format!("images of {} x {} cannot be rotated", images.height, images.width));
    }
    match settings.model.resnet.in_channels {
        3 => Ok(()),
        channels => Err(format!("the network takes {channels} channels, and images have 3")),
    }
}

fn load_gaussians(
    artifact: &Artifact,
    settings: &Settings,
    device: &Device,
) -> Result<MahalanobisScorer, DetectorError> {
    let (classes, dim) = (settings.class_names.len(), settings.model.projection_dim);
    let numbers = [classes, ROTATIONS, dim, dim.saturating_add(1), 8];
    let limit = numbers.iter().fold(1u64, |product, &n| product.saturating_mul(n as u64));
    let bytes = artifact.bytes(GAUSSIANS, limit.saturating_add(SPARE))?;
    let damaged = |reason| artifact.unusable(GAUSSIANS, reason);
    let means = from_bytes(&bytes, "means", &[classes, ROTATIONS, dim]).map_err(damaged)?;
    let covariances = from_bytes(&bytes, "covariances", &[classes, ROTATIONS, dim, dim]).map_err(damaged)?;
    let config = settings.detector.gaussians;
    let record = MahalanobisRecord { config, classes, aux_classes: ROTATIONS, dim, means, covariances };
    Ok(record.into_scorer(device)?)
}

fn load_calibration(artifact: &Artifact) -> Result<Calibration, DetectorError> {
    let bytes = artifact.bytes(CALIBRATION, SPARE)?;
    let damaged = |reason| artifact.unusable(CALIBRATION, reason);
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    let count = file.tensor("scores").map_or(0, |scores| scores.data().len() / 8);
    Ok(Calibration::new(from_bytes(&bytes, "scores", &[count]).map_err(damaged)?)?)
}

/// Named arrays of f64 in the safetensors format.
fn to_bytes(arrays: &[(&str, Vec<usize>, &[f64])]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> =
        arrays.iter().map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = arrays.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(Dtype::F64, shape.clone(), bytes).expect("the shape fits"))
    });
    serialize(views, None).expect("named arrays are a valid file")
}

/// An array of [`to_bytes`], which must have this shape.
fn from_bytes(bytes: &[u8], name: &str, shape: &[usize]) -> Result<Vec<f64>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let view = file.tensor(name).map_err(|error| error.to_string())?;
    if view.dtype() != Dtype::F64 || view.shape() != shape {
        let (found, dtype) = (view.shape(), view.dtype());
        return Err(format!("`{name}` is {dtype:?} of shape {found:?}, and should be F64 of {shape:?}"));
    }
    let values = view.data().chunks_exact(8);
    Ok(values.map(|bytes| f64::from_le_bytes(bytes.try_into().expect("8 bytes"))).collect())
}
