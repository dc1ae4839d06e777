use burn::tensor::module;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Distribution, Tensor, TensorData};

use super::*;

struct Case {
    input: [usize; 4],
    weight: [usize; 4],
    stride: usize,
    padding: usize,
}

fn case(input: [usize; 4], channels_out: usize, kernel: usize, stride: usize) -> Case {
    Case { input, weight: [channels_out, input[1], kernel, kernel], stride, padding: kernel / 2 }
}

fn cases() -> Vec<Case> {
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
        Case { input: [2, 6, 9, 9], weight: [10, 6, 3, 3], stride: 3, padding: 0 },
        Case { input: [2, 6, 10, 8], weight: [10, 6, 2, 2], stride: 2, padding: 1 },
    ]
}

/// Output, gradient of the input, gradient of the weight, for a fixed random gradient of the output.
fn run(
    case: &Case,
    conv: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<4>,
    input: &Tensor<4>,
    weight: &Tensor<4>,
    d_output: &Tensor<4>,
) -> [TensorData; 3] {
    let _ = case;
    let device = Device::flex().autodiff();
    let input = Tensor::<4>::from_data(input.to_data(), &device).require_grad();
    let weight = Tensor::<4>::from_data(weight.to_data(), &device).require_grad();
    let output = conv(input.clone(), weight.clone());
    let d_output = Tensor::<4>::from_data(d_output.to_data(), &device);
    let grads = (output.clone() * d_output).sum().backward();
    [output.into_data(), input.grad(&grads).unwrap().into_data(), weight.grad(&grads).unwrap().into_data()]
}

fn relative(a: &TensorData, b: &TensorData) -> f64 {
    assert_eq!(a.shape(), b.shape());
    let (a, b) = (a.as_slice::<f32>().unwrap(), b.as_slice::<f32>().unwrap());
    let scale = b.iter().map(|v| f64::from(v.abs())).fold(1e-30, f64::max);
    a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max) / scale
}

fn random(shape: [usize; 4]) -> Tensor<4> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

#[test]
fn equals_burns_own() {
    for case in cases() {
        let (input, weight) = (random(case.input), random(case.weight));
        let options = ConvOptions::new([case.stride; 2], [case.padding; 2], [1, 1], 1);
        let theirs = |x: Tensor<4>, w: Tensor<4>| module::conv2d(x, w, None, options.clone());
        let d_output = random(theirs(input.clone(), weight.clone()).dims());
        let steps = Steps { stride: case.stride, padding: case.padding };
        let ours = |x: Tensor<4>, w| convolve(x.permute([0, 2, 3, 1]), w, steps).permute([0, 3, 1, 2]);
        let theirs = run(&case, theirs, &input, &weight, &d_output);
        let ours = run(&case, ours, &input, &weight, &d_output);
        for (what, (ours, theirs)) in ["output", "d_input", "d_weight"].iter().zip(ours.iter().zip(&theirs)) {
            let error = relative(ours, theirs);
            assert!(error < 1e-5, "{what} of {:?} {:?} {}: {error}", case.input, case.weight, case.stride);
        }
    }
}
