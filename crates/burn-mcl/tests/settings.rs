//! Every optimizer, schedule and start: trained, stopped, resumed to the same bits.

use std::ops::ControlFlow;
use std::path::Path;

use crate::common::{bits, corners, tiny_run};
use burn::module::Module;
use burn::tensor::Device;
use burn_mcl::Progress;
use burn_mcl::data::batch::Rotations;
use burn_mcl::detector::{Detector, DetectorConfig, DetectorError, Score};
use burn_mcl::evaluation::evaluate;
use burn_mcl::infer::{Aggregation, MahalanobisConfig, TestTimeViews};
use burn_mcl::loss::{Attraction, MclLossConfig};
use burn_mcl::model::MclModel;
use burn_mcl::train::{
    CrossEntropyConfig, Decay, Objective, Optimizer, StepReport, TrainConfig, TrainError, Trainer,
    load_network,
};

const STEPS: usize = 7;

type Change = fn(Trainer<'static>) -> Trainer<'static>;

fn run(
    dir: &Path,
    config: &TrainConfig,
    change: Change,
    stop: Option<usize>,
) -> Result<MclModel, TrainError> {
    let observer = move |report: &StepReport| match stop {
        Some(step) if report.step == step => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    change(Trainer::new(config.clone(), &Device::flex())?.run_dir(dir).observer(observer))
        .fit(&corners(16, 0))
}

/// The bits of the network that `config` ends with, after checking that a stopped run ends with the same.
fn resumed(config: &TrainConfig, change: Change) -> Vec<u8> {
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = bits(&run(whole.path(), config, change, None).unwrap());
    for stop in [3, 5] {
        let error = run(stopped.path(), config, change, Some(stop)).unwrap_err();
        assert!(matches!(error, TrainError::Stopped { .. }), "{error}");
    }
    let found = bits(&run(stopped.path(), config, change, None).unwrap());
    assert!(expected == found, "the resumed run ended with other weights: {config}");
    assert!(
        expected == bits(&run(stopped.path(), config, change, None).unwrap()),
        "a finished run changes nothing"
    );
    assert!(expected == bits(&load_network(stopped.path(), &Device::flex()).unwrap().1), "what is read back");
    found
}

#[test]
fn every_setting_resumes_and_makes_a_difference() {
    let plain = tiny_run(STEPS).with_learning_rate(Some(0.05));
    let cases = [
        plain.clone(),
        plain.clone().with_optimizer(Optimizer::adam_w()),
        plain.clone().with_optimizer(Optimizer::muon()),
        plain.clone().with_decay(Decay::Linear),
        plain.clone().with_gradient_clip(Some(0.01)),
        plain.clone().with_weight_average(Some(0.9)),
        plain.clone().with_rotations(Rotations::Drawn),
        plain.clone().with_rotations(Rotations::None),
        plain
            .clone()
            .with_objective(Objective::Mcl(MclLossConfig::new().with_attraction(Attraction::Sampled))),
    ];
    let found: Vec<_> = cases.iter().map(|config| resumed(config, |trainer| trainer)).collect();
    for (index, bits) in found.iter().enumerate() {
        assert!(!found[..index].contains(bits), "setting {index} changes nothing");
    }
}

/// A network that the settings did not draw.
fn other_weights() -> MclModel {
    tiny_run(STEPS).model.init_seeded(99, &Device::flex())
}

#[test]
fn given_weights_are_fine_tuned_and_belong_to_the_run() {
    let config = tiny_run(STEPS);
    let plain = resumed(&config, |trainer| trainer);
    assert!(plain != resumed(&config, |trainer| trainer.start_from(&other_weights()).unwrap()));

    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &config, |trainer| trainer.start_from(&other_weights()).unwrap(), Some(2)).unwrap_err();
    let error = run(dir.path(), &config, |trainer| trainer, None).unwrap_err();
    assert!(matches!(&error, TrainError::OtherRun { setting, .. } if setting.contains("network")), "{error}");
}

#[test]
fn a_frozen_encoder_stays_as_it_is() {
    let frozen: Change = |trainer| trainer.start_from(&other_weights().freeze_encoder()).unwrap();
    let images = || burn::tensor::Tensor::<1, burn::tensor::Int>::arange(0..192, &Device::flex());
    let features = |model: &MclModel| {
        model.valid().encoder().forward(images().float().sin().reshape([1, 3, 8, 8])).into_data()
    };
    let projections = |model: &MclModel| {
        model.valid().forward(images().float().sin().reshape([1, 3, 8, 8])).projections.into_data()
    };
    for config in [tiny_run(STEPS), tiny_run(STEPS).with_weight_average(Some(0.9))] {
        resumed(&config, frozen);
        let dir = tempfile::tempdir().unwrap();
        let trained = run(dir.path(), &config, frozen, None).unwrap();
        assert_eq!(features(&trained), features(&other_weights()), "{config}");
        assert_ne!(projections(&trained), projections(&other_weights()), "{config}");
    }
}

#[test]
fn a_network_of_another_shape_is_refused() {
    let other = tiny_run(STEPS).model.with_hidden(9).init_seeded(0, &Device::flex());
    let error = Trainer::new(tiny_run(STEPS), &Device::flex()).unwrap().start_from(&other).err().unwrap();
    match &error {
        TrainError::OtherNetwork { difference } => assert!(difference.contains("linear1"), "{error}"),
        _ => panic!("{error}"),
    }
}

#[test]
fn a_detector_of_upright_images_has_one_gaussian_a_class() {
    let dir = tempfile::tempdir().unwrap();
    let config = tiny_run(STEPS).with_rotations(Rotations::None);
    let network = Trainer::new(config.clone(), &Device::flex()).unwrap().fit(&corners(16, 0)).unwrap();
    let gaussians = MahalanobisConfig::new().with_ridge(1e-2);
    let settings = DetectorConfig::upright().with_gaussians(gaussians).with_tpr(0.9);
    let fit = |settings| {
        Detector::fit(
            &network,
            config.model.clone(),
            &corners(40, 0),
            &corners(20, 1),
            settings,
            Progress::Hidden,
        )
    };
    let detector = fit(settings.clone()).unwrap();
    assert_eq!(detector.scorer().aux_classes(), 1);
    detector.save(dir.path().join("detector")).unwrap();
    let loaded = Detector::load(dir.path().join("detector"), &Device::flex()).unwrap();
    let scores = |detector: &Detector| -> Vec<f64> {
        detector.detect_set(&corners(5, 2)).unwrap().iter().map(|found| found.score).collect()
    };
    assert_eq!(scores(&loaded), scores(&detector));

    let (test, names) = (corners(10, 3), corners(1, 0).class_names().to_vec());
    let table = evaluate(&network, detector.scorer(), &names, &test, &[], 64, Progress::Hidden).unwrap();
    assert_eq!(table.rows.iter().map(|row| row.views).collect::<Vec<_>>(), [TestTimeViews::Identity]);

    let more = fit(settings.clone().with_views(TestTimeViews::FlipsAndShifts)).unwrap();
    let scored = more.detect_set(&corners(5, 2)).unwrap();
    assert_ne!(scored.iter().map(|found| found.score).collect::<Vec<_>>(), scores(&detector));

    let error = fit(settings.with_views(TestTimeViews::Rotations)).unwrap_err();
    assert!(matches!(error, DetectorError::Config { setting: "views", .. }), "{error}");
}

#[test]
fn an_objective_with_a_classifier_asks_for_one() {
    let mixed = Objective::MclCrossEntropy {
        mcl: MclLossConfig::new(),
        cross_entropy: CrossEntropyConfig::new(),
        weight: 1.0,
    };
    for (objective, rotations, needed) in [
        (mixed.clone(), Rotations::Drawn, 8),
        (Objective::CrossEntropy(CrossEntropyConfig::new()), Rotations::None, 2),
    ] {
        let config = tiny_run(2).with_objective(objective).with_rotations(rotations);
        match Trainer::new(config, &Device::flex()).unwrap().fit(&corners(8, 0)) {
            Err(TrainError::Classifier { needed: found, given: 0 }) => assert_eq!(found, needed),
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
    let Objective::MclCrossEntropy { mcl, cross_entropy, .. } = mixed else { unreachable!() };
    for weight in [0.0, f64::NAN] {
        let objective = Objective::MclCrossEntropy { mcl: mcl.clone(), cross_entropy, weight };
        let error = Trainer::new(tiny_run(2).with_objective(objective), &Device::flex()).err().unwrap();
        assert!(error.to_string().contains("objective.weight"), "{error}");
    }
}

#[test]
fn a_detector_suits_its_training() {
    let views = |config: &TrainConfig| DetectorConfig::suited_to(config).views;
    let paper = TrainConfig::new();
    assert_eq!(DetectorConfig::suited_to(&paper), DetectorConfig::new());

    let fast = TrainConfig::fast(10);
    let suited = DetectorConfig::suited_to(&fast);
    suited.validate().unwrap();
    assert_eq!((suited.rotations, suited.views), (Rotations::None, TestTimeViews::FlipsAndShifts));
    assert_eq!((suited.score, suited.aggregation), (Score::Entropy, Aggregation::Mean));
    let augment = |flip, shift| fast.augment.clone().with_flip(flip).with_shift(shift);
    assert_eq!(views(&fast.clone().with_augment(augment(true, Some(0)))), TestTimeViews::Flips);
    assert_eq!(views(&fast.clone().with_augment(augment(true, None))), TestTimeViews::FlipsAndShifts);
    assert_eq!(views(&fast.clone().with_augment(augment(false, Some(4)))), TestTimeViews::Identity);
}
