//! The terms and their gradients against one matrix of all pairs in f64, and against themselves on other
//! threads.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use pulp::Arch;

use super::{supports, terms_on};
use crate::{
    Formulation, MclLabels, MclLossConfig, MclTerms, batch::Batch, flex, masked::Masked,
    parameters::Parameters, views::VIEWS,
};

#[derive(Clone, Copy)]
struct Shape {
    images: usize,
    dim: usize,
}

fn projections(Shape { images, dim }: Shape, dtype: DType) -> Tensor<3> {
    let values = (0..images * VIEWS * dim).map(|n| ((n as f64 * 1.7).sin() + (n as f64 * 0.3).cos()) as f32);
    let data = TensorData::new(values.collect::<Vec<_>>(), [images, VIEWS, dim]);
    Tensor::from_data(data, (&Device::flex().autodiff(), dtype)).require_grad()
}

/// Labels with partners for all, and with a lonely image.
fn labels(images: usize) -> [MclLabels; 2] {
    let device = Device::flex();
    let image = Tensor::<1, Int>::arange(0..images as i64, &device);
    let class = image.clone().remainder_scalar(3);
    let aux = image.clone().div_scalar(3).remainder_scalar(2);
    let lonely = class.clone().mask_fill(image.equal_scalar(1), 7);
    [MclLabels::new(class).with_aux(aux), MclLabels::new(lonely)]
}

fn positives(images: usize) -> Vec<Option<usize>> {
    let views = images * VIEWS;
    let mut positives: Vec<_> = (0..views).map(|view| Some((view + 4) % views)).collect();
    positives[5] = None;
    positives
}

fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data_as::<f64>().try_to_vec().unwrap()
}

type Part = fn(MclTerms) -> Tensor<1>;
const PARTS: [(&str, Part); 3] = [("ccm", |t| t.ccm), ("spa", |t| t.spa), ("total", |t| t.total)];

fn assert_exact(
    arch: Arch,
    loss: &Parameters,
    shape: Shape,
    labels: &MclLabels,
    positives: Option<&[Option<usize>]>,
) {
    let evaluate = |dtype, part: Part, terms: &dyn Fn(&Parameters, &Batch) -> MclTerms| {
        let projections = projections(shape, dtype);
        let batch = Batch::new(projections.clone(), labels, positives);
        // Another use of the loss after it: the gradient must scale with what comes back.
        let value = part(terms(loss, &batch)).mul_scalar(3.0);
        let gradient = projections.grad(&value.backward()).unwrap();
        (supports(loss, &batch), read(value)[0], read(gradient))
    };
    for (name, part) in PARTS {
        let (is_for_tensors, expected, expected_gradient) =
            evaluate(DType::F64, part, &|loss, batch| Masked::new(loss, batch).dense());
        let (is_for_us, value, gradient) =
            evaluate(DType::F32, part, &|loss, batch| terms_on(arch, loss, batch));
        assert!(!is_for_tensors && is_for_us);
        let name = format!("{name} of {loss:?}, sampled {}", positives.is_some());
        // One matrix in f32 is up to 2e-5 away from f64, too.
        let relative = 3e-5;
        let error = (value - expected).abs();
        assert!(error <= relative * expected.abs().max(1.0), "{name}: {value} instead of {expected}");
        let scale = expected_gradient.iter().fold(0.0_f64, |scale, value| scale.max(value.abs()));
        for (value, expected) in gradient.iter().zip(&expected_gradient) {
            assert!((value - expected).abs() <= relative * scale, "{name}: {value} instead of {expected}");
        }
    }
}

#[test]
fn terms_and_gradients_of_any_shape_are_the_dense_ones() {
    terms_of_any_shape_are_dense(Arch::new());
}

fn terms_of_any_shape_are_dense(arch: Arch) {
    // Less than a tile, parts of tiles and of blocks, more dimensions than are summed at a time.
    for (images, dim) in [(9, 5), (24, 32), (64, 128), (70, 129), (131, 33), (150, 300)] {
        let shape = Shape { images, dim };
        let positives = positives(images);
        for temperature in [0.2, 0.02] {
            let config = MclLossConfig::new().with_temperature(temperature).with_spa_weight(0.7);
            for labels in labels(images) {
                let paper = config.init().parameters;
                assert_exact(arch, &paper, shape, &labels, None);
                assert_exact(arch, &paper, shape, &labels, Some(&positives));
                let released = config.clone().with_formulation(Formulation::Released).init().parameters;
                assert_exact(arch, &released, shape, &labels, Some(&positives));
            }
        }
    }
}

#[test]
fn sums_in_more_tiles_than_parts_are_the_dense_ones() {
    let shape = Shape { images: 820, dim: 16 };
    let [labels, _] = labels(shape.images);
    assert_exact(Arch::new(), &MclLossConfig::new().init().parameters, shape, &labels, None);
}

#[test]
fn the_lowest_temperature_neither_overflows_nor_vanishes() {
    the_lowest_temperature_is_exact(Arch::new());
}

fn the_lowest_temperature_is_exact(arch: Arch) {
    // Equal and opposite rows: exponentials of 64 and of -64.
    let (images, dim) = (100, 8);
    let sign = |n: usize| if n / dim % 5 < 2 { -1.0 } else { 1.0 };
    let values: Vec<f32> =
        (0..images * VIEWS * dim).map(|n| sign(n) + 1e-3 * (n as f32 * 1.7).sin()).collect();
    let temperature = 1.0 / flex::LARGEST_WEIGHT;
    let loss = MclLossConfig::new().with_temperature(temperature).init().parameters;
    let [labels, _] = labels(images);
    let evaluate = |dtype| {
        let data = TensorData::new(values.clone(), [images, VIEWS, dim]);
        let projections = Tensor::<3>::from_data(data, (&Device::flex().autodiff(), dtype)).require_grad();
        let batch = Batch::new(projections.clone(), &labels, None);
        let terms = if supports(&loss, &batch) {
            terms_on(arch, &loss, &batch)
        } else {
            Masked::new(&loss, &batch).dense()
        };
        let gradient = projections.grad(&terms.total.backward()).unwrap();
        (read(terms.total)[0], read(gradient))
    };
    let ((value, gradient), (expected, expected_gradient)) = (evaluate(DType::F32), evaluate(DType::F64));
    assert!((value - expected).abs() <= 1e-5 * expected.abs(), "{value} instead of {expected}");
    let scale = expected_gradient.iter().fold(0.0_f64, |scale, value| scale.max(value.abs()));
    for (value, expected) in gradient.iter().zip(&expected_gradient) {
        assert!((value - expected).abs() <= 1e-3 * scale, "{value} instead of {expected}, largest {scale}");
    }
}

#[test]
fn narrower_vectors_do_not_matter() {
    for arch in narrower() {
        terms_of_any_shape_are_dense(arch);
        the_lowest_temperature_is_exact(arch);
    }
}

/// Narrower vectors than this machine may have.
fn narrower() -> Vec<Arch> {
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
    let mut narrower = vec![Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    narrower.extend(pulp::x86::V3::try_new().map(Arch::V3));
    narrower
}

#[test]
fn results_are_the_same_bits_on_any_number_of_threads() {
    let shape = Shape { images: 400, dim: 70 };
    let [labels, _] = labels(shape.images);
    let positives = positives(shape.images);
    for formulation in [Formulation::Paper, Formulation::Released] {
        let loss = MclLossConfig::new().with_formulation(formulation).init();
        let on_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                [None, Some(&positives[..])].map(|positives| {
                    let projections = projections(shape, DType::F32);
                    let terms = loss.terms(projections.clone(), &labels, positives);
                    let gradient = projections.grad(&terms.total.backward()).unwrap();
                    [terms.total, terms.ccm, terms.spa]
                        .map(read)
                        .concat()
                        .into_iter()
                        .chain(read(gradient))
                        .map(f64::to_bits)
                        .collect::<Vec<_>>()
                })
            })
        };
        let one = on_threads(1);
        for threads in [2, 3] {
            assert!(on_threads(threads) == one, "{formulation:?}, {threads} threads");
        }
    }
}

#[test]
fn other_precisions_and_temperatures_are_left_to_tensors() {
    let shape = Shape { images: 4, dim: 3 };
    let [labels, _] = labels(shape.images);
    let batch = |dtype| Batch::new(projections(shape, dtype), &labels, None);
    let config = MclLossConfig::new();
    assert!(supports(&config.init().parameters, &batch(DType::F32)));
    assert!(!supports(&config.init().parameters, &batch(DType::F64)));
    assert!(!supports(&config.clone().with_temperature(0.015).init().parameters, &batch(DType::F32)));
    assert!(!supports(&config.with_formulation(Formulation::Released).init().parameters, &batch(DType::F32)));
}
