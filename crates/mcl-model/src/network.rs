//! The seam for networks: images in, features and projections out.

use std::io;
use std::path::Path;

use burn::module::Module;
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::{Device, Tensor};

use crate::model::{Embedding, MclModel};
use crate::weights::{WeightProblem, WeightsError, read_limited, replace_file};

/// A network that training, scoring and detectors can use: images in, features and projections out.
///
/// [`MclModel`] is the built-in network. Any other Burn module becomes one with a single method:
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation::relu};
/// use mcl_model::{Embedding, Network};
///
/// #[derive(Module, Debug)]
/// struct TwoLayers {
///     encoder: Linear,
///     head: Linear,
/// }
///
/// impl Network for TwoLayers {
///     fn forward(&self, images: Tensor<4>) -> Embedding {
///         let features = relu(self.encoder.forward(images.flatten::<2>(1, 3))); // [n, 32]
///         let projections = self.head.forward(features.clone()); // [n, 16]
///         Embedding::new(features, projections)
///     }
/// }
///
/// let device = Device::flex();
/// let encoder = LinearConfig::new(3 * 8 * 8, 32).init(&device);
/// let network = TwoLayers { encoder, head: LinearConfig::new(32, 16).init(&device) };
/// let embedding = network.forward(Tensor::zeros([4, 3, 8, 8], &device));
/// assert_eq!(embedding.projections.dims(), [4, 16]);
/// ```
///
/// Training calls [`Module::valid`] for every evaluation, so layers with a training mode (batch norm, dropout) behave
/// as in any Burn module.
pub trait Network: Module {
    /// Features and projections of a batch of images.
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, 3, height, width]`, RGB in `[0, 1]`
    /// - output: features `[n, feature_dim]` and projections `[n, projection_dim]`; projections need no normalisation
    fn forward(&self, images: Tensor<4>) -> Embedding;

    /// The device of the weights: that of the first parameter, or the default device for a network without any.
    fn device(&self) -> Device {
        self.devices().into_iter().next().unwrap_or_default()
    }

    /// Writes the weights to a safetensors file. The file appears whole or not at all.
    ///
    /// The names are the paths of Burn's fields (`encoder.weight`); [`MclModel`] writes PyTorch's names instead.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Write`] when the file cannot be written.
    fn save_weights(&self, path: &Path) -> Result<(), WeightsError> {
        let failed = |source: io::Error| WeightsError::Write { path: path.into(), source };
        let mut store = SafetensorsStore::from_bytes(None);
        // The validation snapshot folds in the last update of running statistics.
        self.valid().save_into(&mut store).map_err(|error| failed(io::Error::other(error.to_string())))?;
        let bytes = store.get_bytes().map_err(|error| failed(io::Error::other(error.to_string())))?;
        replace_file(path, &bytes).map_err(failed)
    }

    /// The same network with the weights of a file that [`save_weights`](Self::save_weights) wrote.
    ///
    /// # Errors
    ///
    /// [`WeightsError`] when the file cannot be read, is no safetensors file, is far larger than the weights, or when
    /// a weight is missing, unused or of another shape.
    fn load_weights(mut self, path: &Path) -> Result<Self, WeightsError> {
        let bytes = read_limited(self.num_params(), path)?;
        let format =
            |reason: String| WeightsError::Format { path: path.into(), format: "safetensors", reason };
        let mut store = SafetensorsStore::from_bytes(Some(bytes)).validate(false).allow_partial(true);
        let result = self.load_from(&mut store).map_err(|error| format(error.to_string()))?;
        if let Some(error) = result.errors.first() {
            return Err(format(error.to_string()));
        }
        let missing =
            result.missing.into_iter().map(|(name, _)| WeightProblem::Missing { name, expected: vec![] });
        let unused = result.unused.into_iter().map(|name| WeightProblem::Unused { name, found: vec![] });
        let problems: Vec<_> = missing.chain(unused).collect();
        if problems.is_empty() {
            Ok(self)
        } else {
            Err(WeightsError::Mismatch { path: path.into(), problems })
        }
    }
}

impl Network for MclModel {
    fn forward(&self, images: Tensor<4>) -> Embedding {
        Self::forward(self, images)
    }

    fn device(&self) -> Device {
        Self::device(self)
    }

    fn save_weights(&self, path: &Path) -> Result<(), WeightsError> {
        self.save_safetensors(path)
    }

    fn load_weights(self, path: &Path) -> Result<Self, WeightsError> {
        self.load_safetensors(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};

    #[derive(Module, Debug)]
    struct Small {
        encoder: Linear,
        norm: BatchNorm,
    }

    impl Network for Small {
        fn forward(&self, images: Tensor<4>) -> Embedding {
            let features = self.norm.forward(self.encoder.forward(images.flatten::<2>(1, 3)));
            Embedding::new(features.clone(), features)
        }
    }

    fn small(outputs: usize, device: &Device) -> Small {
        let norm = BatchNormConfig::new(outputs).init(device);
        Small { encoder: LinearConfig::new(12, outputs).init(device), norm }
    }

    fn images(device: &Device) -> Tensor<4> {
        Tensor::arange(0..60, device).float().sin().reshape([5, 3, 2, 2])
    }

    #[test]
    fn weights_and_running_statistics_survive_a_file() {
        let device = Device::flex();
        let trained = small(4, &device.clone().autodiff());
        trained.forward(images(&device.clone().autodiff())); // moves the running statistics
        let trained = trained.valid();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights.safetensors");
        trained.save_weights(&path).unwrap();
        let loaded = small(4, &device).load_weights(&path).unwrap().valid();
        let outputs = |network: &Small| network.forward(images(&device)).projections.into_data();
        assert_eq!(outputs(&loaded), outputs(&trained));
        assert_ne!(outputs(&small(4, &device).valid()), outputs(&trained));
    }

    #[test]
    fn other_weights_are_refused() {
        let device = Device::flex();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights.safetensors");
        small(4, &device).save_weights(&path).unwrap();
        assert!(matches!(small(5, &device).load_weights(&path), Err(WeightsError::Format { .. })));
        LinearNetwork { encoder: LinearConfig::new(12, 4).init(&device) }.save_weights(&path).unwrap();
        match small(4, &device).load_weights(&path) {
            Err(WeightsError::Mismatch { problems, .. }) => {
                assert!(
                    problems.iter().any(|problem| problem.to_string().contains("norm.gamma")),
                    "{problems:?}"
                );
            }
            other => panic!("{other:?}"),
        }
        std::fs::write(&path, b"nothing").unwrap();
        assert!(matches!(small(4, &device).load_weights(&path), Err(WeightsError::Format { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(small(4, &device).load_weights(&path), Err(WeightsError::Read { .. })));
    }

    #[derive(Module, Debug)]
    struct LinearNetwork {
        encoder: Linear,
    }

    impl Network for LinearNetwork {
        fn forward(&self, images: Tensor<4>) -> Embedding {
            let features = self.encoder.forward(images.flatten::<2>(1, 3));
            Embedding::new(features.clone(), features)
        }
    }
}
