//! GELU by Burn's operations, with its exact gradient.

use std::f64::consts::FRAC_1_SQRT_2;

use burn::tensor::Tensor;

/// `x / 2 (1 + erf(x / sqrt 2))`
///
/// The values are those of [`burn::tensor::activation::gelu`]. On most backends Burn's gradient is that of the approximation
/// by tanh, which is off by up to some tenths of a per cent; the gradient of this function is exact.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let share = x.clone().mul_scalar(FRAC_1_SQRT_2).erf().add_scalar(1.0);
    x * share.mul_scalar(0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tolerance};

    #[test]
    fn value_and_gradient_are_exact() {
        let device = Device::flex().autodiff();
        let x = Tensor::<1>::from_floats([-3.0, -1.0, -0.1, 0.0, 0.5, 1.0, 4.0], &device).require_grad();
        let y = gelu(x.clone());
        let gradient = x.grad(&y.clone().sum().backward()).unwrap();
        let tolerance = Tolerance::absolute(1e-6);
        y.into_data()
            .assert_approx_eq::<f32>(&burn::tensor::activation::gelu(x.clone()).into_data(), tolerance);
        // Phi(x) + x phi(x), computed in f64.
        let expected =
            [-0.011_945_647, -0.083_315_47, 0.420_476_9, 0.5, 0.867_495_1, 1.083_315_5, 1.000_503_6];
        gradient.into_data().assert_approx_eq::<f32>(&burn::tensor::TensorData::from(expected), tolerance);
    }
}
