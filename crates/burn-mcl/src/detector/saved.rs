//! A detector on disk: one directory with its settings, its weights, its Gaussians and its calibration.
//!
//! ```text
//! manifest.json             what this is, format, version of the library, size and SHA-256 of the other files
//! detector.json             settings, class names, images, threshold; the training settings if they were given
//! model.safetensors         weights: under PyTorch's names, or, of a network of one's own, under the paths of its fields
//! gaussians.safetensors     means [classes, aux, dim] and covariances [classes, aux, dim, dim], f64; covariances that the
//!                           classes share are [aux, dim, dim]
//! calibration.safetensors   scores [n] of the held-out images, ascending, f64
//! ```

use std::path::Path;

use burn::tensor::Device;
use mcl_data::batch::Rotations;
use mcl_infer::Covariance;
use mcl_model::{MclModel, MclModelConfig, Network, ResNetDepth};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::arrays::{CALIBRATION, GAUSSIANS, load_calibration, load_gaussians, to_bytes};
use super::{Detector, DetectorConfig, DetectorError};
use crate::artifact::{Artifact, ArtifactError, ArtifactWriter, Kind, may_replace};
use crate::defaults;
use crate::files::write_synced;
use crate::progress::Progress;
use crate::train::{TrainConfig, bare, completed, kind};

const KIND: Kind = Kind { name: "burn-mcl detector", format: 1 };

const SETTINGS: &str = "detector.json";
const WEIGHTS: &str = "model.safetensors";

/// The files of a saved detector, without the manifest.
#[cfg(feature = "onnx")]
pub(crate) const FILES: [&str; 4] = [SETTINGS, WEIGHTS, GAUSSIANS, CALIBRATION];

/// The file `detector.json`. Settings are read as plain JSON first, so that an earlier version may have had fewer.
#[derive(Serialize, Deserialize)]
struct Settings {
    class_names: Vec<String>,
    images: Images,
    /// What an [`MclModel`] was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<Value>,
    /// The type of any other network, and the dimension of its projections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<OtherNetwork>,
    detector: Value,
    threshold: f64,
    #[serde(default)]
    training: Option<Value>,
}

#[derive(Serialize, Deserialize)]
struct OtherNetwork {
    kind: String,
    projection_dim: usize,
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

impl<N: Network> Detector<N> {
    /// Writes the detector to the directory `path`. A detector that was there is replaced when the new one is whole
    /// and on disk; whenever the process is killed or the disk is full, [`load`](Self::load) finds the old one or the
    /// new one.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Artifact`] or [`DetectorError::Weights`] when a file cannot be written, or when there is
    /// something at `path` that is no detector; what was there before is still there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), DetectorError> {
        self.save_with(path.as_ref(), &[], &[])
    }

    /// [`save`](Self::save) with other files in the directory: `listed` in the manifest, or `beside` the detector, to be edited
    /// by hand.
    pub(crate) fn save_with(
        &self,
        path: &Path,
        listed: &[(&str, &[u8])],
        beside: &[(&str, &[u8])],
    ) -> Result<(), DetectorError> {
        let settings = Settings {
            class_names: self.class_names.clone(),
            images: Images::of_size(self.image_size),
            model: self.model_config.as_ref().map(plain),
            network: self
                .model_config
                .is_none()
                .then(|| OtherNetwork { kind: kind::<N>(), projection_dim: self.scorer.dim() }),
            detector: plain(&self.config),
            threshold: self.threshold,
            training: self.train_config.as_ref().map(plain),
        };
        let [classes, aux, dim] = [self.scorer.classes(), self.scorer.aux_classes(), self.scorer.dim()];
        let (means, covariances) = (self.scorer.means(), self.scorer.covariances());
        // Classes that share a covariance have it once.
        let shared =
            covariances.len() == aux * dim * dim && self.scorer.config().covariance == Covariance::Tied;
        let shape = if shared { vec![aux, dim, dim] } else { vec![classes, aux, dim, dim] };
        let scores = self.calibration.scores();

        let mut writer = ArtifactWriter::new(path, KIND).map_err(ArtifactError::from)?;
        self.model.save_weights(&writer.path(WEIGHTS))?;
        let mut write = || {
            writer.adopt(WEIGHTS)?;
            let gaussians =
                [("means", vec![classes, aux, dim], means), ("covariances", shape.clone(), covariances)];
            writer.write(GAUSSIANS, &to_bytes(&gaussians))?;
            writer.write(CALIBRATION, &to_bytes(&[("scores", vec![scores.len()], scores)]))?;
            let json = serde_json::to_vec_pretty(&settings).expect("settings are plain data");
            writer.write(SETTINGS, &json)?;
            listed.iter().try_for_each(|(name, bytes)| writer.write(name, bytes))?;
            beside.iter().try_for_each(|(name, bytes)| write_synced(&writer.path(name), bytes))
        };
        write().and_then(|()| writer.commit()).map_err(ArtifactError::from)?;
        tracing::info!(path = %path.display(), "detector saved");
        Ok(())
    }

    /// Reads a detector of a network of one's own that [`save`](Self::save) wrote, as [`load`](Detector::load) does.
    /// `network` is one of the same shape, on the device that the detector is to use; the weights are replaced in a copy.
    ///
    /// # Errors
    ///
    /// As [`load`](Detector::load); [`DetectorError::OtherNetwork`] when the detector is of another type of network.
    pub fn load_network(path: impl AsRef<Path>, network: &N) -> Result<Self, DetectorError> {
        let (artifact, settings) = open(path.as_ref())?;
        let Some(OtherNetwork { kind: found, projection_dim }) = &settings.network else {
            return Err(DetectorError::OtherNetwork { found: "an MclModel".into(), expected: kind::<N>() });
        };
        // Earlier versions stored the path of the type's module too.
        if bare(found) != kind::<N>() {
            return Err(DetectorError::OtherNetwork { found: found.clone(), expected: kind::<N>() });
        }
        let dim = *projection_dim;
        Self::read(&artifact, settings, network.valid(), None, dim)
    }

    fn read(
        artifact: &Artifact,
        settings: Settings,
        network: N,
        model_config: Option<MclModelConfig>,
        dim: usize,
    ) -> Result<Self, DetectorError> {
        let config: DetectorConfig = settings_of(artifact, &DetectorConfig::new(), settings.detector)?;
        config.validate()?;
        check(&settings.images, config.rotations).map_err(|reason| artifact.unusable(SETTINGS, reason))?;
        let device = network.device().without_autodiff();
        let model = network.load_weights(&artifact.path(WEIGHTS))?;
        let scorer = load_gaussians(
            artifact,
            [settings.class_names.len(), config.rotations.aux_classes(), dim],
            &config,
            &device,
        )?;
        let calibration = load_calibration(artifact)?;
        let threshold = calibration.threshold(config.tpr)?;
        if threshold != settings.threshold {
            let reason =
                format!("the threshold is {:?}, but the scores give {threshold:?}", settings.threshold);
            return Err(artifact.unusable(SETTINGS, reason).into());
        }
        tracing::info!(path = %artifact.path("").display(), "detector loaded");
        Ok(Self {
            model,
            model_config,
            on_logits: config.score.on_logits(scorer.classes(), scorer.aux_classes()),
            scorer,
            config,
            class_names: settings.class_names,
            image_size: (settings.images.height, settings.images.width),
            threshold,
            calibration,
            train_config: settings.training.and_then(recorded),
            progress: Progress::Hidden,
        })
    }
}

impl Detector<MclModel> {
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
    /// many or one that was changed, or when the files contradict each other; [`DetectorError::OtherNetwork`] when the
    /// detector is of a network of one's own; [`DetectorError::Weights`], [`DetectorError::Model`] and
    /// [`DetectorError::Infer`] for weights, settings and Gaussians that cannot be used.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, DetectorError> {
        let (artifact, mut settings) = open(path.as_ref())?;
        let Some(model) = settings.model.take() else {
            let found = settings.network.map_or_else(|| "no network".into(), |network| network.kind);
            return Err(DetectorError::OtherNetwork { found, expected: kind::<MclModel>() });
        };
        let model: MclModelConfig = serde_json::from_value(defaults::model(model, ResNetDepth::ResNet18))
            .map_err(|error| artifact.unusable(SETTINGS, error.to_string()))?;
        if model.encoder.in_channels() != 3 {
            let reason =
                format!("the network takes {} channels, and images have 3", model.encoder.in_channels());
            return Err(artifact.unusable(SETTINGS, reason).into());
        }
        let (network, dim) = (model.try_init(&device.clone().without_autodiff())?, model.projection_dim);
        Self::read(&artifact, settings, network, Some(model), dim)
    }
}

/// The directory of a detector, after checking its files, and its settings.
fn open(path: &Path) -> Result<(Artifact, Settings), DetectorError> {
    let artifact = Artifact::open(path, KIND)?;
    let settings = artifact.json(SETTINGS)?;
    Ok((artifact, settings))
}

/// Settings that an earlier version may have stored with fewer fields.
fn settings_of<T: Serialize + serde::de::DeserializeOwned>(
    artifact: &Artifact,
    default: &T,
    stored: Value,
) -> Result<T, ArtifactError> {
    defaults::read(default, stored).map_err(|error| artifact.unusable(SETTINGS, error.to_string()))
}

fn plain(settings: &impl Serialize) -> Value {
    serde_json::to_value(settings).expect("settings are plain data")
}

/// The training settings, unless another version of the library had others: they are for the record, and no reason to
/// refuse a detector.
fn recorded(training: Value) -> Option<TrainConfig> {
    let config = serde_json::from_value(completed(training));
    config.inspect_err(|error| tracing::warn!("the training settings cannot be read: {error}")).ok()
}

/// Whether this version makes the images that the detector takes.
fn check(images: &Images, rotations: Rotations) -> Result<(), String> {
    let expected = Images::of_size((images.height, images.width));
    if *images != expected {
        return Err(format!("it takes {images:?}, and this version makes {expected:?}"));
    }
    if images.height == 0 || images.width == 0 {
        return Err(format!("images of {} x {} have no pixels", images.height, images.width));
    }
    if images.height != images.width && rotations.aux_classes() > 1 {
        return Err(format!("images of {} x {} cannot be rotated", images.height, images.width));
    }
    Ok(())
}
