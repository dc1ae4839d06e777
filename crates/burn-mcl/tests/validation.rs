//! Watching a run: validations are logged, the best network is kept, a run that no longer improves ends.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;

use crate::common::{bits, corners, tiny_run};
use burn::tensor::Device;
use burn_mcl::model::MclModel;
use burn_mcl::train::{
    KnnProbe, StepReport, TrainError, Trainer, ValidationReport, load_best_network, read_history,
    read_validations,
};

const STEPS: usize = 12;

/// A run judged after every second step by the values given, one after the other.
fn run(dir: &Path, values: &[f64], patience: usize, stop: usize) -> Result<MclModel, TrainError> {
    let asked = Cell::new(read_validations(dir).unwrap().len());
    let judge = |_: &MclModel| {
        asked.set(asked.get() + 1);
        Ok(ValidationReport::new(values[asked.get() - 1]).with_metric("asked", asked.get() as f64))
    };
    let observer = |report: &StepReport| match report.step == stop {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let trainer = Trainer::new(tiny_run(STEPS), &Device::flex())?.run_dir(dir).observer(observer);
    trainer.stop_early(patience).validate(2, judge).fit(&corners(16, 0))
}

#[test]
fn the_best_network_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &[0.1, 0.5, 0.4, 0.2, 0.5, 0.3], 9, 0).unwrap();
    let validations = read_validations(dir.path()).unwrap();
    assert_eq!(validations.iter().map(|found| found.step).collect::<Vec<_>>(), [2, 4, 6, 8, 10, 12]);
    assert_eq!(validations[2].metrics["asked"], 3.0);
    let (best, report) = load_best_network(dir.path(), &Device::flex()).unwrap();
    assert_eq!((report.step, report.value), (4, 0.5));

    let four = tempfile::tempdir().unwrap();
    let error = run(four.path(), &[0.1, 0.5], 9, 4).unwrap_err();
    assert!(matches!(error, TrainError::Stopped { step: 4, .. }), "{error}");
    let (_, at_four) = burn_mcl::train::load_network(four.path(), &Device::flex()).unwrap();
    assert!(bits(&best) == bits(&at_four));
}

#[test]
fn a_run_that_no_longer_improves_ends_and_stays_ended() {
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let values = [0.1, 0.5, 0.4, 0.5, 0.9];
    let ended = bits(&run(whole.path(), &values, 2, 0).unwrap());
    assert_eq!(read_history(whole.path()).unwrap().len(), 8);
    assert!(ended == bits(&run(whole.path(), &values, 2, 0).unwrap()), "started again, it has ended");
    assert_eq!(read_history(whole.path()).unwrap().len(), 8);

    run(stopped.path(), &values, 2, 5).unwrap_err();
    assert!(ended == bits(&run(stopped.path(), &values, 2, 0).unwrap()));
    let steps: Vec<_> = read_validations(stopped.path()).unwrap().iter().map(|found| found.step).collect();
    assert_eq!(steps, [2, 4, 6, 8]);
}

#[test]
fn the_best_network_of_a_run_that_begins_again_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &[0.1, 0.5], 9, 4).unwrap_err();
    std::fs::remove_dir_all(dir.path().join("checkpoints")).unwrap();
    let stopped_before_it_is_judged = Trainer::new(tiny_run(STEPS), &Device::flex())
        .unwrap()
        .run_dir(dir.path())
        .observer(|_| ControlFlow::Break(()))
        .fit(&corners(16, 0));
    assert!(matches!(stopped_before_it_is_judged, Err(TrainError::Stopped { step: 1, .. })));
    assert!(load_best_network(dir.path(), &Device::flex()).is_err(), "no network of this run was judged");
    assert!(dir.path().join("best.previous/model.bpk").exists());
    assert!(read_validations(dir.path()).unwrap().is_empty());
}

#[test]
fn a_failed_validation_ends_the_run_with_its_reason() {
    let judge = |_: &MclModel| Err(TrainError::validation("no such figure"));
    let trainer = Trainer::new(tiny_run(STEPS), &Device::flex()).unwrap().validate(2, judge);
    let error = trainer.fit(&corners(16, 0)).unwrap_err();
    assert_eq!(error.to_string(), "validation failed: no such figure");
}

#[test]
fn the_probe_finds_what_the_network_tells_apart() {
    let dir = tempfile::tempdir().unwrap();
    let probe = KnnProbe::new(corners(20, 1), corners(10, 2)).neighbours(5);
    let dark = corners(10, 3);
    let trainer = Trainer::new(tiny_run(STEPS), &Device::flex()).unwrap().run_dir(dir.path());
    trainer.validate(STEPS, probe.anomalous("corners", dark)).fit(&corners(16, 0)).unwrap();
    let found = &read_validations(dir.path()).unwrap()[0];
    assert!((0.0..=1.0).contains(&found.metrics["accuracy"]), "{found:?}");
    // The anomalous images are drawn as the normal ones are.
    assert!((0.2..0.8).contains(&found.metrics["AUROC corners"]), "{found:?}");
    assert_eq!(found.value, found.metrics["AUROC corners"]);
}

#[test]
fn the_settings_of_the_probe_are_checked_before_the_first_step() {
    let refused = |probe: KnnProbe| {
        let dir = tempfile::tempdir().unwrap();
        let never = |_: &StepReport| panic!("a step was done");
        let trainer = Trainer::new(tiny_run(STEPS), &Device::flex()).unwrap().run_dir(dir.path());
        let error = trainer.validate(1, probe).observer(never).fit(&corners(16, 0)).unwrap_err();
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing is written");
        match error {
            TrainError::Config { setting, value, .. } => (setting, value),
            other => panic!("{other}"),
        }
    };
    let probe = |reference: usize, validation: usize| {
        KnnProbe::new(corners(20, 1).take(reference), corners(20, 2).take(validation)).neighbours(5)
    };
    let few = ("neighbours of the probe", "5".to_string());
    assert_eq!(refused(probe(4, 10)), few);
    assert_eq!(refused(probe(20, 10).neighbours(0)).0, few.0);
    assert_eq!(refused(probe(20, 0)).0, "validation images of the probe");
    let (setting, value) = refused(probe(20, 10).anomalous("dark", corners(1, 3).take(0)));
    assert!(setting == "anomalous set of the probe" && value.contains("dark"), "{value}");
    let lefts = corners(20, 2).select_classes(&[0]).unwrap();
    assert!(refused(KnnProbe::new(corners(20, 1), lefts)).0.starts_with("classes"));
}
