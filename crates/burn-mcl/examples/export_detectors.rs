//! Writes detectors for `tools/check_export.py`: each as a directory for the Hugging Face Hub, with images, and what the detector
//! says of these.
//!
//! ```text
//! cargo run --release --workspace --features burn-mcl/onnx --example export_detectors -- target/export
//! ```

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use burn_mcl::Progress;
use burn_mcl::data::ImageSet;
use burn_mcl::data::batch::{Rotations, eval_batches};
use burn_mcl::detector::{Detector, DetectorConfig, Score};
use burn_mcl::export::{Existing, save_hugging_face};
use burn_mcl::infer::{Aggregation, Covariance, Distance, MahalanobisConfig, Shrinkage, TestTimeViews};
use burn_mcl::model::{EncoderConfig, FastNetConfig, MclModelConfig, ResNetConfig, ResNetDepth, Stem};

/// Classes of the images.
const CLASSES: usize = 5;
/// Images of random pixels, and images like those of training, that each detector judges.
const JUDGED: usize = 24;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(std::env::args().nth(1).ok_or("usage: export_detectors DIRECTORY")?);
    let resnet = |depth, width| -> EncoderConfig { ResNetConfig::new(depth).with_width(width).into() };
    let large = ResNetConfig::new(ResNetDepth::ResNet50).with_width(2).with_stem(Stem::Torchvision);
    let fast = FastNetConfig::new().with_widths([8, 12, 16]);
    let config = DetectorConfig::new().with_tpr(0.9);
    let gaussians = MahalanobisConfig::new().with_ridge(1e-5);
    let upright = config.clone().with_rotations(Rotations::None);

    write(
        &directory.join("resnet18-8-views-weighted-average"),
        resnet(ResNetDepth::ResNet18, 4),
        [32, 32],
        config.clone().with_gaussians(gaussians),
    )?;
    write(
        &directory.join("resnet18-1-view-max"),
        resnet(ResNetDepth::ResNet18, 4),
        [16, 16],
        config
            .clone()
            .with_gaussians(gaussians)
            .with_views(TestTimeViews::Identity)
            .with_aggregation(Aggregation::Max),
    )?;
    write(
        &directory.join("resnet50-tied-root-4-views-harmonic-mean"),
        large.into(),
        [48, 48],
        config
            .clone()
            .with_gaussians(gaussians.with_covariance(Covariance::Tied).with_distance(Distance::Root))
            .with_views(TestTimeViews::Rotations)
            .with_aggregation(Aggregation::HarmonicMean),
    )?;
    write(
        &directory.join("resnet34-raw-projections-2-views-mean"),
        resnet(ResNetDepth::ResNet34, 2),
        [24, 17],
        upright
            .clone()
            .with_gaussians(gaussians.with_normalize(false).with_shrinkage(Shrinkage::Oas))
            .with_views(TestTimeViews::Flips)
            .with_aggregation(Aggregation::Mean),
    )?;
    write(
        &directory.join("fastnet-entropy-6-views-mean"),
        fast.clone().into(),
        [32, 27],
        upright
            .with_gaussians(gaussians)
            .with_score(Score::Entropy)
            .with_views(TestTimeViews::FlipsAndShifts)
            .with_aggregation(Aggregation::Mean),
    )?;
    write(
        &directory.join("fastnet-residual-softmax-8-views-max"),
        fast.with_residual(true).into(),
        [21, 21],
        config.with_gaussians(gaussians).with_score(Score::Softmax).with_aggregation(Aggregation::Max),
    )?;
    Ok(())
}

/// Fits a detector of a network with random weights, exports the detector, and judges images.
fn write(
    directory: &Path,
    encoder: EncoderConfig,
    size: [usize; 2],
    config: DetectorConfig,
) -> Result<(), Box<dyn Error>> {
    let device = Device::flex();
    let logits = CLASSES * config.rotations.aux_classes();
    let network = MclModelConfig::new(encoder)
        .with_hidden(32)
        .with_projection_dim(16)
        .with_classifier((config.score != Score::Gaussians).then_some(logits));
    let mut model = network.init_seeded(0, &device.clone().autodiff());
    if let Some(mut classifier) = model.classifier().cloned() {
        // Random logits are nearly alike: probabilities that differ say more.
        classifier.weight = classifier.weight.map(|weight| weight.mul_scalar(8.0));
        model = model.with_classifier(classifier)?;
    }
    let (train, held_out) = (stripes(size, 40, 0)?, stripes(size, 20, 1)?);
    for batch in eval_batches(&train, 100, &model.device())? {
        model.forward(batch.images); // moves the running statistics of the batch norms
    }
    let detector = Detector::fit(&model.valid(), network, &train, &held_out, config, Progress::Hidden)?;
    save_hugging_face(&detector, directory.join("export"), Existing::Replace)?;

    let known = eval_batches(&stripes(size, 5, 2)?, JUDGED, &device)?.next().ok_or("no images")?.images;
    let mut noise = noise(3);
    let [height, width] = size;
    let values: Vec<f32> = (0..JUDGED * 3 * height * width).map(|_| noise()).collect();
    let random = Tensor::from_data(TensorData::new(values, [JUDGED, 3, height, width]), &device);
    let images = Tensor::cat(vec![known, random], 0);
    let found = detector.detect(images.clone())?;
    fs::write(directory.join("images.f32"), images.into_data().as_bytes())?;
    fs::write(directory.join("detections.json"), serde_json::to_vec(&found)?)?;
    println!("{}", directory.display());
    Ok(())
}

/// Images of stripes, as wide as the class says, under noise.
fn stripes([height, width]: [usize; 2], per_class: usize, seed: u64) -> Result<ImageSet, Box<dyn Error>> {
    let mut noise = noise(seed);
    let labels: Vec<usize> = (0..CLASSES * per_class).map(|i| i % CLASSES).collect();
    let mut pixels = Vec::new();
    for &label in &labels {
        for i in 0..3 * height * width {
            let bright = (i % width / (label + 1)) % 2 == 0;
            pixels.push((if bright { 150.0 } else { 20.0 } + 100.0 * noise()) as u8);
        }
    }
    let names = (1..=CLASSES).map(|stripe| format!("stripes of {stripe} pixels")).collect();
    Ok(ImageSet::new(pixels, (height, width), labels, names)?)
}

/// Numbers in [0, 1).
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(2) + 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    }
}
