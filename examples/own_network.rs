//! A network of one's own, trained and saved like the built-in one.
//!
//! ```text
//! cargo run --release --example own_network                  # embedded shapes
//! cargo run --release --example own_network -- DIR [STEPS]   # CIFAR-10 in DIR/cifar-10-batches-bin
//! ```

use std::error::Error;
use std::io::{self, Write};

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, activation::relu};
use burn_mcl::Progress;
use burn_mcl::data::{Split, cifar10, shapes, shapes::ShapesSplit};
use burn_mcl::detector::{Detector, DetectorConfig};
use burn_mcl::infer::MahalanobisConfig;
use burn_mcl::model::{Embedding, Network};
use burn_mcl::train::{TrainConfig, Trainer};

/// Any Burn module.
#[derive(Module, Debug)]
struct SmallNetwork {
    convs: [Conv2d; 2],
    norms: [BatchNorm; 2],
    head: Linear,
}

/// What makes it trainable here: images in, features and projections out.
impl Network for SmallNetwork {
    fn forward(&self, images: Tensor<4>) -> Embedding {
        let mut maps = images;
        for (conv, norm) in self.convs.iter().zip(&self.norms) {
            maps = relu(norm.forward(conv.forward(maps))); // [n, 32, 16, 16], then [n, 64, 8, 8]
        }
        let features = maps.flatten::<3>(2, 3).max_dim(2).squeeze_dim::<2>(2); // [n, 64]
        Embedding::new(features.clone(), self.head.forward(features))
    }
}

fn network(device: &Device) -> SmallNetwork {
    device.seed(0); // the same weights in every start: the run directory belongs to them
    let conv = |channels| {
        let pad = PaddingConfig2d::Explicit(1, 1, 1, 1);
        Conv2dConfig::new(channels, [4, 4]).with_stride([2, 2]).with_padding(pad).init(device)
    };
    SmallNetwork {
        convs: [conv([3, 32]), conv([32, 64])],
        norms: [32, 64].map(|channels| BatchNormConfig::new(channels).init(device)),
        head: LinearConfig::new(64, 32).init(device),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let device = burn_mcl::device::from_env()?;
    let mut arguments = std::env::args().skip(1);
    let (train, held_out) = match arguments.next() {
        Some(root) => {
            (cifar10::load(root.as_ref(), Split::Train)?, cifar10::load(root.as_ref(), Split::Test)?)
        }
        None => (shapes::generate(ShapesSplit::Train, 60, 0), shapes::generate(ShapesSplit::Test, 20, 0)),
    };
    let steps = arguments.next().map_or(Ok(300), |steps| steps.parse())?;

    let config =
        TrainConfig::new().with_images_per_batch(32).with_steps(Some(steps)).with_learning_rate(Some(0.05));
    let run = format!("runs/own_network-{}-{steps}", train.len()); // a run belongs to its images and steps
    let trainer = Trainer::with_network(config, &network(&device), &device)?;
    let network_trained = trainer.run_dir(&run).progress(Progress::Terminal).fit(&train)?;

    let settings = DetectorConfig::new().with_gaussians(MahalanobisConfig::new().with_ridge(1e-3));
    let detector = Detector::fit_network(&network_trained, &train, &held_out, settings, Progress::Terminal)?;
    detector.save(format!("{run}/detector"))?;
    let detector = Detector::load_network(format!("{run}/detector"), &network(&device))?;
    let found = detector.detect_set(&held_out)?;
    let right = found.iter().zip(held_out.labels()).filter(|(found, label)| found.label == **label).count();
    Ok(writeln!(io::stdout(), "accuracy {:.1} %", 100.0 * right as f64 / found.len() as f64)?)
}
