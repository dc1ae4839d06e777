//! A layer of a ResNet, `relu(norm(conv(x)))`, by this crate and by burn-nn's own modules: training step and
//! evaluation.
//!
//! ```text
//! cargo bench --workspace --bench layers
//! ```

use std::time::Duration;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Tensor};
use burn_flex_conv::{FeatureMap, conv_norm_relu};
use criterion::{Criterion, Throughput};

const BATCH: usize = 16;

#[derive(Module, Debug)]
struct Layer {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Layer {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, device: &Device) -> Self {
        let pad = kernel / 2;
        let conv = Conv2dConfig::new(channels, [kernel; 2])
            .with_stride([stride; 2])
            .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
            .with_bias(false);
        Self { conv: conv.init(device), norm: BatchNormConfig::new(channels[1]).init(device) }
    }

    fn fast(&self, x: Tensor<4>) -> Tensor<4> {
        conv_norm_relu(FeatureMap::new(x), &self.conv, &self.norm).into_tensor()
    }

    fn burns(&self, x: Tensor<4>) -> Tensor<4> {
        relu(self.norm.forward(self.conv.forward(x)))
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    // Name, channels, kernel, stride, size of the image.
    let layers = [
        ("3x3", [64, 64], 3, 1, 32),
        ("3x3, stride 2", [64, 128], 3, 2, 32),
        ("1x1", [256, 64], 1, 1, 16),
        ("7x7, stride 2", [3, 64], 7, 2, 64),
    ];
    for (name, channels, kernel, stride, size) in layers {
        let device = Device::flex().autodiff();
        let layer = Layer::new(channels, kernel, stride, &device);
        let shape = [BATCH, channels[0], size, size];
        let images = Tensor::<4>::random(shape, Distribution::Uniform(0.0, 1.0), &Device::flex());
        let train = |forward: &dyn Fn(Tensor<4>) -> Tensor<4>| {
            forward(Tensor::from_inner(images.clone()).require_grad()).sum().backward()
        };
        let mut group = criterion.benchmark_group(format!("train {name}"));
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function("here", |b| b.iter(|| train(&|x| layer.fast(x))));
        group.bench_function("burn-nn", |b| b.iter(|| train(&|x| layer.burns(x))));
        group.finish();

        let layer = layer.valid();
        let mut group = criterion.benchmark_group(format!("evaluate {name}"));
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function("here", |b| b.iter(|| layer.fast(images.clone())));
        group.bench_function("burn-nn", |b| b.iter(|| layer.burns(images.clone())));
        group.finish();
    }
    criterion.final_summary();
}
