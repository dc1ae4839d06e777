//! The convolutions that are tried, and how results are compared.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::super::ConvParams;

/// Relative to the largest value.
pub(super) const TOLERANCE: f64 = 1e-5;

#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// `[n, channels_in, h, w]`
    pub(super) input: [usize; 4],
    pub(super) channels_out: usize,
    pub(super) kernel: usize,
    pub(super) params: ConvParams,
}

pub(super) fn case(input: [usize; 4], channels_out: usize, kernel: usize, stride: usize) -> Case {
    Case { input, channels_out, kernel, params: ConvParams { stride, padding: kernel / 2 } }
}

impl Case {
    pub(super) fn weight(&self) -> [usize; 4] {
        [self.channels_out, self.input[1], self.kernel, self.kernel]
    }

    pub(super) fn output(&self) -> [usize; 4] {
        let [n, _, h, w] = self.input;
        let out = |size: usize| (size + 2 * self.params.padding - self.kernel) / self.params.stride + 1;
        [n, self.channels_out, out(h), out(w)]
    }

    pub(super) fn options(&self) -> ConvOptions<2> {
        ConvOptions::new([self.params.stride; 2], [self.params.padding; 2], [1, 1], 1)
    }
}

/// The shapes of the networks, each kind of tile and remainder, and degenerate sizes.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case([2, 3, 8, 8], 16, 3, 1),
        case([1, 16, 32, 32], 16, 3, 1),
        case([5, 16, 8, 8], 32, 3, 2),
        case([3, 32, 7, 9], 33, 3, 2),
        case([3, 5, 7, 6], 50, 3, 1),
        case([7, 64, 4, 4], 64, 3, 1),
        case([4, 16, 9, 8], 32, 1, 2),
        case([4, 24, 5, 5], 8, 1, 1),
        case([2, 3, 23, 20], 16, 7, 2),
        case([1, 1, 1, 1], 1, 3, 1),
        case([2, 4, 2, 1], 3, 3, 2),
        case([70, 8, 4, 4], 16, 3, 1),
        // By Winograd's method, with whole and cut tiles.
        case([3, 32, 5, 7], 48, 3, 1),
        case([2, 256, 6, 5], 128, 3, 1),
        case([20, 64, 8, 8], 64, 3, 1),
        Case {
            input: [2, 32, 7, 8],
            channels_out: 32,
            kernel: 3,
            params: ConvParams { stride: 1, padding: 0 },
        },
        Case {
            input: [2, 32, 3, 1],
            channels_out: 32,
            kernel: 3,
            params: ConvParams { stride: 1, padding: 2 },
        },
        // Other kernels and paddings than the networks have.
        Case {
            input: [2, 6, 9, 9],
            channels_out: 10,
            kernel: 3,
            params: ConvParams { stride: 3, padding: 0 },
        },
        Case {
            input: [2, 6, 10, 8],
            channels_out: 10,
            kernel: 2,
            params: ConvParams { stride: 2, padding: 1 },
        },
        Case {
            input: [2, 6, 10, 8],
            channels_out: 10,
            kernel: 1,
            params: ConvParams { stride: 1, padding: 1 },
        },
    ]
}

/// Normal values from a seed, on the host: Burn's own generator is shared by all tests of the process.
pub(super) fn random<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = StandardNormal.sample_iter(&mut rng).take(shape.iter().product()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

pub(super) fn to_last(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 2, 3, 1])
}

pub(super) fn to_first(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 3, 1, 2])
}

pub(super) fn device() -> Device {
    Device::flex().autodiff()
}

/// Output, then the gradients of the inputs for a random gradient of the output.
pub(super) fn run<const N: usize>(
    inputs: [Tensor<4>; N],
    f: impl Fn(&[Tensor<4>; N]) -> Tensor<4>,
) -> Vec<TensorData> {
    let inputs = inputs.map(Tensor::require_grad);
    let output = f(&inputs);
    let d_output = random(output.dims(), 99, &device());
    let grads = (output.clone() * d_output).sum().backward();
    let of_inputs = inputs.iter().map(|input| input.grad(&grads).unwrap().into_data());
    std::iter::once(output.clone().into_data()).chain(of_inputs).collect()
}

#[track_caller]
pub(super) fn assert_close(
    found: &[TensorData],
    expected: &[TensorData],
    tolerance: f64,
    what: impl std::fmt::Debug,
) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.shape(), expected.shape());
        let largest = expected.iter::<f64>().map(f64::abs).fold(1e-30, f64::max);
        let error = found
            .iter::<f64>()
            .zip(expected.iter::<f64>())
            .map(|(found, expected)| (found - expected).abs())
            .fold(0.0, |worst: f64, error| if error.is_nan() { f64::INFINITY } else { worst.max(error) });
        assert!(
            error.is_finite() && error <= tolerance * largest,
            "value {index} of {what:?}: off by {error:e}, largest {largest:e}"
        );
    }
}

#[test]
#[should_panic(expected = "off by inf")]
fn values_that_are_not_numbers_are_not_close() {
    let [found, expected] = [f32::NAN, 1.0].map(|value| TensorData::from([1.0, value]));
    assert_close(&[found], &[expected], TOLERANCE, "NaN");
}
