//! A network of one's own has all that an `MclModel` has: checkpoints, resume, detectors on disk.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use crate::common::{corners, seal, tiny_run};
use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Tensor, TensorData};
use burn_mcl::Progress;
use burn_mcl::detector::{Detector, DetectorConfig, DetectorError};
use burn_mcl::infer::MahalanobisConfig;
use burn_mcl::loss::MclLossConfig;
use burn_mcl::model::{Embedding, Network};
use burn_mcl::train::{
    LossInput, LossValue, TrainError, Trainer, TrainingLoss, load_network_into, read_history, read_loss_parts,
};

const STEPS: usize = 6;

#[derive(Module, Debug)]
struct Small {
    encoder: Linear,
    norm: BatchNorm,
    head: Linear,
}

impl Network for Small {
    fn forward(&self, images: Tensor<4>) -> Embedding {
        let features = relu(self.norm.forward(self.encoder.forward(images.flatten::<2>(1, 3))));
        Embedding::new(features.clone(), self.head.forward(features))
    }
}

/// A layer whose weights depend on `seed` alone: Burn's generator is shared by all tests.
fn linear(inputs: usize, outputs: usize, seed: u32) -> Linear {
    let values = |count: usize, seed: u32| -> Vec<f32> {
        (0..count).map(|i| ((i as u32 * 2_654_435_761 + seed * 97) as f32 * 1e-6).sin() * 0.1).collect()
    };
    let layer = LinearConfig::new(inputs, outputs).init(&Device::flex());
    let weight = TensorData::new(values(inputs * outputs, seed), [inputs, outputs]);
    let bias = TensorData::new(values(outputs, seed + 1), [outputs]);
    Linear {
        weight: layer.weight.map(|_| Tensor::from_data(weight, &Device::flex())),
        bias: layer.bias.map(|param| param.map(|_| Tensor::from_data(bias, &Device::flex()))),
    }
}

/// A network of 192 inputs.
fn small(seed: u32) -> Small {
    let norm = BatchNormConfig::new(16).init(&Device::flex());
    Small { encoder: linear(3 * 8 * 8, 16, seed), norm, head: linear(16, 8, seed + 2) }
}

fn trainer<'a>(seed: u32) -> Trainer<'a, Small> {
    Trainer::with_network(tiny_run(STEPS), &small(seed), &Device::flex()).unwrap()
}

/// Projections of some images, as bits.
fn bits(network: &Small) -> Vec<u32> {
    let images = Tensor::arange(0..3 * 192, &Device::flex()).float().sin().reshape([3, 3, 8, 8]);
    let projections = network.valid().forward(images).projections;
    projections.into_data().iter::<f32>().map(f32::to_bits).collect()
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let images = corners(16, 0);
    let expected = bits(&trainer(1).run_dir(whole.path()).fit(&images).unwrap());
    assert_ne!(expected, bits(&small(1)), "training changes the network");

    let at_three = |report: &burn_mcl::train::StepReport| match report.step {
        3 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let error = trainer(1).run_dir(stopped.path()).observer(at_three).fit(&images).unwrap_err();
    assert!(matches!(error, TrainError::Stopped { step: 3, .. }), "{error}");
    let error = trainer(2).run_dir(stopped.path()).fit(&images).unwrap_err();
    match &error {
        TrainError::OtherRun { setting, .. } => assert!(setting.contains("sha256"), "{error}"),
        _ => panic!("{error}"),
    }
    assert!(expected == bits(&trainer(1).run_dir(stopped.path()).fit(&images).unwrap()));
    assert!(expected == bits(&load_network_into(stopped.path(), &small(7)).unwrap().1));
}

#[test]
fn a_detector_is_saved_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("detector");
    let network = trainer(1).fit(&corners(16, 0)).unwrap();
    let config =
        DetectorConfig::new().with_gaussians(MahalanobisConfig::new().with_ridge(1e-2)).with_tpr(0.9);
    let (train, held_out) = (corners(40, 0), corners(20, 1));
    let saved = Detector::fit_network(&network, &train, &held_out, config, Progress::Hidden).unwrap();
    saved.save(&path).unwrap();
    let loaded = Detector::load_network(&path, &small(9)).unwrap();
    let scores = |detector: &Detector<Small>| -> Vec<u64> {
        detector.detect_set(&corners(8, 2)).unwrap().iter().map(|found| found.score.to_bits()).collect()
    };
    assert_eq!(scores(&loaded), scores(&saved));

    // An earlier version stored the path of the type's module.
    let settings = path.join("detector.json");
    let json = fs::read_to_string(&settings).unwrap();
    assert!(json.contains("\"Small\""), "{json}");
    fs::write(&settings, json.replace("\"Small\"", "\"once::Small\"")).unwrap();
    seal(&path);
    assert_eq!(scores(&Detector::load_network(&path, &small(9)).unwrap()), scores(&saved));

    match Detector::load(&path, &Device::flex()) {
        Err(DetectorError::OtherNetwork { found, .. }) => assert!(found.contains("Small"), "{found}"),
        other => panic!("{other:?}"),
    }
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/artifact-v1/detector");
    assert!(matches!(
        Detector::load_network(kept, &small(9)),
        Err(DetectorError::OtherNetwork { found, .. }) if found.contains("MclModel")
    ));
}

/// [`Small`] with a classifier of two classes in four rotations.
#[derive(Module, Debug)]
struct Classifying {
    network: Small,
    classifier: Linear,
}

impl Network for Classifying {
    fn forward(&self, images: Tensor<4>) -> Embedding {
        let embedding = self.network.forward(images);
        let logits = self.classifier.forward(embedding.features.clone());
        embedding.with_logits(logits)
    }
}

#[test]
fn a_classifier_of_class_and_rotation_is_trained_beside_mcl() {
    let dir = tempfile::tempdir().unwrap();
    let network = Classifying { network: small(1), classifier: linear(16, 8, 5) };
    let mcl = MclLossConfig::new().init();
    let hybrid = move |input: &LossInput| {
        let logits = input.logits.clone().unwrap(); // [2 * samples, 8]
        let [views, classes] = logits.dims();
        assert_eq!(classes, 2 * input.aux_classes);
        let labels = input.joint_labels().unsqueeze_dim::<2>(1).repeat_dim(1, 2).reshape([views, 1]);
        let cross_entropy = log_softmax(logits, 1).gather(1, labels).mean().neg();
        let contrastive = mcl.value(input).total;
        LossValue::new(contrastive + cross_entropy.clone()).with_part("cross_entropy", cross_entropy)
    };
    let config = tiny_run(80).with_learning_rate(Some(0.1));
    let trainer = Trainer::with_network(config, &network, &Device::flex()).unwrap();
    trainer.loss("MCL and cross-entropy", hybrid).run_dir(dir.path()).fit(&corners(16, 0)).unwrap();
    let parts = read_loss_parts(dir.path()).unwrap();
    let (first, last) = (parts[0]["cross_entropy"], parts[79]["cross_entropy"]);
    assert!((first - 8.0_f32.ln()).abs() < 0.5, "at first the classifier knows nothing: {first}");
    assert!(last < 0.8 * first, "{first} {last}");
}

#[test]
fn a_loss_that_cannot_be_descended_is_refused() {
    let fit = |loss: fn(&LossInput) -> LossValue| {
        let never = |_: &burn_mcl::train::StepReport| panic!("a step was done");
        trainer(1).loss("own", loss).observer(never).fit(&corners(16, 0)).unwrap_err()
    };
    let constant = |input: &LossInput| LossValue::new(Tensor::ones([1], &input.projections.device()));
    let detached = |input: &LossInput| LossValue::new(input.projections.clone().detach().mean());
    let of_another = |input: &LossInput| {
        LossValue::new(Tensor::<1>::ones([1], &input.projections.device()).require_grad() * 2.0)
    };
    for loss in [constant, detached, of_another] {
        let error = fit(loss);
        assert!(matches!(error, TrainError::NothingToTrain), "{error}");
        assert!(error.to_string().contains("unfreeze"), "{error}");
    }
    let error = fit(|input| {
        let each = input.projections.clone().square().mean_dims(&[1, 2]).flatten::<1>(0, 2); // [samples]
        LossValue::new(each.clone().mean()).with_part("each", each)
    });
    match &error {
        TrainError::LossShape { part: "each", shape } => assert_eq!(shape, &[32]),
        _ => panic!("{error}"),
    }
}

#[test]
fn parts_that_are_not_numbers_end_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let loss = |input: &LossInput| {
        let part = |value: f32| Tensor::<1>::full([1], value, &input.projections.device());
        LossValue::new(input.projections.clone().square().mean())
            .with_part("contrastive", part(f32::NAN))
            .with_part("attraction", part(f32::NAN))
            .with_part("spread", part(f32::NEG_INFINITY))
            .with_part("size", part(0.5))
    };
    trainer(1).loss("own", loss).run_dir(dir.path()).fit(&corners(16, 0)).unwrap();
    let steps = read_history(dir.path()).unwrap();
    assert_eq!(steps.len(), STEPS);
    assert!(steps.iter().all(|step| step.contrastive.is_nan() && step.attraction.unwrap().is_nan()));
    let parts = read_loss_parts(dir.path()).unwrap();
    assert_eq!(parts.len(), STEPS);
    assert!(parts.iter().all(|parts| parts["spread"].is_nan() && parts["size"] == 0.5));
}

#[test]
fn a_loss_of_ones_own_is_descended_and_logged_in_its_parts() {
    let dir = tempfile::tempdir().unwrap();
    let spread = |input: &LossInput| {
        let [samples, views, dim] = input.projections.dims();
        assert_eq!((samples, views, dim), (32, 2, 8));
        assert_eq!(input.features.dims(), [64, 16]);
        let size = input.projections.clone().square().mean();
        let features = input.features.clone().square().mean();
        LossValue::new(size.clone() + features.clone())
            .with_part("size", size)
            .with_part("features", features)
    };
    trainer(1).loss("spread", spread).run_dir(dir.path()).fit(&corners(16, 0)).unwrap();
    let steps = read_history(dir.path()).unwrap();
    let parts = read_loss_parts(dir.path()).unwrap();
    assert_eq!((steps.len(), parts.len()), (STEPS, STEPS));
    for (step, parts) in steps.iter().zip(&parts) {
        assert_eq!(parts.keys().collect::<Vec<_>>(), ["features", "size"]);
        assert!((step.loss - parts["size"] - parts["features"]).abs() < 1e-5);
    }
    assert!(steps[STEPS - 1].loss < steps[0].loss);
    // The name of the loss belongs to the run.
    let error = trainer(1).loss("other", spread).run_dir(dir.path()).fit(&corners(16, 0)).unwrap_err();
    assert!(matches!(&error, TrainError::OtherRun { found, .. } if found.contains("spread")), "{error}");
    let error = trainer(1).run_dir(dir.path()).fit(&corners(16, 0)).unwrap_err();
    assert!(matches!(error, TrainError::OtherRun { .. }), "{error}");
}
