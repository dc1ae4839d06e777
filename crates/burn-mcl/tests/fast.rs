//! The recipe for CPUs: its network, its loss and its scores, in the small.

use std::ops::ControlFlow;

use crate::common::{bits, corners};
use burn::tensor::Device;
use burn_mcl::Progress;
use burn_mcl::data::batch::Rotations;
use burn_mcl::data::shapes::{self, ShapesSplit};
use burn_mcl::detector::{Detector, DetectorConfig, DetectorError, Score};
use burn_mcl::evaluation::evaluate;
use burn_mcl::infer::{
    Aggregation, Confidence, InferError, MahalanobisConfig, Scorer, Shrinkage, SoftmaxScorer, TestTimeViews,
};
use burn_mcl::model::{FastNetConfig, MclModel, MclModelConfig};
use burn_mcl::report::Part;
use burn_mcl::train::{
    ClassifierProbe, CrossEntropyConfig, Objective, StepReport, TrainConfig, TrainError, Trainer, Validation,
    read_history, read_loss_parts,
};

fn config() -> TrainConfig {
    let model = MclModelConfig::new(FastNetConfig::new().with_widths([4, 6, 8]));
    TrainConfig::fast(10)
        .with_model(model.with_hidden(8).with_projection_dim(8).with_classifier(40))
        .with_rotations(Rotations::Drawn)
        .with_images_per_batch(8)
        .with_steps(Some(6))
        .with_warmup_steps(Some(1))
        .with_checkpoint_every(2)
}

fn train(config: &TrainConfig) -> MclModel {
    Trainer::new(config.clone(), &Device::flex())
        .unwrap()
        .fit(&shapes::generate(ShapesSplit::Train, 3, 0))
        .unwrap()
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    let expected = bits(&train(&config()));
    let dir = tempfile::tempdir().unwrap();
    let images = shapes::generate(ShapesSplit::Train, 3, 0);
    let run = |stop: usize| {
        let observer = move |report: &StepReport| {
            if report.step == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        Trainer::new(config(), &Device::flex()).unwrap().run_dir(dir.path()).observer(observer).fit(&images)
    };
    assert!(matches!(run(3), Err(TrainError::Stopped { step: 3, .. })));
    assert_eq!(bits(&run(0).unwrap()), expected);
    let parts = read_loss_parts(dir.path()).unwrap();
    assert!(parts.iter().all(|parts| parts["cross_entropy"] > 0.0), "{parts:?}");
}

#[test]
fn the_stem_is_whitened_by_the_training_images() {
    let (images, device) = (shapes::generate(ShapesSplit::Train, 3, 0), Device::flex());
    let trained = train(&config().with_steps(Some(2)).with_warmup_steps(Some(0)));
    let others = shapes::generate(ShapesSplit::FarOod, 6, 0);
    let named = |set: &burn_mcl::data::ImageSet| {
        let config = config().with_steps(Some(2)).with_warmup_steps(Some(0));
        let classes = set.class_names().len();
        let model = config.model.clone().with_classifier(4 * classes);
        Trainer::new(config.with_model(model), &device).unwrap().fit(set).unwrap()
    };
    let filters = |model: &MclModel| {
        let net = model.encoder().as_fast_net().unwrap();
        net.stem_filters().into_data().iter::<f32>().collect::<Vec<f32>>()
    };
    assert_eq!(filters(&trained), filters(&named(&images)));
    let plain = config().model.init_seeded(0, &device);
    assert_ne!(filters(&trained), filters(&plain));
    assert_ne!(filters(&trained), filters(&named(&others)));
    // Training does not change the filters.
    let longer = train(&config());
    assert_eq!(filters(&trained), filters(&longer));
}

#[test]
fn projections_that_no_loss_shapes_have_no_concentration() {
    let dir = tempfile::tempdir().unwrap();
    let found = |config: TrainConfig, run: &str| {
        let run = dir.path().join(run);
        let trainer = Trainer::new(config, &Device::flex()).unwrap().run_dir(&run);
        trainer.fit(&shapes::generate(ShapesSplit::Train, 3, 0)).unwrap();
        let steps = read_history(&run).unwrap();
        assert_eq!(steps.len(), 6);
        steps.iter().map(|step| step.concentration.is_nan()).collect::<Vec<_>>()
    };
    let alone = Objective::CrossEntropy(CrossEntropyConfig::new());
    assert_eq!(found(config().with_objective(alone), "alone"), [true; 6]);
    assert_eq!(found(config(), "beside"), [false; 6]);
}

#[test]
fn images_that_are_too_small_are_refused() {
    let model = config().model.with_classifier(8);
    let error =
        Trainer::new(config().with_model(model), &Device::flex()).unwrap().fit(&corners(8, 0)).unwrap_err();
    assert!(matches!(error, TrainError::Config { setting: "model.encoder", .. }), "{error}");
}

#[test]
fn a_detector_scores_by_the_classifier() {
    let config = config();
    let (model, train) = (train(&config), shapes::generate(ShapesSplit::Train, 3, 0));
    let held_out = shapes::generate(ShapesSplit::Test, 2, 0);
    let gaussians = MahalanobisConfig::new().with_shrinkage(Shrinkage::Oas);
    let settings = DetectorConfig::new().with_gaussians(gaussians).with_tpr(0.9).with_score(Score::Softmax);
    let fit = |settings: DetectorConfig, model_config: MclModelConfig, model: &MclModel| {
        Detector::fit(model, model_config, &train, &held_out, settings, Progress::Hidden)
    };
    let error = fit(settings.clone(), config.model.clone(), &model).unwrap_err();
    assert!(matches!(error, DetectorError::Config { setting: "aggregation", .. }), "{error}");

    let settings = settings.with_aggregation(Aggregation::Mean);
    let mut labels = Vec::new();
    for (score, range) in [(Score::Softmax, 0.1..=1.0), (Score::Entropy, -10_f64.ln()..=0.0)] {
        let settings = settings.clone().with_score(score);
        let detector = fit(settings.clone(), config.model.clone(), &model).unwrap();
        let found = detector.detect_set(&held_out).unwrap();
        assert!(found.iter().all(|found| range.contains(&found.score)), "{found:?}");
        let dir = tempfile::tempdir().unwrap();
        detector.save(dir.path().join("detector")).unwrap();
        let loaded = Detector::load(dir.path().join("detector"), &Device::flex()).unwrap();
        assert_eq!(loaded.config(), &settings);
        assert_eq!(loaded.detect_set(&held_out).unwrap(), found);
        let part = Part::of(&loaded, "held out", &held_out).unwrap();
        assert_eq!(part.scores(), found.iter().map(|found| found.score).collect::<Vec<_>>());
        labels.push(found.iter().map(|found| found.label).collect::<Vec<_>>());
    }
    assert_eq!(labels[0], labels[1]);

    let without = config.model.with_classifier(None);
    let plain = without.init_seeded(0, &Device::flex());
    let error = fit(settings, without, &plain).unwrap_err();
    assert!(matches!(error, DetectorError::Infer(InferError::NoLogits)), "{error}");
}

#[test]
fn the_probe_finds_what_an_evaluation_finds() {
    let model = train(&config());
    let (test, other) =
        (shapes::generate(ShapesSplit::Test, 3, 0), shapes::generate(ShapesSplit::NearOod, 4, 0));
    let entropy = SoftmaxScorer::new(10, 4).with_confidence(Confidence::NegativeEntropy);
    let scorers: [&dyn Scorer; 2] = [&entropy, &SoftmaxScorer::new(10, 4)];
    let [expected, highest] = scorers.map(|scorer| {
        let names = test.class_names();
        evaluate(&model, scorer, names, &test, &[("other", &other)], 8, Progress::Hidden).unwrap()
    });
    for views in [TestTimeViews::Identity, TestTimeViews::Rotations] {
        let mut probe = ClassifierProbe::new(test.clone()).anomalous("other", other.clone()).views(views);
        let found = probe.validate(&model).unwrap();
        let row = expected.row(views, Aggregation::Mean).unwrap();
        assert_eq!(found.metrics["accuracy"], row.accuracy.unwrap());
        assert_eq!(found.metrics["AUROC other"], row.ood[0].metrics.auroc);
        assert_eq!(found.value, row.ood[0].metrics.auroc);
    }
    assert_ne!(expected, highest, "the entropy is another score than the highest probability");
    let plain = config().model.with_classifier(None).init_seeded(0, &Device::flex());
    let error = ClassifierProbe::new(test.clone()).validate(&plain).unwrap_err();
    assert!(error.to_string().contains("logits"), "{error}");
    let none = ClassifierProbe::new(test).anomalous("none", other.take(0));
    let error = Validation::<MclModel>::check(&none).unwrap_err();
    assert!(matches!(error, TrainError::Config { setting: "anomalous set of the probe", .. }), "{error}");
}
