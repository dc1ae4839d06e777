//! MCL forward and backward for 512, 2048 and 8192 views of dimension 128: 10 classes in 4 rotations.
//!
//! `blocks` are the same in f64, by tensor operations in blocks of rows. `naive` writes the equations down as
//! tensor operations on matrices of all pairs, and leaves the gradient to autodiff.
//!
//! ```text
//! cargo bench --workspace --bench loss
//! ```

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};
use burn_mcl::loss::{MclLabels, MclLossConfig};
use burn_mcl_benches::{Bench, HERE, number};

const DIM: usize = 128;
const CLASSES: i64 = 10;
const ROTATIONS: i64 = 4;

fn main() {
    let mut bench = Bench::from_args();
    for (name, views) in [("loss/512", 512), ("loss/2048", 2048), ("loss/8192", 8192)] {
        compare(&mut bench, name, views);
    }
    for (name, views) in [("blocks/2048", 2048), ("blocks/8192", 8192)] {
        blocks(&mut bench, name, views);
    }
    bench.finish();
}

/// In f64, which the loops for flex leave to tensor operations: block by block, as on other backends.
fn blocks(bench: &mut Bench, name: &'static str, views: usize) {
    let device = Device::flex().autodiff();
    let projections = projections(views, &device).cast(DType::F64).detach().require_grad();
    let labels = labels(views as i64 / 2, &device);
    let loss = MclLossConfig::new().init();
    let gradient = |value: Tensor<1>| projections.grad(&value.backward()).expect("the loss depends on them");
    let mut group = bench.group(name);
    group.bench_function(HERE, |b| b.iter(|| gradient(loss.forward(projections.clone(), &labels))));
    // With a gradient of each part besides.
    group.bench_function("terms", |b| {
        b.iter(|| gradient(loss.terms(projections.clone(), &labels, None).total));
    });
    group.finish();
}

fn compare(bench: &mut Bench, name: &'static str, views: usize) {
    let device = Device::flex().autodiff();
    let projections = projections(views, &device);
    let labels = labels(views as i64 / 2, &device);
    let loss = MclLossConfig::new().init();
    let gradient = |value: Tensor<1>| projections.grad(&value.backward()).expect("the loss depends on them");

    let mut group = bench.group(name);
    group.bench_function(HERE, |b| b.iter(|| gradient(loss.forward(projections.clone(), &labels))));
    group.bench_function("terms", |b| {
        b.iter(|| gradient(loss.terms(projections.clone(), &labels, None).total));
    });
    // Autodiff keeps a dozen matrices of all pairs.
    if views < 8192 {
        group.bench_function("naive", |b| b.iter(|| gradient(naive(&projections, &labels))));
    }
    group.finish();
    let value = loss.forward(projections.clone(), &labels);
    println!("value {name} {}", value.into_scalar::<f32>());
}

/// `[images, 2, dim]`
fn projections(views: usize, device: &Device) -> Tensor<3> {
    let values: Vec<f32> = (0..(views * DIM) as u64).map(|i| number(i) as f32 - 0.5).collect();
    Tensor::from_data(TensorData::new(values, [views / 2, 2, DIM]), device).require_grad()
}

fn labels(images: i64, device: &Device) -> MclLabels {
    let image = Tensor::<1, Int>::arange(0..images, device);
    let class = image.clone().div_scalar(ROTATIONS).remainder_scalar(CLASSES);
    MclLabels::new(class).with_aux(image.remainder_scalar(ROTATIONS))
}

/// Eq. 3-11 with the weights of the paper. All views have positives, and no exponential overflows.
fn naive(projections: &Tensor<3>, labels: &MclLabels) -> Tensor<1> {
    let [images, _, dim] = projections.dims();
    let views = 2 * images;
    let rows = projections.clone().reshape([views, dim]);
    let unit = rows.clone() / rows.square().sum_dim(1).sqrt();
    let similarity = unit.clone().matmul(unit.transpose());

    let of_views = |labels: Tensor<1, Int>| labels.reshape([images, 1]).repeat_dim(1, 2).reshape([views]);
    let equal = |labels: Tensor<1, Int>| -> Tensor<2, Bool> {
        labels.clone().unsqueeze_dim::<2>(1).equal(labels.unsqueeze_dim::<2>(0))
    };
    let device = projections.device();
    let same_image = equal(of_views(Tensor::arange(0..images as i64, &device)));
    let itself = equal(Tensor::arange(0..views as i64, &device));
    let same_class = equal(of_views(labels.class.clone()));
    let aux = labels.aux.clone().expect("labels of this bench");
    let same_label = same_class.clone().bool_and(equal(of_views(aux)));
    let mask = similarity.full_like(5.0).mask_fill(same_class, 2.5).mask_fill(same_label.clone(), 0.05);

    let exponentials = (similarity.clone() * mask).exp();
    let all = exponentials.clone().mask_fill(itself.clone(), 0.0).sum_dim(1);
    let others = exponentials.mask_fill(same_image.clone(), 0.0).sum_dim(1);
    let logits = similarity * 5.0;
    let mean = |of: Tensor<2, Bool>| {
        let marks = logits.zeros_like().mask_fill(of, 1.0);
        (logits.clone() * (marks.clone() / marks.sum_dim(1))).sum_dim(1)
    };
    let sibling = mean(same_image.clone().bool_and(itself.bool_not()));
    let positives = mean(same_label.bool_and(same_image.bool_not()));
    (all.log() - sibling + others.log() - positives).mean()
}
