//! Training step (forward and backward) and inference of ResNet-18 with the CIFAR stem on the CPU.
//!
//! `here` computes in f32, `here, bf16` has products of convolutions in bf16, and `burn-nn` is the same network put together
//! from burn-nn's layers, in f32.
//!
//! ```text
//! [WIDTH=64] [BATCH=64] cargo bench --workspace --bench train_step
//! ```

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Tensor};
use burn_mcl::model::{MclModelConfig, Precision, ResNetConfig, ResNetDepth};
use burn_mcl_benches::{Bench, HERE};
use criterion::Throughput;

const BF16: &str = "here, bf16";

#[derive(Module, Debug)]
struct Layer {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Layer {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, device: &Device) -> Self {
        let pad = kernel / 2;
        let conv = Conv2dConfig::new(channels, [kernel, kernel])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
            .with_bias(false);
        Self { conv: conv.init(device), norm: BatchNormConfig::new(channels[1]).init(device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

#[derive(Module, Debug)]
struct Block {
    first: Layer,
    second: Layer,
    shortcut: Option<Layer>,
}

#[derive(Module, Debug)]
struct BurnResNet {
    stem: Layer,
    blocks: Vec<Block>,
}

impl BurnResNet {
    fn new(width: usize, device: &Device) -> Self {
        let mut blocks = Vec::new();
        let mut channels = width;
        for (layer, out) in [width, 2 * width, 4 * width, 8 * width].into_iter().enumerate() {
            for stride in [if layer == 0 { 1 } else { 2 }, 1] {
                blocks.push(Block {
                    first: Layer::new([channels, out], 3, stride, device),
                    second: Layer::new([out, out], 3, 1, device),
                    shortcut: (stride != 1).then(|| Layer::new([channels, out], 1, stride, device)),
                });
                channels = out;
            }
        }
        Self { stem: Layer::new([3, width], 3, 1, device), blocks }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = relu(self.stem.forward(images));
        for block in &self.blocks {
            let y = block.second.forward(relu(block.first.forward(x.clone())));
            let shortcut = block.shortcut.as_ref().map_or(x.clone(), |shortcut| shortcut.forward(x));
            x = relu(y + shortcut);
        }
        x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim::<2>(2)
    }
}

fn main() {
    let mut bench = Bench::from_args();
    let number = |name, otherwise| std::env::var(name).map_or(otherwise, |value| value.parse().expect(name));
    let (width, batch) = (number("WIDTH", 64), number("BATCH", 64));
    println!("ResNet-18, CIFAR stem, width {width}, batch {batch}");
    let device = Device::flex().autodiff();
    let images = Tensor::<4>::random([batch, 3, 32, 32], Distribution::Uniform(0.0, 1.0), &Device::flex());

    let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(width);
    let config = MclModelConfig::new(resnet).with_hidden(8).with_projection_dim(8);
    let ours = config.init_seeded(0, &device);
    let in_bf16 = config.with_precision(Precision::Bf16).init_seeded(0, &device);
    let theirs = BurnResNet::new(width, &device);
    let train = |forward: &dyn Fn(Tensor<4>) -> Tensor<2>| {
        let features = forward(Tensor::from_inner(images.clone()));
        (features.clone() * features).mean().backward()
    };
    let mut group = bench.group("train_step");
    group.throughput(Throughput::Elements(batch as u64));
    group.bench_function(HERE, |b| b.iter(|| train(&|x| ours.forward(x).features)));
    group.bench_function(BF16, |b| b.iter(|| train(&|x| in_bf16.forward(x).features)));
    group.bench_function("burn-nn", |b| b.iter(|| train(&|x| theirs.forward(x))));
    group.finish();

    let (ours, in_bf16, theirs) = (ours.valid(), in_bf16.valid(), theirs.valid());
    let mut group = bench.group("inference");
    group.throughput(Throughput::Elements(batch as u64));
    group.bench_function(HERE, |b| b.iter(|| ours.forward(images.clone()).features));
    group.bench_function(BF16, |b| b.iter(|| in_bf16.forward(images.clone()).features));
    group.bench_function("burn-nn", |b| b.iter(|| theirs.forward(images.clone())));
    group.finish();
    bench.finish();
}
