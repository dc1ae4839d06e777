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

/// The rule that makes a step from the gradients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Optimizer {
    /// Stochastic gradient descent, as in the paper. [`momentum`](TrainConfig::momentum),
    /// [`nesterov`](TrainConfig::nesterov) and [`weight_decay`](TrainConfig::weight_decay), an L2 penalty, apply.
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
    /// Muon (Jordan et al. 2024) for the filters of each convolution, seen as one matrix `w` of
    /// `[out, in * height * width]`. All other parameters take the steps of [`Sgd`](Self::Sgd).
    ///
    /// ```text
    /// w <- sqrt(out) * w / ||w||                   if normalize_filters
    /// w <- (1 - rate * weight_decay) * w
    /// w <- w - rate * scale * NewtonSchulz(g)      g: gradient with Nesterov's momentum
    /// ```
    ///
    /// `||w||` is the Frobenius norm, `rate` is the learning rate of the step, and `scale` is that of [`MuonScale`].
    Muon {
        /// Nesterov's momentum of the gradients of the filters, from 0 to below 1. Usual: 0.95
        momentum: f64,
        /// Newton-Schulz steps that make a gradient orthogonal, at least 1. Usual: 5, or 3 in short runs
        newton_schulz_steps: usize,
        /// Learning rate of all other parameters, as a multiple of the learning rate of the filters; above 0.
        others: f64,
        /// Whether each step first scales the filters of a convolution to the Frobenius norm `sqrt(out)`, the root of the
        /// number of filters. The filters then have a mean square norm of 1, and the learning rate alone decides how far a
        /// step turns them. A network needs a norm layer after such a convolution.
        #[serde(default, skip_serializing_if = "is_false")]
        normalize_filters: bool,
        /// Factor on the step by the shape of the matrix.
        #[serde(default, skip_serializing_if = "MuonScale::is_default")]
        scale: MuonScale,
    },
}

/// The factor of [`Optimizer::Muon`] on the step of a matrix of `[out, inputs]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MuonScale {
    /// `sqrt(max(1, out / inputs))` (Jordan et al. 2024).
    #[default]
    Shape,
    /// 1
    Plain,
}

impl MuonScale {
    /// Earlier versions knew the default alone, so the default is not written.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
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
        Optimizer::Muon { momentum, newton_schulz_steps, others, normalize_filters, scale } => Box::new(FilterMuon {
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
        }),
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

/// Muon for filters, which have four dimensions, and SGD for all other parameters.
///
/// Burn's Muon takes matrices only. The momentum is therefore kept here in the shape of the filters. Burn's Muon, without
/// momentum and weight decay, makes the orthogonal step.
#[derive(Clone)]
struct FilterMuon {
    momentum: Momentum,
    muon: Muon,
    sgd: Sgd,
    others: f64,
    decay: Option<WeightDecayConfig>,
    normalize: bool,
    scale: MuonScale,
}

/// Dimensions of the filters of a convolution: out, in, height, width.
const FILTER: usize = 4;

impl FilterMuon {
    /// The rate to give to Burn's Muon, which multiplies the rate by `sqrt(max(1, out / inputs))`.
    fn rate(&self, learning_rate: f64, [out, inputs]: [usize; 2]) -> f64 {
        match self.scale {
            MuonScale::Shape => learning_rate,
            MuonScale::Plain => learning_rate / (out as f64 / inputs as f64).max(1.0).sqrt(),
        }
    }
}

/// Scales the filters of a convolution to the Frobenius norm `sqrt(out)`. Filters of zeros stay zeros.
fn normalized<const D: usize>(weight: Tensor<D>) -> Tensor<D> {
    let norm = weight.clone().square().sum().sqrt().clamp_min(f32::MIN_POSITIVE); // [1]
    let out = weight.dims()[0] as f64;
    weight / norm.reshape([1; D]) * out.sqrt()
}

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
        let mut weight = if self.normalize { normalized(weight) } else { weight };
        if let Some(decay) = &self.decay {
            weight = weight.mul_scalar(1.0 - learning_rate * f64::from(decay.penalty));
        }
        let rate = self.rate(learning_rate, matrix);
        let (stepped, _) = self.muon.step(rate, weight.reshape(matrix), direction.reshape(matrix), None);
        (stepped.reshape(shape), Some(SgdState::new(Some(momentum))))
    }

    fn to_device<const D: usize>(state: SgdState<D>, device: &Device) -> SgdState<D> {
        Sgd::to_device(state, device)
    }
}

/// An optimizer whose saved state is read onto the device of the run. Burn reads the state onto the default device first, and
/// the machine may lack that device.
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
    use burn::module::{Module, Param};
    use burn::optim::GradientsParams;
    use burn::tensor::{Tolerance, TensorData};

    type Matrix = Vec<Vec<f64>>;

    fn product(a: &Matrix, b: &Matrix) -> Matrix {
        let columns = b[0].len();
        a.iter()
            .map(|row| {
                (0..columns).map(|j| row.iter().zip(b).map(|(x, other)| x * other[j]).sum()).collect()
            })
            .collect()
    }

    fn transposed(a: &Matrix) -> Matrix {
        (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
    }

    fn combined(parts: &[(f64, &Matrix)]) -> Matrix {
        let (rows, columns) = (parts[0].1.len(), parts[0].1[0].len());
        let at = |i: usize, j: usize| parts.iter().map(|(factor, part)| factor * part[i][j]).sum();
        (0..rows).map(|i| (0..columns).map(|j| at(i, j)).collect()).collect()
    }

    fn norm(a: &Matrix) -> f64 {
        a.iter().flatten().map(|x| x * x).sum::<f64>().sqrt()
    }

    /// Newton-Schulz on the smaller side of the matrix.
    fn orthogonal(gradient: &Matrix, steps: usize) -> Matrix {
        let tall = gradient.len() > gradient[0].len();
        let mut x = if tall { transposed(gradient) } else { gradient.clone() };
        x = combined(&[(1.0 / norm(&x), &x)]);
        for _ in 0..steps {
            let a = product(&x, &transposed(&x));
            let inner = combined(&[(-4.775, &a), (2.0315, &product(&a, &a))]);
            x = combined(&[(3.4445, &x), (1.0, &product(&inner, &x))]);
        }
        if tall { transposed(&x) } else { x }
    }

    #[derive(Module, Debug)]
    struct Filters {
        weight: Param<Tensor<4>>,
    }

    /// The filters `[out, inputs, 1, 1]` after steps with these gradients.
    fn stepped(config: &TrainConfig, start: &Matrix, gradients: &[Matrix], rate: f64) -> Vec<f64> {
        let device = Device::flex().autodiff();
        let tensor = |matrix: &Matrix| {
            let values: Vec<f32> = matrix.iter().flatten().map(|&x| x as f32).collect();
            Tensor::<4>::from_data(TensorData::new(values, [matrix.len(), matrix[0].len(), 1, 1]), &device)
        };
        let mut network = Filters { weight: Param::from_tensor(tensor(start)) };
        let mut optimizer = optimizer(config, &device);
        for gradient in gradients {
            let loss = (network.weight.val() * tensor(gradient)).sum();
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = optimizer.step(rate, network, gradients);
        }
        network.weight.val().into_data().iter::<f64>().collect()
    }

    #[test]
    fn muon_is_what_a_hand_computation_gives() {
        let wide = |seed: f64| -> Matrix {
            (0..2).map(|i| (0..3).map(|j| (seed + f64::from(3 * i + j) * 1.7).sin()).collect()).collect()
        };
        let (rate, momentum, decay) = (0.3, 0.6, 0.1);
        for (normalize_filters, scale, tall) in [
            (false, MuonScale::Shape, false),
            (false, MuonScale::Shape, true),
            (false, MuonScale::Plain, true),
            (true, MuonScale::Plain, false),
            (true, MuonScale::Plain, true),
        ] {
            let matrix = |seed| if tall { transposed(&wide(seed)) } else { wide(seed) };
            let (start, gradients) = (matrix(0.4), [matrix(1.1), matrix(2.3)]);
            let muon =
                Optimizer::Muon { momentum, newton_schulz_steps: 3, others: 1.0, normalize_filters, scale };
            let config = TrainConfig::new().with_optimizer(muon).with_weight_decay(decay);

            let (out, inputs) = (start.len() as f64, start[0].len() as f64);
            let factor = if scale == MuonScale::Plain { 1.0 } else { (out / inputs).max(1.0).sqrt() };
            let (mut weight, mut velocity) = (start.clone(), combined(&[(0.0, &start)]));
            for gradient in &gradients {
                velocity = combined(&[(momentum, &velocity), (1.0, gradient)]);
                let direction = orthogonal(&combined(&[(1.0, gradient), (momentum, &velocity)]), 3);
                if normalize_filters {
                    weight = combined(&[(out.sqrt() / norm(&weight), &weight)]);
                }
                weight = combined(&[(1.0 - rate * decay, &weight), (-rate * factor, &direction)]);
            }
            let expected = TensorData::from(weight.concat().as_slice());
            let found = TensorData::from(stepped(&config, &start, &gradients, rate).as_slice());
            found.assert_approx_eq::<f64>(&expected, Tolerance::absolute(1e-5));
        }
    }

    #[test]
    fn filters_of_zeros_are_not_divided_by_zero() {
        let zeros = Tensor::<4>::zeros([2, 3, 1, 1], &Device::flex());
        assert!(normalized(zeros).into_data().iter::<f32>().all(|value| value == 0.0));
    }

    #[test]
    fn settings_of_muon_that_an_earlier_version_stored_are_read() {
        let stored = r#"{"Muon":{"momentum":0.95,"newton_schulz_steps":5,"others":1.0}}"#;
        assert_eq!(serde_json::from_str::<Optimizer>(stored).unwrap(), Optimizer::muon());
        assert_eq!(serde_json::to_string(&Optimizer::muon()).unwrap(), stored);
    }
}
