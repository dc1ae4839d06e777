//! The optimizers of a run, on the device of the run.

use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::{Momentum, MomentumConfig};
use burn::optim::{
    AdamWConfig, DynOptimizer, DynState, ModuleOptimizer, MuonConfig, SgdConfig, StateSink, StateSource,
};
use burn::tensor::Device;
use burn::tensor::kind::BridgeTensor;
use serde::{Deserialize, Serialize};

use super::TrainConfig;
use super::muon::{FilterMuon, MuonScale};

/// The rule that makes a step from the gradients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Optimizer {
    /// Stochastic gradient descent, as in the paper. [`momentum`](TrainConfig::momentum),
    /// [`nesterov`](TrainConfig::nesterov) and [`weight_decay`](TrainConfig::weight_decay), an L2 penalty,
    /// apply.
    #[default]
    Sgd,
    /// AdamW (Loshchilov and Hutter 2019), with [`weight_decay`](TrainConfig::weight_decay) decoupled from
    /// the gradient.
    AdamW {
        /// Decay of the first moment, from 0 to below 1. Usual: 0.9
        beta_1: f64,
        /// Decay of the second moment, from 0 to below 1. Usual: 0.999
        beta_2: f64,
        /// Added to the root of the second moment, above 0. Usual: 1e-8
        epsilon: f64,
    },
    /// Muon (Jordan et al. 2024) for the filters of each convolution, seen as one matrix `w` of
    /// `[out, in * height * width]`. All other parameters take the steps of [`Sgd`](Self::Sgd).
    ///
    /// ```text
    /// w <- sqrt(out) * w / ||w||                   if normalize_filters
    /// w <- (1 - rate * weight_decay) * w
    /// w <- w - rate * scale * NewtonSchulz(g)      g: gradient with Nesterov's momentum
    /// ```
    ///
    /// `||w||` is the Frobenius norm, `rate` is the learning rate of the step, and `scale` is that of
    /// [`MuonScale`].
    Muon {
        /// Nesterov's momentum of the gradients of the filters, from 0 to below 1. Usual: 0.95
        momentum: f64,
        /// Newton-Schulz steps that make a gradient orthogonal, at least 1. Usual: 5, or 3 in short runs
        newton_schulz_steps: usize,
        /// Learning rate of all other parameters, as a multiple of the learning rate of the filters; above 0.
        others: f64,
        /// Whether each step first scales the filters of a convolution to the Frobenius norm `sqrt(out)`, the
        /// root of the number of filters. The filters then have a mean square norm of 1, and the learning
        /// rate alone decides how far a step turns them. A network needs a norm layer after such a
        /// convolution.
        #[serde(default, skip_serializing_if = "is_false")]
        normalize_filters: bool,
        /// Factor on the step by the shape of the matrix.
        #[serde(default, skip_serializing_if = "MuonScale::is_default")]
        scale: MuonScale,
    },
}

/// Earlier versions knew `false` alone, so `false` is not written.
fn is_false(setting: &bool) -> bool {
    !setting
}

impl Optimizer {
    /// Returns AdamW with the usual constants.
    pub fn adam_w() -> Self {
        Self::AdamW { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 }
    }

    /// Returns Muon with the usual constants, and the same learning rate for all other parameters.
    pub fn muon() -> Self {
        Self::Muon {
            momentum: 0.95,
            newton_schulz_steps: 5,
            others: 1.0,
            normalize_filters: false,
            scale: MuonScale::Shape,
        }
    }

    /// Returns the first constant that is out of range: name, value, and range.
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
            Self::Muon { momentum, newton_schulz_steps: steps, others, .. } => vec![
                ("optimizer.momentum", momentum, FRACTION, fraction(momentum)),
                ("optimizer.newton_schulz_steps", steps as f64, "at least 1", steps > 0),
                ("optimizer.others", others, "a positive number", positive(others)),
            ],
        };
        let wrong = checks.into_iter().find(|(_, _, _, right)| !right);
        wrong.map(|(name, value, expected, _)| (name, value.to_string(), expected))
    }
}

/// Makes the optimizer of a run.
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
        Optimizer::Muon { momentum, newton_schulz_steps, others, normalize_filters, scale } => {
            Box::new(FilterMuon {
                momentum: Momentum::new(&momentum_of(momentum, true)),
                muon: MuonConfig::new()
                    .with_momentum(momentum_of(0.0, false))
                    .with_ns_steps(newton_schulz_steps)
                    .build(),
                sgd: sgd(config).build(),
                others,
                decay: decay(config),
                normalize: normalize_filters,
                scale,
            })
        }
    };
    let device = device.clone().without_autodiff();
    sgd(config).init().with_group(ParamGroup::all(), OnDevice { inner, device }, None)
}

/// Momentum without dampening, as in the paper. Burn's default dampening is 0.1.
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

/// An optimizer whose saved state is read onto the device of the run. Burn reads the state onto the default
/// device first, and the machine may lack that device.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_muon_that_an_earlier_version_stored_are_read() {
        let stored = r#"{"Muon":{"momentum":0.95,"newton_schulz_steps":5,"others":1.0}}"#;
        assert_eq!(serde_json::from_str::<Optimizer>(stored).unwrap(), Optimizer::muon());
        assert_eq!(serde_json::to_string(&Optimizer::muon()).unwrap(), stored);
    }
}
