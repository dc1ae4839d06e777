//! Layers of a network of one's own that need care in training: dropout, and frozen layers.

mod common;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{Module, Param, ParamGroup};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};
use burn_mcl::model::{Embedding, Network};
use burn_mcl::train::{
    MuonScale, Optimizer, StepReport, TrainConfig, TrainError, Trainer, ValidationReport, load_network_into,
    read_validations,
};
use common::{corners, tiny_run};

const STEPS: usize = 6;

/// Held by every test here: the process has one generator for the device.
fn generator() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Module, Debug)]
struct Layered {
    stem: Conv2d,
    norm: BatchNorm,
    conv: Conv2d,
    dropout: Dropout,
    head: Linear,
    head_norm: BatchNorm,
}

impl Network for Layered {
    fn forward(&self, images: Tensor<4>) -> Embedding {
        let x = self.conv.forward(self.norm.forward(self.stem.forward(images)));
        let features = self.dropout.forward(x.mean_dims(&[2, 3]).flatten::<2>(1, 3)); // [n, 6]
        Embedding::new(features.clone(), self.head_norm.forward(self.head.forward(features)))
    }
}

/// A network whose weights are the same at every call.
fn layered(dropout: f64) -> Layered {
    let device = Device::flex();
    let waves = |count: usize, start: usize| -> Vec<f32> {
        (start..start + count).map(|i| (i as f32 * 1.3).sin() * 0.4).collect()
    };
    let conv = |[inputs, outputs]: [usize; 2], start: usize| {
        let conv = Conv2dConfig::new([inputs, outputs], [2, 2]).with_bias(false).init(&device);
        let values = TensorData::new(waves(outputs * inputs * 4, start), [outputs, inputs, 2, 2]);
        Conv2d { weight: Param::from_data(values, &device), ..conv }
    };
    let head = LinearConfig::new(6, 8).with_bias(false).init(&device);
    let values = TensorData::new(waves(48, 9), [6, 8]);
    Layered {
        stem: conv([3, 5], 0),
        norm: BatchNormConfig::new(5).init(&device),
        conv: conv([5, 6], 3),
        dropout: DropoutConfig::new(dropout).init(),
        head: Linear { weight: Param::from_data(values, &device), ..head },
        head_norm: BatchNormConfig::new(8).init(&device),
    }
}

fn trainer<'a>(config: TrainConfig, network: &Layered) -> Trainer<'a, Layered> {
    Trainer::with_network(config, network, &Device::flex()).unwrap()
}

/// The values of a tensor as bits.
fn bits<const D: usize>(tensor: Tensor<D>) -> Vec<u32> {
    tensor.into_data().iter::<f32>().map(f32::to_bits).collect()
}

fn projections(network: &Layered) -> Vec<u32> {
    let images = Tensor::arange(0..3 * 192, &Device::flex()).float().sin().reshape([3, 3, 8, 8]);
    bits(network.valid().forward(images).projections)
}

#[test]
fn a_run_with_dropout_goes_on_to_the_same_bits() {
    let _held = generator();
    let images = corners(16, 0);
    let run = |config: &TrainConfig, network: &Layered, dir: &Path, stop: usize| {
        let observer = move |report: &StepReport| match report.step == stop {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let judge = |network: &Layered| {
            let sum: u32 = projections(network).iter().map(|bits| bits % 1000).sum();
            Ok(ValidationReport::new(f64::from(sum)))
        };
        trainer(config.clone(), network).run_dir(dir).observer(observer).validate(2, judge).fit(&images)
    };
    for config in [tiny_run(STEPS), tiny_run(STEPS).with_weight_average(Some(0.9))] {
        let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let expected = projections(&run(&config, &layered(0.5), whole.path(), 0).unwrap());
        let error = run(&config, &layered(0.5), stopped.path(), 3).unwrap_err();
        assert!(matches!(error, TrainError::Stopped { step: 3, .. }), "{error}");
        Device::flex().seed(77); // another process would have another state of the generator
        assert!(
            expected == projections(&run(&config, &layered(0.5), stopped.path(), 0).unwrap()),
            "{config}"
        );
        assert!(expected == projections(&load_network_into(stopped.path(), &layered(0.5)).unwrap().1));
        let validations = |dir: &Path| read_validations(dir).unwrap();
        assert_eq!(validations(whole.path()), validations(stopped.path()));

        let other = tempfile::tempdir().unwrap();
        assert!(expected != projections(&run(&config, &layered(0.0), other.path(), 0).unwrap()));
    }
}

#[test]
fn what_is_frozen_stays_to_the_bit_under_every_optimizer() {
    let _held = generator();
    let mut network = layered(0.0);
    network.stem = network.stem.freeze();
    network.norm.gamma = network.norm.gamma.set_require_grad(false);
    let normalizing = Optimizer::Muon {
        momentum: 0.6,
        newton_schulz_steps: 3,
        others: 0.8,
        normalize_filters: true,
        scale: MuonScale::Plain,
    };
    for optimizer in [Optimizer::Sgd, Optimizer::adam_w(), Optimizer::muon(), normalizing] {
        for average in [None, Some(0.9)] {
            let config = tiny_run(STEPS)
                .with_optimizer(optimizer)
                .with_weight_decay(0.1)
                .with_weight_average(average)
                .with_learning_rate(Some(0.05));
            let trained = trainer(config, &network).fit(&corners(16, 0)).unwrap();
            let same = |name: &str, [before, after]: [Vec<u32>; 2], expected: bool| {
                assert_eq!(before == after, expected, "{name}, {optimizer:?}, {average:?}");
            };
            let pairs = [&network, &trained];
            same("stem", pairs.map(|network| bits(network.stem.weight.val())), true);
            same("gamma", pairs.map(|network| bits(network.norm.gamma.val())), true);
            same("beta", pairs.map(|network| bits(network.norm.beta.val())), false);
            same("statistics", pairs.map(|network| bits(network.norm.running_mean.value())), false);
            same("conv", pairs.map(|network| bits(network.conv.weight.val())), false);
            same("head", pairs.map(|network| bits(network.head.weight.val())), false);
        }
    }
}

#[test]
fn starts_that_differ_in_what_is_frozen_are_told_apart() {
    let _held = generator();
    let dir = tempfile::tempdir().unwrap();
    let run = |network: &Layered| trainer(tiny_run(2), network).run_dir(dir.path()).fit(&corners(16, 0));
    let plain = layered(0.0);
    // The layer works as in evaluation; every parameter is still trained.
    let in_evaluation = plain.clone().freeze_group(ParamGroup::from_path("norm.training"));
    assert!(!in_evaluation.norm.training.is_enabled());
    run(&plain).unwrap();
    run(&plain).unwrap();
    match run(&in_evaluation) {
        Err(TrainError::OtherRun { setting, found, expected, .. }) => {
            assert_eq!(setting, "network.flags_off of the start");
            assert_eq!((found.as_str(), expected.as_str()), ("[]", r#"["norm.training"]"#));
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
    let frozen = plain.freeze_group(ParamGroup::from_path("stem.weight"));
    match run(&frozen) {
        Err(TrainError::OtherRun { setting, .. }) => assert_eq!(setting, "network.sha256 of the start"),
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[test]
fn the_start_that_an_earlier_version_stored_is_accepted() {
    let _held = generator();
    let dir = tempfile::tempdir().unwrap();
    let run = |config: TrainConfig| trainer(config, &layered(0.0)).run_dir(dir.path()).fit(&corners(16, 0));
    run(tiny_run(2)).unwrap();
    let path = dir.path().join("start.json");
    let mut start: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(start["network"]["kind"], "Layered");
    let network = start["network"].as_object_mut().unwrap();
    network.remove("flags_off").unwrap();
    network.insert("kind".into(), "an_application::networks::Layered".into());
    std::fs::write(&path, start.to_string()).unwrap();
    run(tiny_run(2)).unwrap();
    let text = start.to_string().replace("::Layered", "::Other");
    std::fs::write(&path, text).unwrap();
    let error = run(tiny_run(2)).unwrap_err();
    assert!(matches!(&error, TrainError::OtherRun { found, .. } if found == "\"Other\""), "{error}");
}
