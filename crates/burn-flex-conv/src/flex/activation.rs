//! The activation behind the batch norm. The exact GELU on vectors: `gelu(x) = x Phi(x)`, with `Phi` the
//! distribution function of the normal distribution.
//!
//! ```text
//! Phi(x) = 1/2 (1 + erf(x / sqrt(2))),   gelu'(x) = Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi)
//! ```
//!
//! `Phi(x) - 1/2` is `x` times a polynomial in `x^2` for `|x| < 1`. Otherwise `Phi(-|x|)` is `exp(-x^2 / 2)`
//! times a polynomial in `1 / (1 + 0.4 |x|)`: small values keep their digits. The polynomials interpolate at
//! Chebyshev nodes.

use pulp::Simd;

/// A function of single values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    Identity,
    Relu,
    /// With the error function, not the approximation by tanh.
    Gelu,
}

/// `(Phi(x) - 1/2) / x` in powers of `x^2`, for `|x| <= 1`; error below 3e-10.
const CENTER: [f32; 6] =
    [0.398_942_3, -0.066_490_36, 0.009_973_328, -0.001_186_344, 0.000_113_502_3, -7.660_538e-6];
/// `Phi(-u) exp(u^2 / 2) / t` in powers of `t = 1 / (1 + 0.4 u)`, for `u >= 1`; relative error below 2e-7.
const TAIL: [f32; 7] =
    [0.159_597_47, 0.159_070_54, 0.139_202_57, 0.054_857_34, 0.106_606_67, -0.187_581_22, 0.068_549_75];
const TAIL_SLOPE: f32 = 0.4;
/// `2^f` in powers of `f`, for `|f| <= 1/2`; relative error below 3e-9.
const POWER_OF_TWO: [f32; 7] = [
    1.0,
    core::f32::consts::LN_2,
    0.240_226_5,
    0.055_503_27,
    0.009_618_057,
    0.001_340_042_8,
    0.000_154_614_45,
];
/// Added to a small number, it leaves the number's integer in the low bits, plus the bias of an exponent.
const TO_EXPONENT: f32 = 12_582_912.0 + 127.0;
const EXPONENT_SHIFT: u32 = 23;
/// The least exponent of a normal number. Smaller results are zero.
const LEAST_EXPONENT: f32 = -126.0;
const INVERSE_SQRT_2_PI: f32 = 0.398_942_3;

/// The polynomial with these coefficients, lowest power first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, x: S::f32s, coefficients: [f32; N]) -> S::f32s {
    let mut sum = simd.splat_f32s(coefficients[N - 1]);
    for &coefficient in coefficients[..N - 1].iter().rev() {
        sum = simd.mul_add_e_f32s(sum, x, simd.splat_f32s(coefficient));
    }
    sum
}

/// `exp(-square / 2)`
#[inline(always)]
fn bell<S: Simd>(simd: S, square: S::f32s) -> S::f32s {
    let exponent = simd.mul_f32s(square, simd.splat_f32s(-0.5 * core::f32::consts::LOG2_E));
    let offset = simd.splat_f32s(TO_EXPONENT);
    let rounded = simd.add_f32s(exponent, offset);
    let fraction = simd.sub_f32s(exponent, simd.sub_f32s(rounded, offset));
    let shift = simd.splat_u32s(EXPONENT_SHIFT);
    let scale = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), shift);
    let power = polynomial(simd, fraction, POWER_OF_TWO);
    let value = simd.mul_f32s(power, simd.transmute_f32s_u32s(scale));
    let is_normal = simd.greater_than_or_equal_f32s(exponent, simd.splat_f32s(LEAST_EXPONENT));
    simd.select_f32s(is_normal, value, simd.splat_f32s(0.0))
}

/// `Phi(x)` and `exp(-x^2 / 2)`.
#[inline(always)]
fn normal<S: Simd>(simd: S, x: S::f32s) -> [S::f32s; 2] {
    let one = simd.splat_f32s(1.0);
    let square = simd.mul_f32s(x, x);
    let bell = bell(simd, square);
    let center = simd.mul_add_e_f32s(x, polynomial(simd, square, CENTER), simd.splat_f32s(0.5));
    let t = simd.div_f32s(one, simd.mul_add_e_f32s(simd.abs_f32s(x), simd.splat_f32s(TAIL_SLOPE), one));
    let tail = simd.mul_f32s(simd.mul_f32s(polynomial(simd, t, TAIL), t), bell);
    let is_negative = simd.less_than_f32s(x, simd.splat_f32s(0.0));
    let outside = simd.select_f32s(is_negative, tail, simd.sub_f32s(one, tail));
    let distribution = simd.select_f32s(simd.less_than_f32s(square, one), center, outside);
    [distribution, bell]
}

#[inline(always)]
fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let [distribution, _] = normal(simd, x);
    simd.mul_f32s(x, distribution)
}

#[inline(always)]
fn gelu_slope<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let [distribution, bell] = normal(simd, x);
    let density = simd.mul_f32s(bell, simd.splat_f32s(INVERSE_SQRT_2_PI));
    simd.mul_add_e_f32s(x, density, distribution)
}

/// `gradient * gelu'((y - mean) * scale + beta)`
#[inline(always)]
fn gelu_gradient<S: Simd>(simd: S, gradient: S::f32s, [y, mean, scale, beta]: [S::f32s; 4]) -> S::f32s {
    let x = simd.add_f32s(simd.mul_f32s(simd.sub_f32s(y, mean), scale), beta);
    simd.mul_f32s(gradient, gelu_slope(simd, x))
}

/// `values = gelu(values)`
#[inline(always)]
pub(super) fn gelu_in_place<S: Simd>(simd: S, values: &mut [f32]) {
    let (vectors, rest) = S::as_mut_simd_f32s(values);
    for vector in vectors {
        *vector = gelu(simd, *vector);
    }
    if !rest.is_empty() {
        let values = gelu(simd, simd.partial_load_f32s(rest));
        simd.partial_store_f32s(rest, values);
    }
}

/// `gradient *= gelu'((y - mean) * scale + beta)`, on slices of the same length.
#[inline(always)]
pub(super) fn times_gelu_slope<S: Simd>(
    simd: S,
    gradient: &mut [f32],
    y: &[f32],
    [mean, scale, beta]: [&[f32]; 3],
) {
    let len = gradient.len();
    let (gradients, rest) = S::as_mut_simd_f32s(gradient);
    let inputs = [y, mean, scale, beta].map(|values| S::as_simd_f32s(&values[..len]));
    let [(y, y_rest), (mean, mean_rest), (scale, scale_rest), (beta, beta_rest)] = inputs;
    for ((((gradient, &y), &mean), &scale), &beta) in
        gradients.iter_mut().zip(y).zip(mean).zip(scale).zip(beta)
    {
        *gradient = gelu_gradient(simd, *gradient, [y, mean, scale, beta]);
    }
    if !rest.is_empty() {
        let inputs = [y_rest, mean_rest, scale_rest, beta_rest];
        let inputs = inputs.map(|values| simd.partial_load_f32s(values));
        let values = gelu_gradient(simd, simd.partial_load_f32s(rest), inputs);
        simd.partial_store_f32s(rest, values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::{Arch, WithSimd};

    /// The error function by its power series, or by the continued fraction of its complement: f64, to about
    /// 1e-15.
    fn erf(x: f64) -> f64 {
        let u = x.abs();
        let value = if u < 3.0 {
            let (mut sum, mut term) = (u, u);
            for n in 1..200 {
                term *= -u * u / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        } else {
            let fraction = (1..200).rev().fold(0.0, |rest, k| f64::from(k) / 2.0 / (u + rest));
            1.0 - (-u * u).exp() / std::f64::consts::PI.sqrt() / (u + fraction)
        };
        value.copysign(x)
    }

    #[derive(Clone, Copy)]
    enum Which {
        Gelu,
        Slope,
        Distribution,
    }

    struct Run {
        which: Which,
        x: Vec<f32>,
    }

    impl WithSimd for Run {
        type Output = Vec<f32>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
            let Self { which, mut x } = self;
            match which {
                Which::Gelu => gelu_in_place(simd, &mut x),
                Which::Slope => {
                    let mut gradient = vec![1.0; x.len()];
                    let (zero, one) = (vec![0.0; x.len()], vec![1.0; x.len()]);
                    times_gelu_slope(simd, &mut gradient, &x, [&zero, &one, &zero]);
                    x = gradient;
                }
                Which::Distribution => {
                    for value in &mut x {
                        let [distribution, _] = normal(simd, simd.splat_f32s(*value));
                        *value = simd.reduce_max_f32s(distribution);
                    }
                }
            }
            x
        }
    }

    fn archs() -> Vec<Arch> {
        let mut archs = vec![Arch::new(), Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
        archs
    }

    /// A length with a rest behind the last vector.
    fn inputs() -> Vec<f32> {
        let grid = (-60_000..=60_000).map(|i| i as f32 * 2.5e-4);
        let extremes = [1e-45, 1e-30, 1e-8, 0.999_999_94, 1.0, 1.000_000_1, 40.0, 1e4, 1e19, 1e30, f32::MAX];
        grid.chain(extremes).chain(extremes.map(|x: f32| -x)).chain([0.0, -0.0]).collect()
    }

    #[test]
    fn the_error_function_is_exact_to_2e_7() {
        for arch in archs() {
            let x = inputs();
            let found = arch.dispatch(Run { which: Which::Distribution, x: x.clone() });
            for (&x, &found) in x.iter().zip(&found) {
                let error = (2.0 * f64::from(found) - 1.0 - erf(f64::from(x) / 2f64.sqrt())).abs();
                assert!(error <= 2e-7, "{arch:?}: erf({x} / sqrt(2)) is off by {error:e}");
            }
        }
    }

    #[test]
    fn gelu_and_its_slope_are_exact_relative_to_the_input() {
        for arch in archs() {
            let x = inputs();
            let gelus = arch.dispatch(Run { which: Which::Gelu, x: x.clone() });
            let slopes = arch.dispatch(Run { which: Which::Slope, x: x.clone() });
            for ((&x, &gelu), &slope) in x.iter().zip(&gelus).zip(&slopes) {
                let v = f64::from(x);
                let distribution = 0.5 * (1.0 + erf(v / 2f64.sqrt()));
                let error = (f64::from(gelu) - v * distribution).abs();
                assert!(error <= 2e-7 * v.abs() + 2e-45, "{arch:?}: gelu({x}) is off by {error:e}");
                let density = (-0.5 * v * v).exp() / (2.0 * std::f64::consts::PI).sqrt();
                let error = (f64::from(slope) - distribution - v * density).abs();
                assert!(error <= 3e-7, "{arch:?}: gelu'({x}) is off by {error:e}");
            }
        }
    }

    #[test]
    fn values_that_are_not_finite_are_as_burns() {
        use burn::tensor::{Device, Tensor, activation};
        for arch in archs() {
            for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let device = Device::flex().autodiff();
                let burns = Tensor::<1>::from_floats([x], &device).require_grad();
                let y = activation::gelu(burns.clone());
                let slope: f32 = burns.grad(&y.clone().sum().backward()).unwrap().into_scalar();
                let y: f32 = y.into_scalar();
                let found = |which| arch.dispatch(Run { which, x: vec![x] })[0];
                assert_eq!(found(Which::Gelu).to_bits() << 1 >> 23, y.to_bits() << 1 >> 23, "{arch:?}: {x}");
                assert_eq!(found(Which::Gelu).is_nan(), y.is_nan(), "{arch:?}: gelu({x})");
                assert_eq!(found(Which::Slope).is_nan(), slope.is_nan(), "{arch:?}: gelu'({x})");
            }
        }
    }
}
