//! Training step (forward and backward) and inference of ResNet-18 with the CIFAR stem on the CPU, beside the same network
//! put together from burn-nn's layers.
//!
//! ```text
//! cargo bench -p mcl-model --features flex --bench train_step -- [width] [batch] [steps]
//! ```
//!
//! Prints images per second of wall time and per second of processor time (of one core, which other programs disturb less).

use std::time::Instant;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Tensor};
use mcl_model::{MclModelConfig, ResNetConfig, ResNetDepth};

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

/// Processor seconds of all threads so far.
fn processor_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return f64::NAN };
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<f64>().ok())
        .sum::<f64>()
        * 1e-9
}

/// The best of some runs, in seconds: wall, processor.
fn best(steps: usize, mut run: impl FnMut()) -> (f64, f64) {
    run();
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..steps {
        let (wall, processor) = (Instant::now(), processor_seconds());
        run();
        best = (best.0.min(wall.elapsed().as_secs_f64()), best.1.min(processor_seconds() - processor));
    }
    best
}

fn report(what: &str, images: usize, (wall, processor): (f64, f64)) {
    let images = images as f64;
    println!("{what:32} {:8.1} images/s   {:8.1} images/s of one core", images / wall, images / processor);
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let at = |index: usize, otherwise: usize| numbers.get(index).copied().unwrap_or(otherwise);
    let (width, batch, steps) = (at(0, 16), at(1, 256), at(2, 3));
    println!("ResNet-18, CIFAR stem, width {width}, batch {batch}, f32");
    let device = Device::flex().autodiff();
    let images = Tensor::<4>::random([batch, 3, 32, 32], Distribution::Uniform(0.0, 1.0), &Device::flex());

    let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(width);
    let ours = MclModelConfig::new(resnet).with_hidden(8).with_projection_dim(8).init_seeded(0, &device);
    let train = |forward: &dyn Fn(Tensor<4>) -> Tensor<2>| {
        let features = forward(Tensor::from_inner(images.clone()));
        drop((features.clone() * features).mean().backward());
    };
    let ours_train = best(steps, || train(&|x| ours.forward(x).features));
    report("train, mcl-model", batch, ours_train);
    let valid = ours.valid();
    let ours_infer = best(steps, || drop(valid.forward(images.clone()).features));
    report("infer, mcl-model", batch, ours_infer);
    if at(3, 1) == 0 {
        return;
    }
    let theirs = BurnResNet::new(width, &device);
    let theirs_train = best(steps, || train(&|x| theirs.forward(x)));
    report("train, burn-nn", batch, theirs_train);
    let valid = theirs.valid();
    let theirs_infer = best(steps, || drop(valid.forward(images.clone())));
    report("infer, burn-nn", batch, theirs_infer);
    println!(
        "ratio: train {:.2}, infer {:.2}; of processor time {:.2}, {:.2}",
        theirs_train.0 / ours_train.0,
        theirs_infer.0 / ours_infer.0,
        theirs_train.1 / ours_train.1,
        theirs_infer.1 / ours_infer.1
    );
}
