//! Against the composition of Burn's own operations, against finite differences, and against itself on other threads.

use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::conv2d;
use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;

use super::*;
use cases::*;

mod cases;
mod network;

fn assert_convolves_as_burn(case: &Case) {
    let inputs = || [random(case.input, 1, &device()), random(case.weight(), 2, &device())];
    // The input is not contiguous in this layout, and neither is the gradient that comes back.
    let found = run(inputs(), |[x, w]| to_first(convolve(to_last(x.clone()), w.clone(), case.steps)));
    let expected = run(inputs(), |[x, w]| conv2d(x.clone(), w.clone(), None, case.options()));
    assert_close(&found, &expected, TOLERANCE, case);
}

#[test]
fn convolution_is_burns() {
    for case in cases() {
        assert_convolves_as_burn(&case);
    }
}

fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..40, (2usize..5).prop_map(|vectors| 16 * vectors)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn convolution_is_burns_for_any_shape(
        n in 1usize..5, channels in channels(), h in 1usize..13, w in 1usize..13, channels_out in channels(),
        kernel in 1usize..5, stride in 1usize..4, padding in 0usize..3,
    ) {
        prop_assume!(h + 2 * padding >= kernel && w + 2 * padding >= kernel);
        let steps = Steps { stride, padding };
        assert_convolves_as_burn(&Case { input: [n, channels, h, w], channels_out, kernel, steps });
    }
}

/// A batch norm whose values are not the initial ones.
fn batch_norm(channels: usize, device: &Device) -> BatchNorm {
    let mut norm = BatchNormConfig::new(channels).with_epsilon(1e-3).init(device);
    norm.gamma = Param::from_tensor(random([channels], 3, device) * 0.3 + 1.0);
    norm.beta = Param::from_tensor(random([channels], 4, device) * 0.3);
    norm.running_mean.update(random([channels], 5, device) * 0.1);
    norm.running_var.update(random([channels], 6, device).abs() + 0.5);
    norm
}

/// Output, the gradients of everything that has one, and the running statistics after it, as `[1, 1, 1, n]` where flat.
fn run_layer(
    case: &Case,
    norm: &BatchNorm,
    ours: bool,
    with_shortcut: bool,
    with_relu: bool,
) -> Vec<TensorData> {
    let device = device();
    let inputs = [
        random(case.input, 1, &device),
        random(case.weight(), 2, &device),
        random(case.output(), 7, &device),
    ];
    let inputs = inputs.map(Tensor::require_grad);
    let [x, w, s] = inputs.clone();
    let output = if ours {
        let s = with_shortcut.then(|| to_last(s));
        to_first(layer(to_last(x), w, norm, s, case.steps, with_relu))
    } else {
        let mut y = norm.forward(conv2d(x, w, None, case.options()));
        if with_shortcut {
            y = y + s;
        }
        if with_relu { relu(y) } else { y }
    };
    let d_output = random(output.dims(), 99, &device);
    let grads = (output.clone() * d_output).sum().backward();
    let mut found = vec![output.into_data()];
    found.extend(inputs.iter().filter_map(|input| input.grad(&grads)).map(Tensor::into_data));
    found.extend([&norm.gamma, &norm.beta].map(|param| param.val().grad(&grads).unwrap().into_data()));
    found.extend([&norm.running_mean, &norm.running_var].map(|state| state.value_sync().into_data()));
    found
}

#[test]
fn layer_is_convolution_batch_norm_shortcut_and_relu() {
    for case in cases() {
        if case.output()[0] * case.output()[2] * case.output()[3] < 8 {
            continue; // The variance of a few values is no stable reference.
        }
        for (shortcut, relu) in [(false, false), (false, true), (true, false), (true, true)] {
            let norm = || batch_norm(case.channels_out, &device());
            let found = run_layer(&case, &norm(), true, shortcut, relu);
            let expected = run_layer(&case, &norm(), false, shortcut, relu);
            assert_eq!(found.len(), if shortcut { 8 } else { 7 });
            assert_close(&found, &expected, 2.0 * TOLERANCE, (case, shortcut, relu));
        }
    }
}

#[test]
fn a_frozen_batch_norm_keeps_its_statistics_and_passes_gradients() {
    let case = case([3, 8, 7, 6], 12, 3, 2);
    for shortcut in [false, true] {
        let norm = || batch_norm(case.channels_out, &device()).freeze();
        let trained = |norm: &BatchNorm, ours: bool| {
            let inputs = [random(case.input, 1, &device()), random(case.weight(), 2, &device())];
            run(inputs, |[x, w]| {
                let (x, w) = (x.clone(), w.clone());
                let s = shortcut.then(|| random(case.output(), 7, &device()));
                if ours {
                    return to_first(layer(to_last(x), w, norm, s.map(to_last), case.steps, true));
                }
                let y = norm.forward(conv2d(x, w, None, case.options()));
                relu(s.map_or(y.clone(), |s| y + s))
            })
        };
        let norms = [norm(), norm()];
        assert_close(&trained(&norms[0], true), &trained(&norms[1], false), TOLERANCE, case);
        let untouched = batch_norm(case.channels_out, &device());
        assert_eq!(
            norms[0].running_mean.value_sync().into_data(),
            untouched.running_mean.value_sync().into_data()
        );
    }
}

#[test]
fn evaluation_uses_the_running_statistics() {
    let plain = Device::flex();
    for case in cases() {
        for (shortcut, with_relu) in [(false, false), (false, true), (true, true)] {
            let norm = batch_norm(case.channels_out, &plain);
            let [x, w, s] = [(case.input, 1), (case.weight(), 2), (case.output(), 7)]
                .map(|(shape, seed)| random(shape, seed, &plain));
            let ours_shortcut = shortcut.then(|| to_last(s.clone()));
            let found =
                to_first(layer(to_last(x.clone()), w.clone(), &norm, ours_shortcut, case.steps, with_relu));
            let mut y = norm.forward(conv2d(x, w, None, case.options()));
            if shortcut {
                y = y + s;
            }
            let expected = if with_relu { relu(y) } else { y };
            assert_close(&[found.into_data()], &[expected.into_data()], TOLERANCE, case);
        }
    }
}

#[test]
fn gradients_are_the_slopes() {
    let case = case([3, 4, 6, 5], 8, 3, 2);
    let device = device();
    // Loss along a line through each input, by central difference, against the gradient on that line.
    let shapes = [case.input, case.weight(), case.output()];
    let loss = |inputs: &[Tensor<4>; 3]| {
        let [x, w, s] = inputs.clone();
        let y = layer(to_last(x), w, &batch_norm(8, &device), Some(to_last(s)), case.steps, true);
        (y.clone() * random(y.dims(), 99, &device)).sum()
    };
    let inputs: [Tensor<4>; 3] = std::array::from_fn(|i| random(shapes[i], i as u64, &device).require_grad());
    let grads = loss(&inputs).backward();
    for i in 0..3 {
        let direction: Tensor<4> = random(shapes[i], 50 + i as u64, &device);
        let slope: f32 = (inputs[i].grad(&grads).unwrap() * direction.clone().inner()).sum().into_scalar();
        let step = 1e-3;
        let moved = |by: f32| {
            let mut inputs = inputs.clone().map(|input| Tensor::from_inner(input.inner()));
            inputs[i] = inputs[i].clone() + direction.clone() * by;
            loss(&inputs).into_scalar::<f32>()
        };
        let difference = (moved(step) - moved(-step)) / (2.0 * step);
        assert!(
            (difference - slope).abs() <= 0.01 * slope.abs().max(1.0),
            "input {i}: {difference}, gradient {slope}"
        );
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    // Many images of each kind, so that there are parts and groups to hand out.
    for case in
        [case([70, 16, 16, 16], 16, 3, 1), case([40, 16, 16, 16], 40, 3, 2), case([300, 32, 4, 4], 32, 3, 1)]
    {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run_layer(&case, &batch_norm(case.channels_out, &device()), true, true, true))
        };
        let one = on(1);
        assert_eq!(one, on(2));
        assert_eq!(one, on(5));
    }
}

#[test]
fn narrower_vectors_do_not_matter() {
    for vectors in ["avx2", "none"] {
        let tests = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["convolution_is_burns", "layer_is_", "evaluation_uses_", "--test-threads", "1"])
            .env(simd::NARROWER, vectors)
            .output()
            .unwrap();
        let report = String::from_utf8_lossy(&tests.stdout);
        assert!(tests.status.success() && report.contains("4 passed"), "{vectors}: {report}");
    }
}

#[test]
fn values_of_earlier_steps_are_not_seen() {
    let case = case([8, 32, 16, 16], 32, 1, 2);
    let step = || run_layer(&case, &batch_norm(32, &device()), true, true, true);
    let first = step();
    // Lengths of the activations before and after.
    for len in [8 * 32 * 16 * 16, 8 * 32 * 8 * 8] {
        for _ in 0..4 {
            buffers::give_back(vec![f32::NAN; len]);
        }
    }
    assert_eq!(first, step());
}

#[test]
fn layers_train_with_gradient_checkpointing() {
    let case = case([2, 3, 8, 8], 16, 3, 1);
    let gradient = |device: Device| {
        let x = random(case.input, 1, &device);
        let w = random(case.weight(), 2, &device).require_grad();
        let y = layer(to_last(x * 2.0), w.clone(), &batch_norm(16, &device), None, case.steps, true);
        w.grad(&(y * 3.0).sum().backward()).unwrap().into_data()
    };
    assert_eq!(gradient(device()), gradient(device().gradient_checkpointing()));
}

#[test]
fn inputs_without_gradient_get_none() {
    let case = case([2, 3, 8, 8], 16, 3, 1);
    let x = random(case.input, 1, &device());
    let w = random(case.weight(), 2, &device()).require_grad();
    let norm = batch_norm(16, &device());
    let grads = layer(to_last(x.clone()), w.clone(), &norm, None, case.steps, true).sum().backward();
    assert!(x.grad(&grads).is_none());
    assert!(w.grad(&grads).is_some());
}

#[test]
fn statistics_are_right_far_from_zero() {
    // Input 1000 +- 1 through a 1x1 convolution of weight 1: a sum of squares in f32 would have no digit left.
    let x = random([64, 1, 16, 16], 1, &device()) + 1000.0;
    let w = Tensor::<4>::ones([1, 1, 1, 1], &device());
    let norm = BatchNormConfig::new(1).with_momentum(1.0).init(&device());
    let y = layer(to_last(x.clone()), w, &norm, None, Steps { stride: 1, padding: 0 }, false);
    let values: Vec<f64> = x.into_data().iter::<f64>().collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
    let running = |state: &RunningState<Tensor<1>>| f64::from(state.value_sync().into_scalar::<f32>());
    assert!((running(&norm.running_mean) - mean).abs() < 1e-4);
    assert!((running(&norm.running_var) / variance - 1.0).abs() < 1e-5);
    assert!(y.mean().into_scalar::<f32>().abs() < 1e-3);
}

#[test]
fn only_f32_on_flex_is_supported() {
    let x = Tensor::<4>::zeros([1, 1, 1, 1], &Device::flex());
    assert!(supports(&x));
    assert!(supports(&Tensor::from_inner(x.clone())));
    assert!(!supports(&x.cast(DType::F64)));
}
