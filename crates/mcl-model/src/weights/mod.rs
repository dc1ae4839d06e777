//! PyTorch's weights in and out, from `.pt` checkpoints and safetensors files.
//!
//! A whole model has the encoder under `enc.`, the head as `projector.0` and `projector.2` (the layout of the released MCL
//! checkpoints) and its classifier, if any, as `classifier`. A ResNet has torchvision's names, a FastNet `stem` and
//! `groups.0` to `groups.2`.
//!
//! Reading is all or nothing: everything a file lacks, has too much or has in another shape is collected into
//! one error before the first weight is replaced.

mod error;
mod named;
#[cfg(feature = "pytorch")]
mod pytorch;
mod safetensors;
mod state_dict;

use std::path::Path;

use self::state_dict::StateDict;
use crate::fast_net::FastNet;
use crate::model::MclModel;
use crate::parameters::{fast_net_weights, named_weights, resnet_weights};
use crate::resnet::ResNet;

pub(crate) use self::safetensors::{read_limited, replace_file};

pub use self::error::{WeightProblem, WeightsError};
pub use self::named::PytorchWeight;

impl MclModel {
    /// Takes the weights of a checkpoint written by `torch.save`.
    ///
    /// The state dict may be the file's root or stand under `net` (the released checkpoints), `state_dict` or
    /// `model`; prefixes that `DataParallel` and `torch.compile` add (`module.`, `_orig_mod.`) are removed.
    /// Other entries of the checkpoint, such as the optimizer's, are ignored when the state dict has a key of
    /// its own. Parsing does not run Python code. Half and double precision are converted to f32. Tar
    /// archives, which PyTorch before 0.1.10 wrote, are refused.
    ///
    /// # Errors
    ///
    /// [`WeightsError`] when the file cannot be read, is not such a checkpoint, or when any weight is
    /// missing, unused, of another shape, not floating point or not finite: all of them are listed.
    #[cfg(feature = "pytorch")]
    pub fn load_pytorch(self, path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        pytorch::read(path)?.apply_to(self, named_weights, path)
    }

    /// Takes the weights of a safetensors file with PyTorch's names and layout, such as
    /// [`save_safetensors`](Self::save_safetensors) or `safetensors.torch.save_file` write.
    ///
    /// Prefixes that `DataParallel` and `torch.compile` add are removed. Half and double precision are
    /// converted to f32.
    ///
    /// # Errors
    ///
    /// [`WeightsError`] when the file cannot be read, is not a safetensors file, is far larger than the
    /// network, or when any weight is missing, unused, of another shape, not floating point or not finite:
    /// all of them are listed.
    pub fn load_safetensors(mut self, path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let bytes = safetensors::read(&named_weights(&mut self), path)?;
        StateDict::from_safetensors(&bytes, path)?.apply_to(self, named_weights, path)
    }

    /// Writes the weights as f32 in PyTorch's names and layout: `torch.nn.Module.load_state_dict` takes them
    /// with `strict=True`.
    ///
    /// The file appears whole or not at all: it is written beside `path` and renamed. The same weights give
    /// the same bytes. `num_batches_tracked`, which Burn does not count and PyTorch does not use at a fixed
    /// momentum, is written as 0.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Write`] when the file cannot be written.
    pub fn save_safetensors(&self, path: impl AsRef<Path>) -> Result<(), WeightsError> {
        safetensors::write(self, path.as_ref())
    }

    /// Returns the weights that [`save_safetensors`](Self::save_safetensors) writes, in the order of PyTorch's
    /// `state_dict` and without `num_batches_tracked`.
    ///
    /// ```
    /// # use burn::tensor::Device;
    /// # use mcl_model::{MclModelConfig, ResNetConfig, ResNetDepth};
    /// let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(4);
    /// let weights = MclModelConfig::new(resnet).init_seeded(0, &Device::flex()).pytorch_weights();
    /// assert_eq!((weights[0].name.as_str(), &weights[0].shape[..]), ("enc.conv1.weight", &[4, 3, 3, 3][..]));
    /// ```
    pub fn pytorch_weights(&self) -> Vec<PytorchWeight> {
        named::pytorch_weights(self)
    }
}

/// The classifier of torchvision's networks, which the encoder does not have.
const CLASSIFIER: &str = "fc.";

impl ResNet {
    /// Takes the weights of a torchvision ResNet written by `torch.save`, such as the ImageNet weights of
    /// torchvision: names `conv1` to `layer4`. The classifier, `fc.weight` and `fc.bias`, is left out; all
    /// other names must fit.
    ///
    /// Layout of the file, precision and safety are those of [`MclModel::load_pytorch`].
    ///
    /// ```no_run
    /// # use burn::tensor::Device;
    /// # use mcl_model::{MclModel, ProjectionHeadConfig, ResNetConfig, ResNetDepth, Stem};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let device = Device::default();
    /// let config = ResNetConfig::new(ResNetDepth::ResNet50).with_stem(Stem::ImageNet);
    /// let encoder = config.try_init(&device)?.load_pytorch("resnet50.pth")?;
    /// let head = ProjectionHeadConfig::new(config.feature_dim()).try_init_seeded(0, &device)?;
    /// let model = MclModel::from_parts(encoder, head)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`MclModel::load_pytorch`]: every difference is listed, and nothing is loaded.
    #[cfg(feature = "pytorch")]
    pub fn load_pytorch(self, path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        pytorch::read(path)?.without(CLASSIFIER).apply_to(self, |encoder| resnet_weights("", encoder), path)
    }

    /// Takes the weights of a torchvision ResNet from a safetensors file, as
    /// [`load_pytorch`](Self::load_pytorch).
    ///
    /// # Errors
    ///
    /// As [`MclModel::load_safetensors`]: every difference is listed, and nothing is loaded.
    pub fn load_safetensors(mut self, path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let bytes = safetensors::read(&resnet_weights("", &mut self), path)?;
        let state_dict = StateDict::from_safetensors(&bytes, path)?.without(CLASSIFIER);
        state_dict.apply_to(self, |encoder| resnet_weights("", encoder), path)
    }
}

impl FastNet {
    /// Takes the weights of a FastNet that `torch.save` wrote.
    ///
    /// The names are those of a PyTorch module with a convolution `stem` and a sequence `groups` of three modules, each
    /// with `conv1`, `norm1`, `conv2`, `norm2` and, with `residual`, `conv3` and `norm3`: `stem.weight`, `stem.bias`,
    /// `groups.0.conv1.weight`, `groups.0.norm1.running_mean` and so on. All names must fit.
    ///
    /// Layout of the file, precision and safety are those of [`MclModel::load_pytorch`].
    ///
    /// # Errors
    ///
    /// As [`MclModel::load_pytorch`]: every difference is listed, and nothing is loaded.
    #[cfg(feature = "pytorch")]
    pub fn load_pytorch(self, path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        pytorch::read(path)?.apply_to(self, |encoder| fast_net_weights("", encoder), path)
    }

    /// Takes the weights of a FastNet from a safetensors file, as [`load_pytorch`](Self::load_pytorch).
    ///
    /// # Errors
    ///
    /// As [`MclModel::load_safetensors`]: every difference is listed, and nothing is loaded.
    pub fn load_safetensors(mut self, path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let bytes = safetensors::read(&fast_net_weights("", &mut self), path)?;
        let state_dict = StateDict::from_safetensors(&bytes, path)?;
        state_dict.apply_to(self, |encoder| fast_net_weights("", encoder), path)
    }
}
