//! Sums of exponentials in log space: the denominators of every loss here.
//!
//! Maxima are constants to the gradient (their contributions cancel), and what is left out of a sum is filled
//! with a finite value: an infinite one would turn gradients into NaN.

use burn::tensor::{Bool, Tensor};

/// Distance below the least logit at which a term vanishes from any sum: `exp(-1e4)` is 0 in every float
/// type.
///
/// The least temperature allows logits of 1e6, which f32 rounds by 0.06 and products in TF32 by 1e3: the
/// distance is more.
pub(crate) const VANISHING: f64 = 1e4;

/// The sums `sum_k exp(logits[i, k])` of the rows of a matrix, scaled by their largest term.
#[derive(Debug, Clone)]
pub(crate) struct SumExp {
    /// `exp(logits - largest)`, 0 where excluded, `[rows, columns]`.
    pub(crate) exponentials: Tensor<2>,
    /// Sum of the exponentials, at least 1, `[rows, 1]`.
    pub(crate) sum: Tensor<2>,
    /// Largest logit of the row, a constant, `[rows, 1]`.
    pub(crate) largest: Tensor<2>,
}

impl SumExp {
    /// Sums over the columns that are not `excluded`; `bound` is at least the magnitude of every logit.
    ///
    /// A row with nothing left has a logarithm of about `-(bound + 1e4)`, which vanishes beside any true
    /// logit.
    pub(crate) fn new(logits: Tensor<2>, excluded: Tensor<2, Bool>, bound: f64) -> Self {
        let logits = logits.mask_fill(excluded, -(bound + VANISHING));
        let largest = logits.clone().inner().max_dim(1);
        let exponentials = (logits - largest.clone()).exp();
        let sum = exponentials.clone().sum_dim(1);
        Self { exponentials, sum, largest }
    }

    /// The logarithm of the sums, `[rows, 1]`.
    pub(crate) fn log(&self) -> Tensor<2> {
        self.sum.clone().log() + self.largest.clone()
    }
}

/// `log(exp(left) + exp(right))`, element by element.
pub(crate) fn log_add_exp(left: Tensor<2>, right: Tensor<2>) -> Tensor<2> {
    let largest = left.clone().inner().max_pair(right.clone().inner());
    ((left - largest.clone()).exp() + (right - largest.clone()).exp()).log() + largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData, Tolerance};

    #[test]
    fn sums_survive_logits_that_overflow_an_exponential() {
        let device = Device::flex().autodiff();
        let logits =
            Tensor::<2>::from_floats([[100.0, 100.0, 90.0], [-100.0, -90.0, -100.0]], &device).require_grad();
        let excluded =
            Tensor::from_bool(TensorData::from([[false, false, true], [false, true, false]]), &device);
        let sum = SumExp::new(logits.clone(), excluded, 100.0).log();
        let gradients = sum.clone().sum().backward();
        let ln2 = core::f32::consts::LN_2;
        let tolerance = Tolerance::<f32>::relative(1e-6);
        sum.into_data().assert_approx_eq(&TensorData::from([[100.0 + ln2], [-100.0 + ln2]]), tolerance);
        let gradient = logits.grad(&gradients).unwrap().into_data();
        gradient.assert_approx_eq(&TensorData::from([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]]), tolerance);
    }

    #[test]
    fn an_empty_sum_adds_nothing() {
        let device = Device::flex();
        let excluded = Tensor::from_bool(TensorData::from([[true, true]]), &device);
        let empty = SumExp::new(Tensor::from_floats([[1.0, 2.0]], &device), excluded, 5.0).log();
        let sum = log_add_exp(empty, Tensor::from_floats([[-5.0]], &device));
        sum.into_data().assert_eq(&TensorData::from([[-5.0_f32]]), true);
    }
}
