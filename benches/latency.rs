//! How long one picture takes: `Detector::detect_image` of a photograph of 640 x 480 pixels, from decoded picture to verdict, with
//! random weights. Prints the median and the 99th percentile of the calls.
//!
//! With a directory, the detectors are written there as ONNX graphs, which `tools/bench/latency.py` runs on the same picture.
//!
//! ```text
//! cargo bench --workspace --bench latency -- target/latency
//! python tools/bench/latency.py target/latency
//! ```

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs};

use burn::tensor::Device;
use burn_mcl::Progress;
use burn_mcl::data::ImageSet;
use burn_mcl::detector::{Detector, DetectorConfig};
use burn_mcl::export::{Existing, save_onnx};
use burn_mcl::infer::{Covariance, MahalanobisConfig, Shrinkage};
use burn_mcl::model::{MclModelConfig, ResNetConfig, ResNetDepth, Stem};
use burn_mcl::train::TrainConfig;
use burn_mcl_benches::number;
use image::{DynamicImage, Rgb, RgbImage};

const CALLS: usize = 200;
const WARM_UP: usize = 10;

fn main() {
    // cargo gives every bench `--bench`, and `cargo test` gives `--test`: then each detector judges one picture.
    let arguments: Vec<_> = env::args().skip(1).collect();
    let calls = if arguments.iter().any(|argument| argument == "--bench") { CALLS } else { 1 };
    let directory = arguments.iter().find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let picture = photograph();
    for (name, detector) in detectors() {
        if let Some(directory) = &directory {
            fs::create_dir_all(directory).unwrap();
            save_onnx(&detector, directory.join(format!("{name}.onnx")), Existing::Replace).unwrap();
        }
        let call = || {
            let started = Instant::now();
            detector.detect_image(&picture).unwrap();
            started.elapsed()
        };
        (0..WARM_UP.min(calls)).for_each(|_| {
            call();
        });
        let mut times: Vec<_> = (0..calls).map(|_| call()).collect();
        times.sort();
        let at = |share: f64| milliseconds(times[((times.len() - 1) as f64 * share).round() as usize]);
        println!("{name:28} p50 {:8.2} ms  p99 {:8.2} ms  {calls} calls", at(0.5), at(0.99));
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The picture that `tools/bench/latency.py` makes, too.
fn photograph() -> DynamicImage {
    let value = |x: u32, y: u32, channel: u32| (number(((y * 640 + x) * 3 + channel).into()) * 256.0) as u8;
    RgbImage::from_fn(640, 480, |x, y| Rgb([0, 1, 2].map(|channel| value(x, y, channel)))).into()
}

/// What `mcl train` makes of pictures by default, the same from pretrained weights without training, and the detector of the recipe
/// `fast`.
fn detectors() -> Vec<(&'static str, Detector)> {
    let small = MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet18).with_width(16)).with_hidden(256);
    let large = ResNetConfig::new(ResNetDepth::ResNet18).with_width(64).with_stem(Stem::Torchvision);
    let large = MclModelConfig::new(large).with_hidden(512);
    let shrunk = MahalanobisConfig::new().with_covariance(Covariance::Tied).with_shrinkage(Shrinkage::Oas);
    let fast = TrainConfig::fast(10);
    vec![
        ("resnet18-16-32px-8-views", detector(small, 32, DetectorConfig::new())),
        ("resnet18-64-224px-1-view", detector(large, 224, DetectorConfig::upright().with_gaussians(shrunk))),
        ("fast-32px-6-views", detector(fast.model.clone(), 32, DetectorConfig::suited_to(&fast))),
    ]
}

fn detector(network: MclModelConfig, side: usize, config: DetectorConfig) -> Detector {
    let noise = |seed: u64| {
        let bytes = 20 * 3 * side * side;
        let pixels = (0..bytes as u64).map(|i| (number(seed + i) * 256.0) as u8).collect();
        let names = (0..10).map(|class| format!("class {class}")).collect();
        ImageSet::new(pixels, (side, side), (0..20).map(|i| i % 10).collect(), names).unwrap()
    };
    let ridge = if config.gaussians.covariance == Covariance::Tied { 0.0 } else { 1.0 };
    let gaussians = config.gaussians.with_ridge(ridge);
    let model = network.init_seeded(0, &Device::flex());
    let config = config.with_gaussians(gaussians);
    Detector::fit(&model, network, &noise(0), &noise(1 << 32), config, Progress::Hidden).unwrap()
}
