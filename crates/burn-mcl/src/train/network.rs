//! Reads the networks of a run from its directory.

use std::path::Path;

use burn::tensor::Device;
use mcl_model::{MclModel, Network};

use super::{TrainConfig, TrainError, ValidationReport, run_dir, stored};

/// Reads the settings of a run, and the network of the newest checkpoint that is not damaged, in evaluation
/// mode. The run may have ended, may have been stopped, or may have diverged after its last good weights.
///
/// | run | network |
/// |---|---|
/// | without [`weight_average`](TrainConfig::weight_average) | the weights of the last step |
/// | with averaged weights, complete | the averaged weights with batch-norm statistics of their own |
/// | with averaged weights, incomplete | the averaged weights with averaged batch-norm statistics |
///
/// The network of an incomplete run with averaged weights may therefore give other scores than the network that
/// [`Trainer::fit`](super::Trainer::fit) would return at the same step.
///
/// This function changes nothing in the directory. A run in progress may delete the checkpoint during the
/// call: call again then.
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
/// [`TrainError::RunDir`] when the directory holds no run or cannot be read, or when the checkpoint is of
/// another network; [`TrainError::Untrained`] when there is no checkpoint; [`TrainError::NoCheckpoint`] when
/// all checkpoints are damaged; [`TrainError::Model`] when the stored settings make no network.
pub fn load_network(
    run_dir: impl AsRef<Path>,
    device: &Device,
) -> Result<(TrainConfig, MclModel), TrainError> {
    let config = stored::config(run_dir.as_ref())?;
    let network = config.model.try_init(&device.clone().without_autodiff())?;
    load_network_into(run_dir, &network)
}

/// [`load_network`] for a run of [`Trainer::with_network`](super::Trainer::with_network). `network` has the
/// shape of the network of the run. The weights of the run replace those of a copy of `network`.
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
        tracing::warn!("checkpoint {steps} is damaged, reading checkpoint {}: {error}", newest.state.steps);
    }
    let network = run_dir::restore_result(&newest.artifact, network.valid())?;
    Ok((config, network))
}

/// Reads the network of the best validation of a run, in evaluation mode, and the report of that validation.
///
/// # Errors
///
/// [`TrainError::RunDir`] when the directory holds no run, no validation was done, or a file is damaged;
/// [`TrainError::Model`] when the stored settings make no network.
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
