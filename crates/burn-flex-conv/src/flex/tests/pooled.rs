//! Layers with pooling, and with GELU and no batch norm, against the composition of Burn's own operations.

use burn::nn::pool::MaxPool2dConfig;
use burn::tensor::activation::gelu;
use burn::tensor::module::conv2d;

use super::*;

/// Even and odd sizes, vectors with a rest, both methods of convolution.
pub(super) fn pooled_cases() -> Vec<Case> {
    vec![
        case([2, 24, 31, 31], 64, 3, 1),
        case([3, 64, 15, 15], 32, 3, 1),
        case([4, 32, 7, 7], 48, 3, 1),
        case([70, 32, 3, 3], 32, 3, 1),
        case([5, 3, 9, 6], 33, 3, 2),
        case([5, 6, 2, 5], 5, 1, 1),
    ]
}

fn burns_pool(x: Tensor<4>) -> Tensor<4> {
    MaxPool2dConfig::new([2, 2]).init().forward(x)
}

/// Output, gradients of the inputs, and of gamma and beta, and the running statistics.
pub(super) fn run_pooled(
    case: &Case,
    norm: &BatchNorm,
    activation: Activation,
    ours: Option<&Context>,
) -> Vec<TensorData> {
    let inputs = [random(case.input, 1, &device()), random(case.weight(), 2, &device())];
    let inputs = inputs.map(Tensor::require_grad);
    let [x, weight] = inputs.clone();
    let output = if let Some(context) = ours {
        let layer = Layer { weight, bias: None, params: case.params, norm, activation, pooled: true };
        to_first(layer.forward(to_last(x), None, context))
    } else {
        activated(norm.forward(burns_pool(conv2d(x, weight, None, case.options()))), activation)
    };
    let grads = (output.clone() * random(output.dims(), 99, &device())).sum().backward();
    let mut found = vec![output.into_data()];
    found.extend(inputs.iter().map(|input| input.grad(&grads).unwrap().into_data()));
    found.extend(
        [&norm.gamma, &norm.beta].iter().filter_map(|param| Some(param.val().grad(&grads)?.into_data())),
    );
    found.extend([&norm.running_mean, &norm.running_var].map(|state| state.value_sync().into_data()));
    found
}

#[test]
fn layer_with_pooling_is_convolution_pooling_batch_norm_and_activation() {
    for case in pooled_cases() {
        for activation in [Identity, Relu, Gelu] {
            let norm = || batch_norm(case.channels_out, &device());
            let expected = run_pooled(&case, &norm(), activation, None);
            for context in contexts() {
                let found = run_pooled(&case, &norm(), activation, Some(&context));
                assert_eq!(found.len(), 7);
                assert_close(&found, &expected, 2.0 * TOLERANCE, (case, activation, context.arch));
            }
        }
    }
}

#[test]
fn a_fixed_scale_gets_no_gradient() {
    for case in pooled_cases() {
        let norm = || {
            let mut norm = batch_norm(case.channels_out, &device());
            norm.gamma =
                Param::from_tensor(Tensor::ones([case.channels_out], &device())).set_require_grad(false);
            norm
        };
        let expected = run_pooled(&case, &norm(), Gelu, None);
        let found = run_pooled(&case, &norm(), Gelu, Some(&Context::training()));
        assert_eq!(found.len(), 6, "no gradient of gamma");
        assert_close(&found, &expected, 2.0 * TOLERANCE, case);
    }
}

#[test]
fn a_frozen_batch_norm_behind_a_pooling_passes_gradients() {
    let case = case([3, 8, 7, 6], 12, 3, 1);
    let norm = || batch_norm(case.channels_out, &device()).freeze();
    let expected = run_pooled(&case, &norm(), Gelu, None);
    let found = run_pooled(&case, &norm(), Gelu, Some(&Context::training()));
    assert_eq!(found.len(), 5);
    assert_close(&found, &expected, TOLERANCE, case);
}

#[test]
fn evaluation_with_pooling_is_burns() {
    let plain = Device::flex();
    for case in pooled_cases() {
        let norm = batch_norm(case.channels_out, &plain);
        let (x, weight) = (random(case.input, 1, &plain), random(case.weight(), 2, &plain));
        let expected =
            gelu(norm.forward(burns_pool(conv2d(x.clone(), weight.clone(), None, case.options()))));
        for context in contexts() {
            let context = Context { arch: context.arch, ..Context::evaluation() };
            let weight = weight.clone();
            let layer = Layer {
                weight,
                bias: None,
                params: case.params,
                norm: &norm,
                activation: Gelu,
                pooled: true,
            };
            let found = to_first(layer.forward(to_last(x.clone()), None, &context)).into_data();
            assert_close(&[found], &[expected.clone().into_data()], TOLERANCE, case);
        }
    }
}

#[test]
fn convolution_with_gelu_is_burns() {
    let stem = Case {
        input: [3, 3, 9, 8],
        channels_out: 24,
        kernel: 2,
        params: ConvParams { stride: 1, padding: 0 },
    };
    for case in [stem, case([3, 32, 5, 7], 48, 3, 1)] {
        let bias = || random([case.channels_out], 3, &device()).require_grad();
        let inputs = || [random(case.input, 1, &device()), random(case.weight(), 2, &device())];
        let with_bias = |of: &dyn Fn(Tensor<4>, Tensor<4>, Tensor<1>) -> Tensor<4>| {
            let inputs = inputs().map(Tensor::require_grad);
            let bias = bias();
            let output = of(inputs[0].clone(), inputs[1].clone(), bias.clone());
            let grads = (output.clone() * random(output.dims(), 99, &device())).sum().backward();
            let mut found = vec![output.into_data(), bias.grad(&grads).unwrap().into_data()];
            found.extend(inputs.iter().map(|input| input.grad(&grads).unwrap().into_data()));
            found
        };
        let expected = with_bias(&|x, w, b| gelu(conv2d(x, w, Some(b), case.options())));
        for context in contexts() {
            let found =
                with_bias(&|x, w, b| to_first(convolve_gelu(to_last(x), w, Some(b), case.params, &context)));
            assert_close(&found, &expected, TOLERANCE, (case, context.arch));
            let expected = run(inputs(), |[x, w]| gelu(conv2d(x.clone(), w.clone(), None, case.options())));
            let found = run(inputs(), |[x, w]| {
                to_first(convolve_gelu(to_last(x.clone()), w.clone(), None, case.params, &context))
            });
            assert_close(&found, &expected, TOLERANCE, (case, context.arch));
        }
    }
}

#[test]
fn frozen_parts_of_a_stem_get_no_gradient() {
    let case = Case {
        input: [3, 3, 9, 8],
        channels_out: 24,
        kernel: 2,
        params: ConvParams { stride: 1, padding: 0 },
    };
    let (x, w) = (random(case.input, 1, &device()), random(case.weight(), 2, &device()));
    let expected = gelu(conv2d(x.clone(), w.clone(), None, case.options()));
    let bias = Tensor::<1>::zeros([24], &device()).require_grad();
    for bias in [None, Some(bias)] {
        let y = convolve_gelu(to_last(x.clone()), w.clone(), bias.clone(), case.params, &Context::training());
        assert_close(&[to_first(y.clone()).into_data()], &[expected.clone().into_data()], TOLERANCE, case);
        let s = Tensor::<1>::ones([1], &device()).require_grad();
        let grads = (y.sum() * s.clone()).sum().backward();
        assert!(x.grad(&grads).is_none() && w.grad(&grads).is_none() && s.grad(&grads).is_some());
        assert!(bias.is_none_or(|bias| bias.grad(&grads).is_some()));
    }
}

/// Few values: many are equal.
fn with_ties(shape: [usize; 4]) -> Tensor<4> {
    (random(shape, 1, &device()) * 2.0).round()
}

#[test]
fn pooling_is_burns_with_ties_too() {
    for shape in [[3, 24, 8, 6], [2, 5, 7, 9], [4, 33, 3, 2], [1, 1, 2, 2]] {
        for context in contexts() {
            let expected = run([with_ties(shape)], |[x]| burns_pool(x.clone()));
            let found = run([with_ties(shape)], |[x]| to_first(max_pool(to_last(x.clone()), &context)));
            assert_eq!(found, expected, "{shape:?}");
        }
    }
}

#[test]
fn the_maximum_over_the_positions_is_burns_with_ties_too() {
    for shape in [[3, 24, 3, 3], [2, 5, 7, 9], [4, 33, 1, 2], [1, 1, 1, 1], [2, 17, 20, 20]] {
        for context in contexts() {
            let expected =
                run([with_ties(shape)], |[x]| x.clone().flatten::<3>(2, 3).max_dim(2).unsqueeze_dim(3));
            let found =
                run([with_ties(shape)], |[x]| maximum(to_last(x.clone()), &context).unsqueeze_dims(&[2, 3]));
            assert_eq!(found, expected, "{shape:?}");
        }
    }
}

#[test]
fn maxima_with_values_that_are_not_numbers_are_not_numbers() {
    for position in 0..4 {
        let mut values = [1.0, 3.0, -f32::INFINITY, 2.0];
        values[position] = f32::NAN;
        let x = Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 2, 2, 1]), &device());
        for context in contexts() {
            assert!(max_pool(x.clone(), &context).into_scalar::<f32>().is_nan());
            assert!(maximum(x.clone(), &context).into_scalar::<f32>().is_nan());
        }
    }
}

#[test]
fn threads_do_not_change_a_bit_of_pooled_layers() {
    for case in [case([70, 16, 17, 16], 16, 3, 1), case([300, 32, 5, 4], 32, 3, 1)] {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let norm = batch_norm(case.channels_out, &device());
                run_pooled(&case, &norm, Gelu, Some(&Context::training()))
            })
        };
        let one = on(1);
        assert_eq!(one, on(2));
        assert_eq!(one, on(5));
    }
}
