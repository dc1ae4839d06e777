//! Sums of exponentials in log space: the denominators of every loss here.
//!
//! Maxima are constants to the gradient (their contributions cancel), and what is left out of a sum is filled
//! with a finite value: an infinite one would turn gradients into NaN.

use burn::tensor::{Bool, Tensor};

/// Distance below the least logit at which a term vanishes from any sum: `exp(-1e4)` is 0 in every float type.
const VANISHING: f64 = 1e4;

/// `log sum_k exp(logits[i, k])` over the columns that are not `excluded`: `[rows, columns] -> [rows, 1]`.
///
/// `bound` is at least the magnitude of every logit. A row with nothing left yields a finite value of about
/// `-(bound + 1e4)`, which vanishes beside any true logit.
pub(crate) fn log_sum_exp(logits: Tensor<2>, excluded: Tensor<2, Bool>, bound: f64) -> Tensor<2> {
    let logits = logits.mask_fill(excluded, -(bound + VANISHING));
    let largest = logits.clone().inner().max_dim(1);
    (logits - largest.clone()).exp().sum_dim(1).log() + largest
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
        let sum = log_sum_exp(logits.clone(), excluded, 100.0);
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
        let empty = log_sum_exp(Tensor::from_floats([[1.0, 2.0]], &device), excluded, 5.0);
        let sum = log_add_exp(empty, Tensor::from_floats([[-5.0]], &device));
        sum.into_data().assert_eq(&TensorData::from([[-5.0_f32]]), true);
    }
}
