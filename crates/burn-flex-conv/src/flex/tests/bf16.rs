//! Products in bf16, of vectors and of tiles, against f64 products of operands that are rounded by Burn. On a CPU without these
//! products the tests compare f32 with itself where they can, and are skipped otherwise.

use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::module::conv2d;

use super::super::bf16::Bf16;
use super::super::context::InBf16;
use super::pooled::{pooled_cases, run_pooled};
use super::*;
use crate::{FeatureMap, Precision, conv_norm_gelu};

/// Products of vectors, and of tiles: those that this CPU has.
fn in_bf16() -> Vec<Context> {
    let widest = Context::training().with_bf16();
    let of_vectors = match widest.bf16 {
        Some(InBf16::Tiles(_)) => {
            Bf16::try_new().map(|bf16| Context { bf16: Some(InBf16::Vectors(bf16)), ..widest.clone() })
        }
        _ => None,
    };
    of_vectors.into_iter().chain(Some(widest).filter(|context| context.bf16.is_some())).collect()
}

/// Output and gradients of input and weight.
fn convolved(case: &Case, context: &Context) -> Vec<TensorData> {
    let inputs = [random(case.input, 1, &device()), random(case.weight(), 2, &device())];
    run(inputs, |[x, w]| to_first(convolve(to_last(x.clone()), w.clone(), case.params, context)))
}

/// The same in f64, of operands rounded to bf16.
fn of_rounded_operands(case: &Case) -> Vec<TensorData> {
    let rounded = |x: Tensor<4>| x.cast(DType::BF16).cast(DType::F64);
    let inputs = [random(case.input, 1, &device()), random(case.weight(), 2, &device())];
    let inputs = inputs.map(|x| Tensor::from_inner(rounded(x.inner())).require_grad());
    let output = conv2d(inputs[0].clone(), inputs[1].clone(), None, case.options());
    let d_output = Tensor::from_inner(rounded(random(output.dims(), 99, &Device::flex())));
    let grads = (output.clone() * d_output).sum().backward();
    let of_inputs = inputs.iter().map(|input| input.grad(&grads).unwrap().into_data());
    std::iter::once(output.clone().into_data()).chain(of_inputs).collect()
}

#[test]
fn products_in_bf16_are_those_of_rounded_operands() {
    let even = |case: &Case| case.input[1].is_multiple_of(2) && case.channels_out.is_multiple_of(2);
    let cases = cases().into_iter().chain(pooled_cases()).filter(even);
    // With many images, the last one without a partner.
    for case in cases.chain([case([67, 24, 7, 7], 40, 3, 1), case([3, 4, 9, 8], 24, 2, 1)]) {
        for context in in_bf16() {
            let (found, expected) = (convolved(&case, &context), of_rounded_operands(&case));
            assert_close(&found, &expected, TOLERANCE, (case, context.bf16));
            let in_f32 = convolved(&case, &Context::training());
            assert_ne!(found, in_f32, "{case:?}: bf16 has been used");
            assert_close(&found, &in_f32, 2e-2, case);
        }
    }
}

#[test]
fn odd_channels_run_in_f32() {
    let case = case([4, 3, 9, 9], 5, 3, 1);
    for context in in_bf16() {
        let (found, in_f32) = (convolved(&case, &context), convolved(&case, &Context::training()));
        assert_eq!(found[..2], in_f32[..2], "output and gradient of the input");
        assert_close(&found, &in_f32, 2e-2, case);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn products_in_bf16_are_those_of_rounded_operands_for_any_shape(
        n in 1usize..8, channels in 1usize..40, h in 1usize..13, w in 1usize..13, channels_out in 1usize..40,
        kernel in 1usize..5, stride in 1usize..4, padding in 0usize..3,
    ) {
        prop_assume!(h + 2 * padding >= kernel && w + 2 * padding >= kernel);
        let params = ConvParams { stride, padding };
        let case = Case { input: [n, 2 * channels, h, w], channels_out: 2 * channels_out, kernel, params };
        for context in in_bf16() {
            assert_close(&convolved(&case, &context), &of_rounded_operands(&case), TOLERANCE, (case, context.bf16));
        }
    }
}

#[test]
fn other_instruction_sets_run_in_f32() {
    let case = case([4, 32, 9, 9], 32, 3, 1);
    for context in contexts() {
        let in_f32 = convolved(&case, &context);
        let widest = super::super::lanes::lanes(context.arch) == 16;
        let context = context.with_bf16();
        if !widest {
            assert!(context.bf16.is_none());
            assert_eq!(convolved(&case, &context), in_f32);
        }
    }
}

#[test]
fn threads_do_not_change_a_bit_in_bf16() {
    for context in in_bf16() {
        for case in [case([70, 16, 17, 16], 16, 3, 1), case([301, 32, 5, 4], 32, 3, 1)] {
            let on = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    run_pooled(&case, &batch_norm(case.channels_out, &device()), Gelu, Some(&context))
                })
            };
            let one = on(1);
            assert_eq!(one, on(2));
            assert_eq!(one, on(5));
        }
    }
}

#[test]
fn layers_in_bf16_are_close_to_those_in_f32() {
    for case in pooled_cases() {
        let run = |context: &Context| {
            run_pooled(&case, &batch_norm(case.channels_out, &device()), Identity, Some(context))
        };
        let [found, expected] = [Context::training().with_bf16(), Context::training()].map(|c| run(&c));
        // Another maximum may win where two are close: the gradients of single values then differ.
        assert_close(&found[..1], &expected[..1], 2e-2, case);
        assert_close(&found[5..], &expected[5..], 2e-2, case);
    }
}

#[test]
fn the_precision_is_chosen_by_the_network_and_weights_are_packed_for_each() {
    let device = Device::flex();
    let conv =
        Conv2dConfig::new([32, 32], [3, 3]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(&device);
    let norm = batch_norm(32, &device);
    let images: Tensor<4> = random([3, 32, 9, 9], 1, &device);
    let run = |precision: Option<Precision>| {
        let x = FeatureMap::new(images.clone());
        let x = precision.map_or(x.clone(), |precision| x.with_precision(precision));
        conv_norm_gelu(conv_norm_gelu(x, &conv, &norm), &conv, &norm).into_tensor().into_data()
    };
    let default = run(None);
    let in_bf16 = [run(Some(Precision::Bf16)), run(Some(Precision::Bf16))];
    assert_eq!(default, run(Some(Precision::F32)));
    assert_eq!(in_bf16[0], in_bf16[1]);
    let has_bf16 = Context::evaluation().with_bf16().bf16.is_some();
    assert_eq!(default != in_bf16[0], has_bf16);
    assert_close(&in_bf16[..1], &[default], 3e-2, "two layers");
}
