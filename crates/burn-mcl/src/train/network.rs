//! The networks that a run has left in its directory.

use std::path::Path;

use burn::tensor::Device;
use mcl_model::{MclModel, Network};

use super::{TrainConfig, TrainError, ValidationReport, run_dir, stored};

/// The settings of the run in a directory, and the network of its newest checkpoint that is whole, in evaluation mode:
/// of a run that has ended, was stopped, or diverged and left its last good weights. Of a run that averages its weights the
/// network is the average.
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
    let config = stored::config(run_dir.as_ref())?;
    let network = config.model.try_init(&device.clone().without_autodiff())?;
    load_network_into(run_dir, &network)
}

/// [`load_network`] for a run of [`Trainer::with_network`](super::Trainer::with_network): `network` is one of the same
/// shape; the weights are replaced in a copy.
///
/// # Errors
///
/// As [`load_network`].
pub fn load_network_into<N: Network>(
    run_dir: impl AsRef<Path>,
    network: &N,
) -> Result<(TrainConfig, N), TrainError> {
    let root = run_dir.as_ref();
    let config = stored::config(root)?;
    let newest = run_dir::newest(root)?.ok_or_else(|| TrainError::Untrained { path: root.to_path_buf() })?;
    for (steps, error) in &newest.damaged {
        tracing::warn!("checkpoint {steps} is damaged, taking that of {} steps: {error}", newest.state.steps);
    }
    let network = run_dir::restore_result(&newest.artifact, network.valid())?;
    Ok((config, network))
}

/// The network of the best validation of the run in a directory, in evaluation mode, and what the validation found.
///
/// # Errors
///
/// [`TrainError::RunDir`] when the directory is of no run, no validation was done, or a file is damaged.
pub fn load_best_network(
    run_dir: impl AsRef<Path>,
    device: &Device,
) -> Result<(MclModel, ValidationReport), TrainError> {
    let config = stored::config(run_dir.as_ref())?;
    load_best(run_dir, &config.model.try_init(&device.clone().without_autodiff())?)
}

/// [`load_best_network`] for a run of [`Trainer::with_network`](super::Trainer::with_network).
///
/// # Errors
///
/// As [`load_best_network`].
pub fn load_best<N: Network>(
    run_dir: impl AsRef<Path>,
    network: &N,
) -> Result<(N, ValidationReport), TrainError> {
    run_dir::best(run_dir.as_ref(), network.valid())
}
