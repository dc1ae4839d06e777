//! A detector on disk: one directory with its settings, its weights and its Gaussians.
//!
//! ```text
//! detector.json            format, settings, class names, image size, threshold
//! model.safetensors        weights in PyTorch's layout
//! gaussians.safetensors    means [classes, 4, dim] and covariances [classes, 4, dim, dim], f64
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use mcl_infer::{MahalanobisRecord, MahalanobisScorer};
use mcl_model::MclModelConfig;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};

use super::{Detector, DetectorConfig, DetectorError};

/// Format of the directories that this version writes.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    version: String,
    model: MclModelConfig,
    detector: DetectorConfig,
    class_names: Vec<String>,
    image_size: (usize, usize),
    threshold: f64,
    calibration: Vec<f64>,
    training: Option<crate::train::TrainConfig>,
}

impl Detector {
    /// Writes the detector to the directory `path`. A detector that was there is replaced in the end, when
    /// the new one is whole; until then it is there, or beside it with the suffix `.previous`.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Io`] or [`DetectorError::Weights`] when a file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), DetectorError> {
        let path = path.as_ref();
        let partial = beside(path, ".partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(io("remove", &partial))?;
        }
        fs::create_dir_all(&partial).map_err(io("create", &partial))?;

        self.model.save_safetensors(partial.join("model.safetensors"))?;
        let file = partial.join("gaussians.safetensors");
        fs::write(&file, gaussians_to_bytes(&self.scorer)).map_err(io("write", &file))?;
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_string(),
            model: self.model_config.clone(),
            detector: self.config.clone(),
            class_names: self.class_names.clone(),
            image_size: self.image_size,
            threshold: self.threshold,
            calibration: self.calibration.scores().to_vec(),
            training: self.train_config.clone(),
        };
        let json = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
        let file = partial.join("detector.json");
        fs::write(&file, json).map_err(io("write", &file))?;

        // A directory cannot be renamed over another: the old one steps aside until the new one is in place.
        let previous = beside(path, ".previous");
        if path.exists() {
            if previous.exists() {
                fs::remove_dir_all(&previous).map_err(io("remove", &previous))?;
            }
            fs::rename(path, &previous).map_err(io("rename", path))?;
        }
        fs::rename(&partial, path).map_err(io("rename", &partial))?;
        if previous.exists() {
            fs::remove_dir_all(&previous).map_err(io("remove", &previous))?;
        }
        Ok(())
    }

    /// Reads a detector that [`save`](Self::save) wrote. Its scores are those of the detector that was saved.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Format`] when a newer version wrote it, [`DetectorError::Artifact`] or
    /// [`DetectorError::Weights`] when a file is damaged or does not fit the others, [`DetectorError::Io`]
    /// when one is missing.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, DetectorError> {
        let path = path.as_ref();
        let file = path.join("detector.json");
        let text = fs::read(&file).map_err(io("read", &file))?;
        let damaged = |reason: String| DetectorError::Artifact { path: file.clone(), reason };
        let json: serde_json::Value = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        let format = json.get("format").and_then(serde_json::Value::as_u64);
        let format = format.ok_or_else(|| damaged("it names no format".into()))? as u32;
        if format > FORMAT {
            return Err(DetectorError::Format { path: file, found: format, newest: FORMAT });
        }
        let manifest: Manifest = serde_json::from_value(json).map_err(|e| damaged(e.to_string()))?;
        manifest.detector.validate()?;

        let device = device.clone().without_autodiff();
        let model = manifest.model.try_init(&device)?.load_safetensors(path.join("model.safetensors"))?;
        let scorer = load_gaussians(&path.join("gaussians.safetensors"), &manifest, &device)?;
        Ok(Self {
            model,
            model_config: manifest.model,
            scorer,
            config: manifest.detector,
            class_names: manifest.class_names,
            image_size: manifest.image_size,
            threshold: manifest.threshold,
            calibration: mcl_infer::Calibration::new(manifest.calibration)?,
            train_config: manifest.training,
            progress: crate::Progress::Hidden,
        })
    }
}

/// The path with a suffix to its last name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(suffix);
    path.with_file_name(name)
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DetectorError {
    let path: PathBuf = path.to_path_buf();
    move |source| DetectorError::Io { action, path, source }
}

fn gaussians_to_bytes(scorer: &MahalanobisScorer) -> Vec<u8> {
    let bytes = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let (means, covariances) = (bytes(scorer.means()), bytes(scorer.covariances()));
    let [classes, aux, dim] = [scorer.classes(), scorer.aux_classes(), scorer.dim()];
    let view = |shape: Vec<usize>, data| TensorView::new(Dtype::F64, shape, data).expect("the shape fits");
    let tensors = [
        ("means", view(vec![classes, aux, dim], &means)),
        ("covariances", view(vec![classes, aux, dim, dim], &covariances)),
    ];
    serialize(tensors, None).expect("two named tensors are a valid file")
}

fn load_gaussians(
    path: &Path,
    manifest: &Manifest,
    device: &Device,
) -> Result<MahalanobisScorer, DetectorError> {
    let damaged = |reason: String| DetectorError::Artifact { path: path.to_path_buf(), reason };
    let bytes = fs::read(path).map_err(io("read", path))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    let tensor = |name: &str| -> Result<(Vec<usize>, Vec<f64>), DetectorError> {
        let view = file.tensor(name).map_err(|error| damaged(error.to_string()))?;
        if view.dtype() != Dtype::F64 {
            return Err(damaged(format!("`{name}` is {:?}, not F64", view.dtype())));
        }
        let values = view.data().chunks_exact(8);
        let values = values.map(|bytes| f64::from_le_bytes(bytes.try_into().expect("8 bytes"))).collect();
        Ok((view.shape().to_vec(), values))
    };
    let (shape, means) = tensor("means")?;
    let (_, covariances) = tensor("covariances")?;
    let [classes, aux_classes, dim] =
        shape.try_into().map_err(|shape| damaged(format!("`means` has shape {shape:?}, not three axes")))?;
    if classes != manifest.class_names.len() || dim != manifest.model.projection_dim {
        return Err(damaged(format!(
            "it holds {classes} classes of dimension {dim}, but the settings say {} of {}",
            manifest.class_names.len(),
            manifest.model.projection_dim
        )));
    }
    let config = manifest.detector.gaussians;
    let record = MahalanobisRecord { config, classes, aux_classes, dim, means, covariances };
    Ok(record.into_scorer(device)?)
}
