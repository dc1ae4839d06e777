//! A network for small images: a 2x2 stem, then groups of two 3x3 convolutions with pooling, batch norm and
//! GELU, 64, 256 and 256 channels wide. Times of the training step and of evaluation, in f32, in bf16 and composed of Burn's own operations, and of the
//! parts.
//!
//! ```text
//! cargo bench --workspace --bench network
//! ```

use std::time::Duration;

use Precision::{Bf16, F32};
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Distribution, Tensor};
use burn_flex_conv::{
    FeatureMap, Precision, conv, conv_gelu, conv_norm, conv_norm_gelu, conv_pool_norm_gelu,
};
use criterion::{Criterion, Throughput};

const BATCH: usize = 256;
const STEM: usize = 24;
const WIDTHS: [usize; 3] = [64, 256, 256];

#[derive(Module, Debug)]
struct Group {
    conv1: Conv2d,
    pool: MaxPool2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
}

impl Group {
    fn new(channels_in: usize, channels: usize, device: &Device) -> Self {
        let conv = |channels_in| {
            Conv2dConfig::new([channels_in, channels], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .with_bias(false)
                .init(device)
        };
        let norm = || {
            let norm: BatchNorm = BatchNormConfig::new(channels).init(device);
            BatchNorm { gamma: norm.gamma.clone().set_require_grad(false), ..norm }
        };
        Self {
            conv1: conv(channels_in),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            norm1: norm(),
            conv2: conv(channels),
            norm2: norm(),
        }
    }

    fn first(&self, x: FeatureMap) -> FeatureMap {
        conv_pool_norm_gelu(x, &self.conv1, &self.pool, &self.norm1)
    }

    fn second(&self, x: FeatureMap) -> FeatureMap {
        conv_norm_gelu(x, &self.conv2, &self.norm2)
    }

    fn forward(&self, x: FeatureMap) -> FeatureMap {
        self.second(self.first(x))
    }
}

#[derive(Module, Debug)]
struct Net {
    stem: Conv2d,
    groups: Vec<Group>,
}

impl Net {
    fn new(device: &Device) -> Self {
        let stem = Conv2dConfig::new([3, STEM], [2, 2]).init(device);
        let mut channels = STEM;
        let groups = WIDTHS
            .iter()
            .map(|&width| Group::new(std::mem::replace(&mut channels, width), width, device))
            .collect();
        let weight = Param::from_tensor(stem.weight.val()).set_require_grad(false);
        Self { stem: Conv2d { weight, ..stem }, groups }
    }

    /// Pooling, batch norm behind it, and activation by Burn's own operations.
    fn composed(&self, images: Tensor<4>) -> Tensor<2> {
        let burns = |x: FeatureMap, f: &dyn Fn(Tensor<4>) -> Tensor<4>| FeatureMap::new(f(x.into_tensor()));
        let stem = conv(FeatureMap::new(images), &self.stem).map(gelu);
        let x = self.groups.iter().fold(stem, |x, group| {
            let x = burns(conv(x, &group.conv1), &|x| gelu(group.norm1.forward(group.pool.forward(x))));
            conv_norm(x, &group.conv2, &group.norm2).map(gelu)
        });
        x.into_tensor().flatten::<3>(2, 3).max_dim(2).squeeze_dim(2)
    }

    fn forward(&self, images: Tensor<4>, precision: Precision) -> Tensor<2> {
        let stem = conv_gelu(FeatureMap::new(images).with_precision(precision), &self.stem);
        self.groups.iter().fold(stem, |x, group| group.forward(x)).max()
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    let device = Device::flex().autodiff();
    let net = Net::new(&device);
    let uniform = |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Default, &Device::flex());
    let images = uniform([BATCH, 3, 32, 32]);
    let leaf = |x: &Tensor<4>| Tensor::from_inner(x.clone());
    let mut group = criterion.benchmark_group("network");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("train", |b| b.iter(|| net.forward(leaf(&images), F32).sum().backward()));
    group.bench_function("train in bf16", |b| {
        b.iter(|| net.forward(leaf(&images), Bf16).sum().backward());
    });
    group.bench_function("train composed", |b| b.iter(|| net.composed(leaf(&images)).sum().backward()));
    let valid = net.valid();
    group.bench_function("evaluate", |b| b.iter(|| valid.forward(images.clone(), F32)));
    group.bench_function("evaluate in bf16", |b| b.iter(|| valid.forward(images.clone(), Bf16)));
    group.bench_function("evaluate composed", |b| b.iter(|| valid.composed(images.clone())));
    group.bench_function("train stem", |b| {
        b.iter(|| conv_gelu(FeatureMap::new(leaf(&images)), &net.stem).into_tensor().sum().backward());
    });
    let mut channels = STEM;
    let mut size = 31;
    for (index, (part, width)) in net.groups.iter().zip(WIDTHS).enumerate() {
        let x = uniform([BATCH, size, size, channels]).permute([0, 3, 1, 2]);
        group.bench_function(format!("train {channels} to {width} at {size}"), |b| {
            b.iter(|| {
                let x = if index == 0 { leaf(&x) } else { leaf(&x).require_grad() };
                part.first(FeatureMap::new(x)).into_tensor().sum().backward()
            });
        });
        size /= 2;
        let x = uniform([BATCH, size, size, width]).permute([0, 3, 1, 2]);
        group.bench_function(format!("train {width} to {width} at {size}"), |b| {
            b.iter(|| part.second(FeatureMap::new(leaf(&x).require_grad())).into_tensor().sum().backward());
        });
        channels = width;
    }
    group.finish();
    criterion.final_summary();
}
