//! Stochastic gradient descent as the paper uses it, on the device of the run.

use burn::module::ParamGroup;
use burn::optim::{
    DynOptimizer, DynState, ModuleOptimizer, Sgd, SgdConfig, StateSink, StateSource,
    decay::WeightDecayConfig, momentum::MomentumConfig,
};
use burn::tensor::Device;
use burn::tensor::kind::BridgeTensor;

use super::TrainConfig;

/// The optimizer of a run. Burn's dampening is not 0 by default; the paper's is.
pub(super) fn optimizer(config: &TrainConfig, device: &Device) -> ModuleOptimizer {
    let momentum = MomentumConfig::new()
        .with_momentum(config.momentum)
        .with_dampening(0.0)
        .with_nesterov(config.nesterov);
    let mut sgd = SgdConfig::new();
    if config.momentum > 0.0 {
        sgd = sgd.with_momentum(Some(momentum));
    }
    if config.weight_decay > 0.0 {
        sgd = sgd.with_weight_decay(Some(WeightDecayConfig::new(config.weight_decay as f32)));
    }
    let device = device.clone().without_autodiff();
    sgd.init().with_group(ParamGroup::all(), OnDevice { sgd: sgd.build(), device }, None)
}

/// SGD whose saved state comes back on the device of the run. Burn's own comes back on the default device first,
/// which may be one that this machine does not have.
struct OnDevice {
    sgd: Sgd,
    device: Device,
}

impl DynOptimizer for OnDevice {
    fn step_dyn(
        &self,
        rank: usize,
        learning_rate: f64,
        tensor: BridgeTensor,
        gradient: BridgeTensor,
        state: Option<DynState>,
    ) -> (BridgeTensor, Option<DynState>) {
        self.sgd.step_dyn(rank, learning_rate, tensor, gradient, state)
    }

    fn to_device_dyn(&self, state: DynState, device: &Device) -> DynState {
        self.sgd.to_device_dyn(state, device)
    }

    fn state_flatten(&self, prefix: &str, state: &DynState, sink: &mut StateSink) {
        self.sgd.state_flatten(prefix, state, sink);
    }

    fn state_unflatten(
        &self,
        rank: usize,
        prefix: &str,
        source: &mut StateSource,
        _default: &Device,
    ) -> Option<DynState> {
        self.sgd.state_unflatten(rank, prefix, source, &self.device)
    }
}
