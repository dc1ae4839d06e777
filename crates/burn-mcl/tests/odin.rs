//! ODIN against its formula, and on the built-in network.

use crate::common::corners;
use burn::module::Module;
use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};
use burn_mcl::Progress;
use burn_mcl::detector::DetectorError;
use burn_mcl::model::{Embedding, FastNetConfig, MclModelConfig, Network};
use burn_mcl::odin::OdinConfig;

const PIXELS: usize = 3 * 8 * 8;
const CLASSES: usize = 3;

/// A classifier without layers: its gradient is known.
#[derive(Module, Debug)]
struct Flat {
    classifier: Linear,
}

impl Network for Flat {
    fn forward(&self, images: Tensor<4>) -> Embedding {
        let features = images.flatten::<2>(1, 3);
        let logits = self.classifier.forward(features.clone());
        Embedding::new(features.clone(), features).with_logits(logits)
    }
}

/// `weight[pixel][class]`
fn weight() -> Vec<f32> {
    (0..PIXELS * CLASSES).map(|i| ((i * 37 % 101) as f32 - 50.0) / 200.0).collect()
}

fn flat() -> Flat {
    let weight = Tensor::from_data(TensorData::new(weight(), [PIXELS, CLASSES]), &Device::flex());
    Flat { classifier: Linear { weight: Param::from_tensor(weight), bias: None } }
}

fn probabilities(image: &[f64], temperature: f64) -> Vec<f64> {
    let weight = weight();
    let logit = |class: usize| -> f64 {
        image.iter().enumerate().map(|(i, x)| x * f64::from(weight[i * CLASSES + class])).sum::<f64>()
            / temperature
    };
    let exps: Vec<f64> = (0..CLASSES).map(|class| logit(class).exp()).collect();
    exps.iter().map(|e| e / exps.iter().sum::<f64>()).collect()
}

#[test]
fn the_score_is_that_of_the_moved_image() {
    let (set, weight) = (corners(4, 1), weight());
    for (temperature, epsilon) in [(1.0, 0.0), (1.0, 0.01), (10.0, 0.05)] {
        let odin = OdinConfig::new().with_temperature(temperature).with_epsilon(epsilon).with_batch_size(3);
        let scores = odin.score(&flat(), &set, Progress::Hidden).unwrap();
        for (image, (pixels, score)) in set.iter_pixels().zip(scores).enumerate() {
            let pixels: Vec<f64> = pixels.iter().map(|&byte| f64::from(byte) / 255.0).collect();
            let p = probabilities(&pixels, temperature);
            let best = (0..CLASSES).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap();
            // The gradient of ln p(best) is (W_best - sum of p W) / T.
            let moved: Vec<f64> = (0..PIXELS)
                .map(|i| {
                    let w = |class: usize| f64::from(weight[i * CLASSES + class]);
                    let gradient = w(best) - (0..CLASSES).map(|class| p[class] * w(class)).sum::<f64>();
                    pixels[i] + epsilon * gradient.signum()
                })
                .collect();
            let expected = probabilities(&moved, temperature).into_iter().fold(0.0, f64::max);
            assert!(
                (score - expected).abs() < 1e-5,
                "{image} at {temperature}, {epsilon}: {score} for {expected}"
            );
        }
    }
}

#[test]
fn the_built_in_network_becomes_surer_by_the_move() {
    let encoder = FastNetConfig::new().with_widths([8, 8, 8]);
    let config = MclModelConfig::new(encoder).with_hidden(8).with_projection_dim(8).with_classifier(4);
    let model = config.init_seeded(3, &Device::flex());
    let set = corners_of(32);
    let odin = OdinConfig::new().with_temperature(1.0);
    let still = odin.with_epsilon(0.0).score(&model, &set, Progress::Hidden).unwrap();
    let moved = odin.with_epsilon(0.002).score(&model, &set, Progress::Hidden).unwrap();
    assert!(still.iter().zip(&moved).all(|(still, moved)| moved > still), "{still:?}, {moved:?}");
}

/// Images of `side` pixels a side.
fn corners_of(side: usize) -> burn_mcl::data::ImageSet {
    let pixels = (0..4 * 3 * side * side).map(|i| (i * 31 % 251) as u8).collect();
    burn_mcl::data::ImageSet::new(pixels, (side, side), vec![0, 1, 0, 1], vec!["a".into(), "b".into()])
        .unwrap()
}

#[test]
fn settings_and_networks_that_cannot_be_scored_are_refused() {
    let set = corners(2, 0);
    let score = |odin: OdinConfig| odin.score(&flat(), &set, Progress::Hidden).unwrap_err();
    for (odin, name) in [
        (OdinConfig::new().with_temperature(0.0), "temperature"),
        (OdinConfig::new().with_temperature(f64::NAN), "temperature"),
        (OdinConfig::new().with_epsilon(-0.1), "epsilon"),
    ] {
        match score(odin) {
            DetectorError::Config { setting, .. } => assert_eq!(setting, name),
            other => panic!("{other}"),
        }
    }
    assert!(matches!(score(OdinConfig::new().with_batch_size(0)), DetectorError::Data(_)));
    let encoder = FastNetConfig::new().with_widths([8, 8, 8]);
    let without =
        MclModelConfig::new(encoder).with_hidden(8).with_projection_dim(8).init_seeded(0, &Device::flex());
    for epsilon in [0.0, 0.01] {
        let odin = OdinConfig::new().with_epsilon(epsilon);
        let error = odin.score(&without, &corners_of(32), Progress::Hidden).unwrap_err();
        assert!(error.to_string().contains("logits"), "{error}");
    }
}
