//! The systems of the paper's tables: each trains in its stages, scores, and shares what it can with the others.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use crate::common::{bits, corners, tiny_run};
use burn::tensor::Device;
use burn_mcl::Progress;
use burn_mcl::data::ImageSet;
use burn_mcl::data::batch::Rotations;
use burn_mcl::embed::embed_outputs;
use burn_mcl::infer::metrics::accuracy;
use burn_mcl::infer::{Aggregation, TestTimeViews};
use burn_mcl::model::MclModel;
use burn_mcl::scored::ScoredSet;
use burn_mcl::systems::{Scoring, System, SystemTraining, fit_scorings};
use burn_mcl::train::{TrainError, load_network};

fn training(steps: usize) -> SystemTraining {
    SystemTraining {
        base: tiny_run(steps).with_learning_rate(Some(0.05)).with_warmup_steps(Some(1)),
        rotations: Rotations::Drawn,
    }
}

fn outliers() -> ImageSet {
    ImageSet::new(vec![220; 12 * 3 * 64], (8, 8), vec![0; 12], vec!["bright".into()]).unwrap()
}

fn fit(training: &SystemTraining, system: System, runs: &Path) -> Result<MclModel, TrainError> {
    let go_on = |_: &_| ControlFlow::Continue(());
    let device = Device::flex();
    training.fit(system, &corners(16, 0), Some(&outliers()), runs, &device, Progress::Hidden, go_on)
}

#[test]
fn every_system_trains_and_scores() {
    let (training, runs) = (training(6), tempfile::tempdir().unwrap());
    let (train, test) = (corners(16, 0), corners(6, 1));
    for &system in System::ALL {
        let model = fit(&training, system, runs.path()).unwrap();
        let stages = training.stages(system, train.len(), 2);
        let rotated = stages[0].config.rotations.aux_classes() > 1;
        let scoring = system.scoring();
        let scorers = fit_scorings(&model, &train, &[scoring], rotated, 16, Progress::Hidden).unwrap();
        let scored = ScoredSet::new(&model, &scorers[0], &test, scoring.views, 16, Progress::Hidden).unwrap();
        let (predicted, scores) = scored.judge(scoring.views, scoring.aggregation);
        assert!(scores.iter().all(|score| score.is_finite()), "{}: {scores:?}", system.name());
        assert!(accuracy(&predicted, test.labels()).is_ok(), "{}", system.name());
    }
}

#[test]
fn stages_have_the_networks_and_lengths_that_follow_each_other() {
    let training = training(20);
    let mut first_stages = BTreeMap::new();
    for &system in System::ALL {
        let stages = training.stages(system, 32, 2);
        for stage in &stages {
            stage.config.validate().unwrap();
            // A later stage starts from the weights of the first.
            assert_eq!(stage.config.model, stages[0].config.model, "{}", system.name());
            // Runs of one name are one run.
            let same = first_stages.entry(stage.name.clone()).or_insert_with(|| stage.clone());
            assert_eq!(same, stage, "{}", system.name());
        }
        assert_eq!(stages[0].config.total_steps(32), 20);
        if let [first, second] = &stages[..] {
            assert_eq!(second.config.total_steps(32), 7);
            let (first, second_rate) =
                (first.config.peak_learning_rate(), second.config.peak_learning_rate());
            let expected = if second.frozen { first } else { 0.3 * first };
            assert!((second_rate - expected).abs() < 1e-12, "{}", system.name());
        }
        assert_eq!(stages[0].outliers, system.needs_outliers());
    }
}

/// The encoder's features of some images.
fn features(model: &MclModel) -> Vec<f32> {
    embed_outputs(model, &corners(4, 3), TestTimeViews::Identity, 8, Progress::Hidden).unwrap().features
}

#[test]
fn a_linear_head_leaves_the_encoder_alone_and_fine_tuning_does_not() {
    let (training, runs) = (training(10), tempfile::tempdir().unwrap());
    let first = |name: &str| load_network(runs.path().join(name), &Device::flex()).unwrap().1;
    for (system, name, same) in [
        (System::SupConLinear, "sup-con", true),
        (System::Csi, "sup-con-rotations", true),
        (System::SimClrFineTuned, "nt-xent", false),
        (System::MclFineTuned, "mcl", false),
    ] {
        let model = fit(&training, system, runs.path()).unwrap();
        let before = first(name);
        assert_eq!(features(&model) == features(&before), same, "{}", system.name());
        assert!(bits(&model) != bits(&before), "{}", system.name());
    }
    // A shared first stage is not trained again.
    let before = bits(&first("mcl"));
    assert!(before == bits(&fit(&training, System::Mcl, runs.path()).unwrap()));
}

#[test]
fn a_stopped_system_goes_on_in_its_stage() {
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let training = training(10);
    let expected = bits(&fit(&training, System::MclFineTuned, whole.path()).unwrap());
    let mut steps = 0;
    let stop_in_the_second = |_: &_| {
        steps += 1;
        if steps == 11 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let error = training
        .fit(
            System::MclFineTuned,
            &corners(16, 0),
            None,
            stopped.path(),
            &Device::flex(),
            Progress::Hidden,
            stop_in_the_second,
        )
        .unwrap_err();
    assert!(matches!(error, TrainError::Stopped { step: 1, .. }), "{error}");
    assert!(expected == bits(&fit(&training, System::MclFineTuned, stopped.path()).unwrap()));
}

#[test]
fn outlier_exposure_asks_for_outliers() {
    let runs = tempfile::tempdir().unwrap();
    let go_on = |_: &_| ControlFlow::Continue(());
    let found = training(2).fit(
        System::OutlierExposure,
        &corners(16, 0),
        None,
        runs.path(),
        &Device::flex(),
        Progress::Hidden,
        go_on,
    );
    assert!(matches!(found, Err(TrainError::NoOutliers)));
}

#[test]
fn rotated_views_of_an_upright_network_are_scored_by_its_one_gaussian() {
    let (training, runs) = (training(6), tempfile::tempdir().unwrap());
    let model = fit(&training, System::MclUpright, runs.path()).unwrap();
    let views = TestTimeViews::Rotations;
    let ensemble = Scoring::gaussians().with_views(views, Aggregation::Mean);
    let scorings = [Scoring::gaussians(), ensemble];
    let scorers = fit_scorings(&model, &corners(16, 0), &scorings, false, 16, Progress::Hidden).unwrap();
    let scorers: Vec<_> = scorers.iter().map(AsRef::as_ref).collect();
    let test = corners(6, 1);
    let [single, four] =
        ScoredSet::each(&model, &scorers, &test, views, 16, Progress::Hidden).unwrap().try_into().unwrap();
    let upright = |scored: &ScoredSet| scored.judge(TestTimeViews::Identity, Aggregation::Mean);
    assert_eq!(upright(&single), upright(&four), "the first view is the image as it is");
    assert_ne!(upright(&single).1, four.judge(views, Aggregation::Mean).1);
}
