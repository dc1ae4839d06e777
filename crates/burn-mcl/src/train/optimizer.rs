//! The optimizers of a run, on the device of the run.

use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::{Momentum, MomentumConfig};
use burn::optim::{
    AdamWConfig, DynOptimizer, DynState, ModuleOptimizer, Muon, MuonConfig, Optimizer as BurnOptimizer, Sgd,
    SgdConfig, SgdState, StateSink, StateSource,
};
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::TrainConfig;

/// How gradients become steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Optimizer {
    /// Stochastic gradient descent with [`momentum`](TrainConfig::momentum), [`nesterov`](TrainConfig::nesterov) and
    /// [`weight_decay`](TrainConfig::weight_decay) as an L2 penalty: the paper's.
    #[default]
    Sgd,
    /// AdamW (Loshchilov and Hutter 2019), with [`weight_decay`](TrainConfig::weight_decay) decoupled from the gradient.
    AdamW {
        /// Decay of the first moment, from 0 to below 1. Usual: 0.9
        beta_1: f64,
        /// Decay of the second moment, from 0 to below 1. Usual: 0.999
        beta_2: f64,
        /// Added to the root of the second moment, above 0. Usual: 1e-8
        epsilon: f64,
    },
    /// Muon (Jordan et al. 2024) for the filters of convolutions, each as a matrix of `[out, in * height * width]`; SGD
    /// for everything else.
    Muon {
        /// Momentum of the filters' gradients, from 0 to below 1. Usual: 0.95
        momentum: f64,
        /// Newton-Schulz steps that make a gradient orthogonal, at least 1. Usual: 5
        newton_schulz_steps: usize,
        /// Learning rate of everything but the filters, as a multiple of the filters' rate; above 0.
        others: f64,
    },
}

impl Optimizer {
    /// AdamW with the usual constants.
    pub fn adam_w() -> Self {
        Self::AdamW { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 }
    }

    /// Muon with the usual constants, and the same learning rate for everything else.
    pub fn muon() -> Self {
        Self::Muon { momentum: 0.95, newton_schulz_steps: 5, others: 1.0 }
    }

    /// The first constant that is out of range: its name, its value, and the range.
    pub(super) fn out_of_range(&self) -> Option<(&'static str, String, &'static str)> {
        const FRACTION: &str = "from 0 to below 1";
        let fraction = |x: f64| (0.0..1.0).contains(&x);
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let checks = match *self {
            Self::Sgd => vec![],
            Self::AdamW { beta_1, beta_2, epsilon } => vec![
                ("optimizer.beta_1", beta_1, FRACTION, fraction(beta_1)),
                ("optimizer.beta_2", beta_2, FRACTION, fraction(beta_2)),
                ("optimizer.epsilon", epsilon, "a positive number", positive(epsilon)),
            ],
            Self::Muon { momentum, newton_schulz_steps: steps, others } => vec![
                ("optimizer.momentum", momentum, FRACTION, fraction(momentum)),
                ("optimizer.newton_schulz_steps", steps as f64, "at least 1", steps > 0),
                ("optimizer.others", others, "a positive number", positive(others)),
            ],
        };
        let wrong = checks.into_iter().find(|(_, _, _, right)| !right);
        wrong.map(|(name, value, expected, _)| (name, value.to_string(), expected))
    }
}

/// The optimizer of a run.
pub(super) fn optimizer(config: &TrainConfig, device: &Device) -> ModuleOptimizer {
    let inner: Box<dyn DynOptimizer> = match config.optimizer {
        Optimizer::Sgd => Box::new(sgd(config).build()),
        Optimizer::AdamW { beta_1, beta_2, epsilon } => Box::new(
            AdamWConfig::new()
                .with_beta_1(beta_1 as f32)
                .with_beta_2(beta_2 as f32)
                .with_epsilon(epsilon as f32)
                .with_weight_decay(config.weight_decay as f32)
                .build(),
        ),
        Optimizer::Muon { momentum, newton_schulz_steps, others } => Box::new(FilterMuon {
            momentum: Momentum::new(&momentum_of(momentum, true)),
            muon: MuonConfig::new()
                .with_momentum(momentum_of(0.0, false))
                .with_ns_steps(newton_schulz_steps)
                .with_weight_decay(decay(config))
                .build(),
            sgd: sgd(config).build(),
            others,
        }),
    };
    let device = device.clone().without_autodiff();
    sgd(config).init().with_group(ParamGroup::all(), OnDevice { inner, device }, None)
}

/// Momentum without dampening. Burn's dampening is not 0 by default; the paper's is.
fn momentum_of(momentum: f64, nesterov: bool) -> MomentumConfig {
    MomentumConfig::new().with_momentum(momentum).with_dampening(0.0).with_nesterov(nesterov)
}

/// SGD with the settings of a run.
fn sgd(config: &TrainConfig) -> SgdConfig {
    let mut sgd = SgdConfig::new();
    if config.momentum > 0.0 {
        sgd = sgd.with_momentum(Some(momentum_of(config.momentum, config.nesterov)));
    }
    sgd.with_weight_decay(decay(config))
}

fn decay(config: &TrainConfig) -> Option<WeightDecayConfig> {
    (config.weight_decay > 0.0).then(|| WeightDecayConfig::new(config.weight_decay as f32))
}

/// Muon for filters, which have four dimensions; SGD for the rest. Burn's Muon takes matrices only, so the momentum is
/// kept here in the filter's own shape, and Burn's Muon makes each step from it without a momentum of its own.
#[derive(Clone)]
struct FilterMuon {
    momentum: Momentum,
    muon: Muon,
    sgd: Sgd,
    others: f64,
}

/// Dimensions of a filter: out, in, height, width.
const FILTER: usize = 4;

impl BurnOptimizer for FilterMuon {
    type State<const D: usize> = SgdState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: f64,
        weight: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<SgdState<D>>,
    ) -> (Tensor<D>, Option<SgdState<D>>) {
        if D != FILTER {
            return self.sgd.step(self.others * learning_rate, weight, gradient, state);
        }
        let (direction, momentum) = self.momentum.transform(gradient, state.and_then(|state| state.momentum));
        let shape = weight.dims();
        let matrix = [shape[0], shape[1..].iter().product()]; // [out, in * h * w]
        let (stepped, _) =
            self.muon.step(learning_rate, weight.reshape(matrix), direction.reshape(matrix), None);
        (stepped.reshape(shape), Some(SgdState::new(Some(momentum))))
    }

    fn to_device<const D: usize>(state: SgdState<D>, device: &Device) -> SgdState<D> {
        Sgd::to_device(state, device)
    }
}

/// An optimizer whose saved state comes back on the device of the run. Burn's own comes back on the default device first,
/// which may be one that this machine does not have.
struct OnDevice {
    inner: Box<dyn DynOptimizer>,
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
        self.inner.step_dyn(rank, learning_rate, tensor, gradient, state)
    }

    fn to_device_dyn(&self, state: DynState, device: &Device) -> DynState {
        self.inner.to_device_dyn(state, device)
    }

    fn state_flatten(&self, prefix: &str, state: &DynState, sink: &mut StateSink) {
        self.inner.state_flatten(prefix, state, sink);
    }

    fn state_unflatten(
        &self,
        rank: usize,
        prefix: &str,
        source: &mut StateSource,
        _default: &Device,
    ) -> Option<DynState> {
        self.inner.state_unflatten(rank, prefix, source, &self.device)
    }
}
