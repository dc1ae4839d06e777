//! The network that a run has left in its directory.

use std::path::Path;

use burn::tensor::Device;
use mcl_model::MclModel;

use super::{TrainConfig, TrainError, run_dir, stored};

/// The settings of the run in a directory, and the network of its newest checkpoint that is whole, in evaluation mode:
/// of a run that has ended, was stopped, or diverged and left its last good weights.
///
/// Nothing in the directory is changed. A run that is still on may delete the checkpoint meanwhile; then try again.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = burn::tensor::Device::default();
/// let (config, model) = burn_mcl::train::load_network("runs/cifar10", &device)?;
/// println!("a network with projections of {} numbers", config.model.projection_dim);
/// model.save_safetensors("model.safetensors")?; // for PyTorch
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`TrainError::RunDir`] when the directory is of no run or cannot be read, [`TrainError::Untrained`] when it has no
/// checkpoint, [`TrainError::NoCheckpoint`] when all are damaged.
pub fn load_network(
    run_dir: impl AsRef<Path>,
    device: &Device,
) -> Result<(TrainConfig, MclModel), TrainError> {
    let root = run_dir.as_ref();
    let config = stored::config(root)?;
    let newest = run_dir::newest(root)?.ok_or_else(|| TrainError::Untrained { path: root.to_path_buf() })?;
    for (steps, error) in &newest.damaged {
        tracing::warn!("checkpoint {steps} is damaged, taking that of {} steps: {error}", newest.state.steps);
    }
    let model = config.model.try_init(&device.clone().without_autodiff())?;
    let model = run_dir::restore_model(&newest.artifact, model)?;
    Ok((config, model))
}
