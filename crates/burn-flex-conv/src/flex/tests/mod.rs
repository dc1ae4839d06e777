//! Against the composition of Burn's own operations, against finite differences, and against itself on other
//! threads.

use burn::module::{Module, Param, RunningState};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::activation::{gelu, relu};
use burn::tensor::module::conv2d;
use burn::tensor::{DType, Device, Tensor, TensorData};
use proptest::prelude::*;
use pulp::Arch;

use super::pool::Pool;
use super::*;
use Activation::{Gelu, Identity, Relu};
use cases::*;

mod bf16;
mod cases;
mod pooled;

/// With [`Layer`]'s arguments in a row.
fn layer(
    x: Tensor<4>,
    weight: Tensor<4>,
    norm: &BatchNorm,
    shortcut: Option<Tensor<4>>,
    params: ConvParams,
    activation: Activation,
    context: &Context,
) -> Tensor<4> {
    Layer { weight, bias: None, params, norm, activation, pooled: false }.forward(x, shortcut, context)
}

fn activated(x: Tensor<4>, activation: Activation) -> Tensor<4> {
    match activation {
        Identity => x,
        Relu => relu(x),
        Gelu => gelu(x),
    }
}

/// The widest vectors of this machine, and all narrower ones.
fn contexts() -> Vec<Context> {
    let mut archs = vec![Arch::new(), Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
    archs.into_iter().map(|arch| Context { arch, ..Context::training() }).collect()
}

fn assert_convolves_as_burn(case: &Case, context: &Context) {
    let inputs = || [random(case.input, 1, &device()), random(case.weight(), 2, &device())];
    // The input is not contiguous in this layout, and neither is the gradient that comes back.
    let found =
        run(inputs(), |[x, w]| to_first(convolve(to_last(x.clone()), w.clone(), case.params, context)));
    let expected = run(inputs(), |[x, w]| conv2d(x.clone(), w.clone(), None, case.options()));
    assert_close(&found, &expected, TOLERANCE, case);
}

#[test]
fn convolution_is_burns() {
    for context in contexts() {
        for case in cases() {
            assert_convolves_as_burn(&case, &context);
        }
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
        let params = ConvParams { stride, padding };
        let case = Case { input: [n, channels, h, w], channels_out, kernel, params };
        assert_convolves_as_burn(&case, &Context::training());
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

/// Output, the gradients of everything that has one, and the running statistics after it, as `[1, 1, 1, n]`
/// where flat.
fn run_layer(
    case: &Case,
    norm: &BatchNorm,
    ours: Option<&Context>,
    with_shortcut: bool,
    activation: Activation,
) -> Vec<TensorData> {
    let device = device();
    let inputs = [
        random(case.input, 1, &device),
        random(case.weight(), 2, &device),
        random(case.output(), 7, &device),
    ];
    let inputs = inputs.map(Tensor::require_grad);
    let [x, w, s] = inputs.clone();
    let output = if let Some(context) = ours {
        let s = with_shortcut.then(|| to_last(s));
        to_first(layer(to_last(x), w, norm, s, case.params, activation, context))
    } else {
        let mut y = norm.forward(conv2d(x, w, None, case.options()));
        if with_shortcut {
            y = y + s;
        }
        activated(y, activation)
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
fn layer_is_convolution_batch_norm_shortcut_and_activation() {
    for case in cases() {
        if case.output()[0] * case.output()[2] * case.output()[3] < 8 {
            continue; // The variance of a few values is no stable reference.
        }
        for (shortcut, activation) in
            [(false, Identity), (false, Relu), (false, Gelu), (true, Identity), (true, Relu)]
        {
            let norm = || batch_norm(case.channels_out, &device());
            let expected = run_layer(&case, &norm(), None, shortcut, activation);
            for context in contexts() {
                let found = run_layer(&case, &norm(), Some(&context), shortcut, activation);
                assert_eq!(found.len(), if shortcut { 8 } else { 7 });
                assert_close(&found, &expected, 2.0 * TOLERANCE, (case, shortcut, activation, context.arch));
            }
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
                    let s = s.map(to_last);
                    return to_first(layer(to_last(x), w, norm, s, case.params, Relu, &Context::training()));
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
        for (shortcut, activation) in [(false, Identity), (false, Relu), (false, Gelu), (true, Relu)] {
            let norm = batch_norm(case.channels_out, &plain);
            let [x, w, s] = [(case.input, 1), (case.weight(), 2), (case.output(), 7)]
                .map(|(shape, seed)| random(shape, seed, &plain));
            let mut y = norm.forward(conv2d(x.clone(), w.clone(), None, case.options()));
            if shortcut {
                y = y + s.clone();
            }
            let expected = [activated(y, activation).into_data()];
            for context in contexts() {
                let context = Context { arch: context.arch, ..Context::evaluation() };
                let shortcut = || shortcut.then(|| to_last(s.clone()));
                // The second time with the weights that are packed already.
                let [first, second] = [(); 2].map(|()| {
                    let x = to_last(x.clone());
                    let y = layer(x, w.clone(), &norm, shortcut(), case.params, activation, &context);
                    to_first(y).into_data()
                });
                assert_eq!(first, second);
                assert_close(&[first], &expected, TOLERANCE, case);
            }
        }
    }
}

#[test]
fn weights_changed_after_evaluation_are_seen() {
    let plain = Device::flex();
    for case in [case([2, 32, 6, 6], 32, 3, 1), case([2, 5, 6, 6], 7, 3, 2)] {
        let norm = batch_norm(case.channels_out, &plain);
        let run = |w: &Tensor<4>| {
            let x = to_last(random(case.input, 1, &plain));
            layer(x, w.clone(), &norm, None, case.params, Identity, &Context::evaluation()).into_data()
        };
        let mut weight = random(case.weight(), 2, &plain);
        for step in 0..3 {
            let first = run(&weight);
            // In place wherever the backend can.
            weight = weight.mul_scalar(-2.0);
            let fresh = Tensor::from_data(weight.clone().into_data(), &plain);
            assert_eq!(run(&weight), run(&fresh), "step {step}");
            assert_ne!(run(&weight), first, "step {step}");
        }
    }
}

#[test]
fn evaluation_leaves_no_memory_to_training() {
    let case = case([8, 48, 24, 24], 48, 3, 1);
    let plain = Device::flex();
    let norm = batch_norm(48, &plain);
    let weight = random(case.weight(), 2, &plain);
    let context = Context::evaluation();
    let mut x = to_last(random(case.input, 1, &plain));
    for _ in 0..3 {
        x = layer(x, weight.clone(), &norm, None, case.params, Relu, &context);
    }
    assert_eq!(context.pool.len(), 8 * 24 * 24 * 48, "the layer before the last gave back its memory");
    assert!(!Pool::of_training().has(8 * 24 * 24 * 48));
}

#[test]
fn gradients_are_the_slopes() {
    let case = case([3, 4, 6, 5], 8, 3, 2);
    let device = device();
    // Loss along a line through each input, by central difference, against the gradient on that line.
    let shapes = [case.input, case.weight(), case.output()];
    let loss = |inputs: &[Tensor<4>; 3]| {
        let [x, w, s] = inputs.clone();
        let norm = batch_norm(8, &device);
        let y = layer(to_last(x), w, &norm, Some(to_last(s)), case.params, Relu, &Context::training());
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
            pool.install(|| {
                let norm = batch_norm(case.channels_out, &device());
                run_layer(&case, &norm, Some(&Context::training()), true, Relu)
            })
        };
        let one = on(1);
        assert_eq!(one, on(2));
        assert_eq!(one, on(5));
    }
}

#[test]
fn values_of_earlier_steps_are_not_seen() {
    let case = case([8, 32, 16, 16], 32, 1, 2);
    let step = || run_layer(&case, &batch_norm(32, &device()), Some(&Context::training()), true, Relu);
    let first = step();
    // Lengths of the activations before and after.
    for len in [8 * 32 * 16 * 16, 8 * 32 * 8 * 8] {
        for _ in 0..4 {
            Pool::of_training().give_back(vec![f32::NAN; len]);
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
        let y = {
            let norm = batch_norm(16, &device);
            layer(to_last(x * 2.0), w.clone(), &norm, None, case.params, Relu, &Context::training())
        };
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
    let y = layer(to_last(x.clone()), w.clone(), &norm, None, case.params, Relu, &Context::training());
    let grads = y.sum().backward();
    assert!(x.grad(&grads).is_none());
    assert!(w.grad(&grads).is_some());
}

#[test]
fn statistics_are_right_far_from_zero() {
    // Input 1000 +- 1 through a 1x1 convolution of weight 1: a sum of squares in f32 would have no digit
    // left.
    let x = random([64, 1, 16, 16], 1, &device()) + 1000.0;
    let w = Tensor::<4>::ones([1, 1, 1, 1], &device());
    let norm = BatchNormConfig::new(1).with_momentum(1.0).init(&device());
    let params = ConvParams { stride: 1, padding: 0 };
    let y = layer(to_last(x.clone()), w, &norm, None, params, Identity, &Context::training());
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
