//! The losses beside MCL: sums, two heads, outliers.

use std::ops::ControlFlow;
use std::path::Path;

use crate::common::{bits, corners, tiny_run};
use burn::tensor::Device;
use burn_mcl::Progress;
use burn_mcl::data::ImageSet;
use burn_mcl::data::augment::SimClrAugmentConfig;
use burn_mcl::data::batch::Rotations;
use burn_mcl::embed::embed_outputs;
use burn_mcl::infer::TestTimeViews;
use burn_mcl::loss::{MclLossConfig, NtXentLossConfig};
use burn_mcl::model::MclModel;
use burn_mcl::train::{
    ClassAndRotationConfig, CrossEntropyConfig, Objective, OutlierExposureConfig, StepReport, Term,
    TrainConfig, TrainError, Trainer, read_history, read_loss_parts,
};

const STEPS: usize = 12;

fn cross_entropy() -> Objective {
    Objective::CrossEntropy(CrossEntropyConfig::new())
}

/// A tiny run with a classifier.
fn config(objective: Objective, rotations: Rotations, logits: usize) -> TrainConfig {
    let mut config = tiny_run(STEPS).with_objective(objective).with_rotations(rotations);
    config.model.classifier = Some(logits);
    config.with_learning_rate(Some(0.05))
}

/// A longer run, whose views leave the corners where they are.
fn learning(objective: Objective, rotations: Rotations, logits: usize) -> TrainConfig {
    let augment = SimClrAugmentConfig::new().with_shift(Some(1)).with_flip(false).with_color_strength(0.0);
    let config = config(objective, rotations, logits).with_steps(Some(200)).with_checkpoint_every(100);
    config.with_augment(augment.with_gray_probability(0.0))
}

/// Images that are bright all over.
fn outliers() -> ImageSet {
    ImageSet::new(vec![220; 12 * 3 * 64], (8, 8), vec![0; 12], vec!["bright".into()]).unwrap()
}

fn fit(
    dir: &Path,
    config: &TrainConfig,
    outliers: Option<&ImageSet>,
    stop: usize,
) -> Result<MclModel, TrainError> {
    let observer = move |report: &StepReport| match report.step == stop {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let trainer = Trainer::new(config.clone(), &Device::flex())?.run_dir(dir).observer(observer);
    let trainer = match outliers {
        Some(outliers) => trainer.outliers(outliers),
        None => trainer,
    };
    trainer.fit(&corners(16, 0))
}

#[test]
fn a_sum_is_the_sum_of_its_weighted_terms() {
    let terms =
        vec![Term::new(0.5, Objective::NtXent(NtXentLossConfig::new())), Term::new(2.0, cross_entropy())];
    let dir = tempfile::tempdir().unwrap();
    fit(dir.path(), &config(Objective::Sum(terms), Rotations::Drawn, 8), None, 0).unwrap();
    let (steps, parts) = (read_history(dir.path()).unwrap(), read_loss_parts(dir.path()).unwrap());
    assert_eq!(steps.len(), STEPS);
    for (step, parts) in steps.iter().zip(&parts) {
        let expected = 0.5 * parts["nt_xent"] + 2.0 * parts["cross_entropy"];
        assert!((step.loss - expected).abs() < 1e-5 * expected, "{} for {expected}", step.loss);
    }

    // MCL and the cross-entropy have an objective of their own, which is the same as their sum.
    let (mcl, cross) = (MclLossConfig::new(), CrossEntropyConfig::new());
    let terms = vec![Term::new(1.0, Objective::Mcl(mcl.clone())), Term::new(3.0, cross_entropy())];
    let mixed = Objective::MclCrossEntropy { mcl, cross_entropy: cross, weight: 3.0 };
    let of = |objective| {
        let dir = tempfile::tempdir().unwrap();
        bits(&fit(dir.path(), &config(objective, Rotations::Drawn, 8), None, 0).unwrap())
    };
    assert!(of(Objective::Sum(terms)) == of(mixed));
}

#[test]
fn sums_that_mean_nothing_are_refused() {
    let weighted = |weight| Term::new(weight, cross_entropy());
    let sums = [
        vec![],
        vec![weighted(0.0)],
        vec![weighted(f64::NAN)],
        vec![weighted(1.0), weighted(1.0)],
        vec![Term::new(1.0, Objective::Sum(vec![weighted(1.0)]))],
    ];
    for terms in sums {
        let config = config(Objective::Sum(terms.clone()), Rotations::Drawn, 8);
        match Trainer::new(config, &Device::flex()) {
            Err(TrainError::Config { setting: "objective.Sum", .. }) => {}
            other => panic!("{terms:?}: {:?}", other.err()),
        }
    }
}

#[test]
fn settings_of_every_objective_survive_json() {
    let objectives = [
        Objective::ClassAndRotation(ClassAndRotationConfig::new().with_weight(2.0)),
        Objective::OutlierExposure(OutlierExposureConfig::new().with_weight(0.25)),
        Objective::Sum(vec![Term::new(2.0, cross_entropy())]),
    ];
    for objective in objectives {
        let config = tiny_run(1).with_objective(objective);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<TrainConfig>(&json).unwrap(), config);
    }
}

#[test]
fn two_heads_learn_the_class_and_the_rotation() {
    let objective = Objective::ClassAndRotation(ClassAndRotationConfig::new());
    let wrong = config(objective.clone(), Rotations::All, 8);
    match fit(tempfile::tempdir().unwrap().path(), &wrong, None, 0) {
        Err(TrainError::Classifier { needed: 6, given: 8 }) => {}
        other => panic!("{:?}", other.err()),
    }
    let dir = tempfile::tempdir().unwrap();
    let right = learning(objective, Rotations::All, 6);
    fit(dir.path(), &right, None, 0).unwrap();
    let parts = read_loss_parts(dir.path()).unwrap();
    let mean = |name: &str, steps: &[std::collections::BTreeMap<String, f32>]| {
        steps.iter().map(|parts| parts[name]).sum::<f32>() / steps.len() as f32
    };
    for name in ["class", "rotation"] {
        let (first, last) = (mean(name, &parts[..10]), mean(name, &parts[190..]));
        assert!(last < 0.8 * first, "{name}: {first} became {last}");
    }
}

/// The mean over images of the highest probability of an upright image.
fn confidence(model: &MclModel, images: &ImageSet) -> f32 {
    let logits = embed_outputs(model, images, TestTimeViews::Identity, 16, Progress::Hidden).unwrap().logits;
    let highest = |row: &[f32]| {
        let sum: f32 = row.iter().map(|x| x.exp()).sum();
        row.iter().map(|x| x.exp() / sum).fold(0.0, f32::max)
    };
    logits.chunks_exact(2).map(highest).sum::<f32>() / images.len() as f32
}

#[test]
fn a_network_exposed_to_outliers_is_unsure_of_them() {
    let objective = Objective::OutlierExposure(OutlierExposureConfig::new());
    let exposed = learning(objective, Rotations::None, 2);
    let dir = tempfile::tempdir().unwrap();
    let model = fit(dir.path(), &exposed, Some(&outliers()), 0).unwrap();
    let plain = learning(cross_entropy(), Rotations::None, 2);
    let unexposed = fit(tempfile::tempdir().unwrap().path(), &plain, None, 0).unwrap();
    let normal = corners(8, 1);
    assert!(confidence(&model, &normal) > 0.8, "{}", confidence(&model, &normal));
    assert!(confidence(&model, &outliers()) < 0.6, "{}", confidence(&model, &outliers()));
    assert!(confidence(&unexposed, &outliers()) > confidence(&model, &outliers()));
}

#[test]
fn outliers_belong_to_the_run_and_are_the_same_after_a_stop() {
    let objective = Objective::OutlierExposure(OutlierExposureConfig::new());
    let config = config(objective, Rotations::Drawn, 8);
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = bits(&fit(whole.path(), &config, Some(&outliers()), 0).unwrap());
    let error = fit(stopped.path(), &config, Some(&outliers()), 5).unwrap_err();
    assert!(matches!(error, TrainError::Stopped { step: 5, .. }), "{error}");
    match fit(stopped.path(), &config, Some(&outliers().take(10)), 0) {
        Err(TrainError::OtherRun { setting, .. }) => assert!(setting.contains("outliers"), "{setting}"),
        other => panic!("{:?}", other.err()),
    }
    assert!(expected == bits(&fit(stopped.path(), &config, Some(&outliers()), 0).unwrap()));
}

#[test]
fn missing_and_misshapen_outliers_are_refused() {
    let objective = Objective::OutlierExposure(OutlierExposureConfig::new());
    let config = config(objective, Rotations::None, 2);
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(fit(dir.path(), &config, None, 0), Err(TrainError::NoOutliers)));
    let small = ImageSet::new(vec![0; 12 * 3 * 4], (2, 2), vec![0; 12], vec!["small".into()]).unwrap();
    match fit(dir.path(), &config, Some(&small), 0) {
        Err(TrainError::OutlierSize { expected: (8, 8), found: (2, 2) }) => {}
        other => panic!("{:?}", other.err()),
    }
    assert!(matches!(fit(dir.path(), &config, Some(&outliers().take(3)), 0), Err(TrainError::Data(_))));
}
