//! Images per second of a training step (forward, MCL loss, backward, SGD) and of inference on the default device, beside
//! the fastest matrix product of the same device: what `tools/gpu/throughput.py` measures of PyTorch.
//!
//! ```text
//! cargo run --release --example throughput --features cuda -- --depth 18 --dtype bf16
//! ```
//!
//! The views lie on the device already: decoding and augmentation are not part of it. Prints one line of JSON for each
//! measurement.

use std::error::Error;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{DType, Device, Distribution, FloatDType, Tensor};
use burn_mcl::loss::{MclLabels, MclLossConfig};
use burn_mcl::model::{MclModel, MclModelConfig, ResNetConfig, ResNetDepth};
use clap::{Parser, ValueEnum};
use serde_json::json;

#[derive(Parser)]
#[command(about = "Training and inference throughput on the default device")]
struct Settings {
    #[arg(long, value_enum, default_value_t = Depth::ResNet18)]
    depth: Depth,
    /// Channels of the first stage
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// Views of 32 x 32 in a batch, a multiple of 8
    #[arg(long, default_value_t = 2048)]
    views: usize,
    /// Type of weights and activations; the loss is in f32
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    dtype: Precision,
    /// Steps in a round; the median of three rounds counts
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Rows and columns of the matrices whose product is the limit compared with
    #[arg(long, default_value_t = 8192)]
    matrix: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Depth {
    #[value(name = "18")]
    ResNet18,
    #[value(name = "34")]
    ResNet34,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Precision {
    F32,
    Bf16,
}

fn main() {
    if let Err(error) = run(&Settings::parse()) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run(settings: &Settings) -> Result<(), Box<dyn Error>> {
    if settings.views == 0 || !settings.views.is_multiple_of(8) || settings.steps == 0 {
        return Err("--views must be a multiple of 8 and --steps at least 1".into());
    }
    let mut device = burn_mcl::device::from_env()?;
    if let Precision::Bf16 = settings.dtype {
        device.configure(FloatDType::BF16)?;
    }
    let limit = matrix_product(settings, &device)?;
    inference(settings, &device, limit)?;
    training(settings, &device, limit)
}

/// The time of one `step` after the device has compiled and chosen its kernels: median of three rounds.
fn time(device: &Device, steps: usize, mut step: impl FnMut()) -> Result<Timing, Box<dyn Error>> {
    let started = Instant::now();
    for _ in 0..2 {
        step();
        device.sync()?;
    }
    let warm_up = started.elapsed();
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let started = Instant::now();
        (0..steps).for_each(|_| step());
        device.sync()?;
        rounds.push(started.elapsed() / steps as u32);
    }
    rounds.sort();
    Ok(Timing { warm_up, step: rounds[1] })
}

struct Timing {
    /// The first two steps.
    warm_up: Duration,
    step: Duration,
}

/// Operations per second of a large matrix product.
fn matrix_product(settings: &Settings, device: &Device) -> Result<f64, Box<dyn Error>> {
    let n = settings.matrix;
    let random = || Tensor::<2>::random([n, n], Distribution::Normal(0.0, 1.0), device);
    let (a, b) = (random(), random());
    let timing = time(device, settings.steps, || drop(a.clone().matmul(b.clone())))?;
    let rate = 2.0 * (n as f64).powi(3) / timing.step.as_secs_f64();
    let dtype = format!("{:?}", a.dtype());
    print(&json!({"what": "matrix product", "size": n, "dtype": dtype, "tflops": rate / 1e12}))?;
    Ok(rate)
}

fn network(settings: &Settings, device: &Device) -> MclModel {
    let depth = match settings.depth {
        Depth::ResNet18 => ResNetDepth::ResNet18,
        Depth::ResNet34 => ResNetDepth::ResNet34,
    };
    MclModelConfig::new(ResNetConfig::new(depth).with_width(settings.width)).init_seeded(0, device)
}

fn views(settings: &Settings, device: &Device) -> Tensor<4> {
    Tensor::random([settings.views, 3, 32, 32], Distribution::Uniform(0.0, 1.0), device)
}

fn inference(settings: &Settings, device: &Device, limit: f64) -> Result<(), Box<dyn Error>> {
    let (model, images) = (network(settings, device), views(settings, device));
    let timing = time(device, settings.steps, || drop(model.forward(images.clone()).projections))?;
    report("inference", settings, &timing, operations(settings), limit)?;
    Ok(())
}

fn training(settings: &Settings, device: &Device, limit: f64) -> Result<(), Box<dyn Error>> {
    let plain = device;
    let device = &plain.clone().autodiff();
    let images = views(settings, device);
    let samples = settings.views / 2;
    // Four rotations of each image, ten classes.
    let class: Vec<i32> = (0..samples as i32).map(|sample| sample / 4 % 10).collect();
    let aux: Vec<i32> = (0..samples as i32).map(|sample| sample % 4).collect();
    let labels = MclLabels::new(Tensor::from_ints(class.as_slice(), plain))
        .with_aux(Tensor::from_ints(aux.as_slice(), plain));
    let loss = MclLossConfig::new().init();
    let momentum = MomentumConfig::new().with_momentum(0.9).with_nesterov(true).with_dampening(0.0);
    let mut optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();

    let mut model = Some(network(settings, device));
    let timing = time(plain, settings.steps, || {
        let current = model.take().expect("put back at the end of each step");
        let projections = current.forward(images.clone()).projections;
        let dim = projections.dims()[1];
        let projections = projections.cast(DType::F32).reshape([samples, 2, dim]);
        let gradients = loss.forward(projections, &labels).backward();
        let gradients = GradientsParams::from_grads(gradients, &current);
        model = Some(optimizer.step(1e-3, current, gradients));
    })?;
    // Backward is a forward pass towards the weights and one towards the activations.
    report("training step", settings, &timing, 3.0 * operations(settings), limit)?;
    Ok(())
}

fn report(what: &str, settings: &Settings, timing: &Timing, operations: f64, limit: f64) -> io::Result<()> {
    let seconds = timing.step.as_secs_f64();
    let rate = operations * settings.views as f64 / seconds;
    let record = json!({
        "what": what,
        "dtype": format!("{:?}", settings.dtype).to_lowercase(),
        "views": settings.views,
        "milliseconds": seconds * 1e3,
        "views_per_second": settings.views as f64 / seconds,
        "tflops": rate / 1e12,
        "share_of_matrix_product": rate / limit,
        "warm_up_seconds": timing.warm_up.as_secs_f64(),
    });
    print(&record)
}

/// Prints one line; a closed pipe is an error, not a panic.
fn print(record: &serde_json::Value) -> io::Result<()> {
    writeln!(io::stdout(), "{record}")
}

/// Operations (two for a multiplication and addition) of the convolutions for one image of 32 x 32.
fn operations(settings: &Settings) -> f64 {
    let blocks = match settings.depth {
        Depth::ResNet18 => [2, 2, 2, 2],
        Depth::ResNet34 => [3, 4, 6, 3],
    };
    let product = |channels_in: usize, channels_out: usize, kernel: usize, size: usize| {
        2 * channels_in * channels_out * kernel * kernel * size * size
    };
    let mut channels = settings.width;
    let mut total = product(3, channels, 3, 32);
    for (layer, blocks) in blocks.into_iter().enumerate() {
        let (width, size) = (settings.width << layer, 32 >> layer);
        for _ in 0..blocks {
            total += product(channels, width, 3, size) + product(width, width, 3, size);
            if channels != width {
                total += product(channels, width, 1, size);
            }
            channels = width;
        }
    }
    total as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_those_of_the_published_networks() {
        // 0.56 and 1.16 billion multiplications and additions for an image of 32 x 32.
        for (depth, billions) in [("18", 0.56), ("34", 1.16)] {
            let settings = Settings::parse_from(["throughput", "--depth", depth]);
            let found = operations(&settings) / 2e9;
            assert!((found - billions).abs() < 0.01, "ResNet-{depth}: {found} instead of {billions}");
        }
    }
}
