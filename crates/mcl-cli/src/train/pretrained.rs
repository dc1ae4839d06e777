//! Networks with pretrained weights.

use std::error::Error;
use std::path::Path;

use burn_mcl::burn::tensor::Device;
use burn_mcl::data::printable;
use burn_mcl::model::{MclModel, MclModelConfig, ProjectionHead, ProjectionHeadConfig, ResNet, ResNetConfig};

/// The network to train: the encoder, and a new projection head.
pub(super) fn with_new_head(
    encoder: ResNet,
    config: &MclModelConfig,
    seed: u64,
    device: &Device,
) -> Result<MclModel, Box<dyn Error>> {
    let head = ProjectionHeadConfig::new(encoder.feature_dim())
        .with_hidden(config.hidden)
        .with_projection_dim(config.projection_dim)
        .try_init_seeded(seed, device)?;
    Ok(MclModel::from_parts(encoder, head)?)
}

/// The network whose projections are the features of the encoder.
pub(super) fn features(encoder: ResNet, device: &Device) -> Result<MclModel, Box<dyn Error>> {
    let head = ProjectionHead::identity(encoder.feature_dim(), device)?;
    Ok(MclModel::from_parts(encoder, head)?)
}

/// Reads the encoder from a file: safetensors by the end of its name, otherwise what `torch.save` writes.
pub(super) fn encoder(config: &ResNetConfig, file: &Path, device: &Device) -> Result<ResNet, Box<dyn Error>> {
    let encoder = config.try_init(device)?;
    let is_safetensors = file.extension().is_some_and(|extension| extension == "safetensors");
    let loaded = if is_safetensors { encoder.load_safetensors(file) } else { encoder.load_pytorch(file) };
    loaded.map_err(|error| {
        format!("--weights {}: {error} (the network is a ResNet of --depth and --width)", printable(file))
            .into()
    })
}
