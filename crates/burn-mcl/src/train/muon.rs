//! Muon for the filters of convolutions.

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::Momentum;
use burn::optim::{Muon, Optimizer as BurnOptimizer, Sgd, SgdState};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// The factor of [`Optimizer::Muon`](super::Optimizer::Muon) on the step of a matrix of `[out, inputs]`.
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
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Muon for filters, which have four dimensions, and SGD for all other parameters.
///
/// Burn's Muon takes matrices only. The momentum is therefore kept here in the shape of the filters. Burn's
/// Muon, without momentum and weight decay, makes the orthogonal step.
#[derive(Clone)]
pub(super) struct FilterMuon {
    pub(super) momentum: Momentum,
    pub(super) muon: Muon,
    pub(super) sgd: Sgd,
    pub(super) others: f64,
    pub(super) decay: Option<WeightDecayConfig>,
    pub(super) normalize: bool,
    pub(super) scale: MuonScale,
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

#[cfg(test)]
mod tests {
    use super::super::optimizer::optimizer;
    use super::super::{Optimizer, TrainConfig};
    use super::*;
    use burn::module::{Module, Param};
    use burn::optim::GradientsParams;
    use burn::tensor::{TensorData, Tolerance};

    type Matrix = Vec<Vec<f64>>;

    fn product(a: &Matrix, b: &Matrix) -> Matrix {
        let columns = b[0].len();
        a.iter()
            .map(|row| (0..columns).map(|j| row.iter().zip(b).map(|(x, other)| x * other[j]).sum()).collect())
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
}
