//! What a program that embeds the library learns through `tracing`.

use std::fmt::{Debug, Write};
use std::fs;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use crate::common::{corners, tiny_run};
use burn::tensor::Device;
use burn_mcl::Progress;
use burn_mcl::detector::{Detector, DetectorConfig};
use burn_mcl::evaluation::evaluate;
use burn_mcl::infer::MahalanobisConfig;
use burn_mcl::train::{StepReport, Trainer};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps the events of this library as lines: `INFO message field=value`.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => write!(self.0, " {value:?}").unwrap(),
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("burn_mcl")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The events above the level of single steps.
fn events(work: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), work);
    let lines = lines.0.lock().unwrap();
    lines.iter().filter(|line| !line.starts_with(Level::DEBUG.as_str())).cloned().collect()
}

fn assert_told(events: &[String], expected: &[&[&str]]) {
    assert_eq!(events.len(), expected.len(), "{events:#?}");
    for (event, parts) in events.iter().zip(expected) {
        assert!(parts.iter().all(|part| event.contains(part)), "{event:?} without some of {parts:?}");
    }
}

#[test]
fn a_run_tells_of_its_start_its_checkpoints_its_end_and_of_a_fallback() {
    let dir = tempfile::tempdir().unwrap();
    let trainer = || Trainer::new(tiny_run(4), &Device::flex()).unwrap().run_dir(dir.path());
    let stopped = events(|| {
        let stop = |report: &StepReport| match report.step {
            3 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        trainer().observer(stop).fit(&corners(16, 0)).unwrap_err();
    });
    assert_told(
        &stopped,
        &[
            &["INFO training", "images=32", "step=0", "total_steps=4"],
            &["INFO checkpoint saved", "step=2", "00000002"],
            &["INFO checkpoint saved", "step=3", "00000003"],
            &["INFO stopped", "step=3"],
        ],
    );
    fs::write(dir.path().join("checkpoints/00000003/model.bpk"), "").unwrap();
    let resumed = events(|| drop(trainer().fit(&corners(16, 0)).unwrap()));
    assert_told(
        &resumed,
        &[
            &["WARN checkpoint 3 is damaged", "00000003.damaged", "goes on from step 2"],
            &["INFO going on from a checkpoint", "step=2"],
            &["INFO training", "step=2"],
            &["INFO checkpoint saved", "step=4"],
            &["INFO trained", "step=4"],
            &["WARN", "hardly learned", "concentration 0."],
        ],
    );
    let finished = events(|| drop(trainer().fit(&corners(16, 0)).unwrap()));
    assert_told(
        &finished,
        &[
            &["INFO going on from a checkpoint", "step=4"],
            &["INFO training", "step=4"],
            &["INFO trained", "step=4"],
        ],
    );
}

#[test]
fn a_detector_tells_of_its_fit_its_files_and_its_evaluation() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny_run(1).model.try_init_seeded(1, &Device::flex()).unwrap();
    let told = events(|| {
        let config = DetectorConfig::new().with_gaussians(MahalanobisConfig::new().with_ridge(1e-4));
        let (train, test) = (corners(40, 0), corners(20, 1));
        let detector =
            Detector::fit(&model, tiny_run(1).model, &train, &test, config, Progress::Hidden).unwrap();
        detector.save(dir.path().join("detector")).unwrap();
        fs::rename(dir.path().join("detector"), dir.path().join(".detector.previous")).unwrap();
        Detector::load(dir.path().join("detector"), &Device::flex()).unwrap();
        let names = detector.class_names();
        evaluate(&model, detector.scorer(), names, &test, &[("itself", &test)], 16, Progress::Hidden)
            .unwrap();
    });
    assert_told(
        &told,
        &[
            &["INFO fitting a detector", "images=80", "calibration=40"],
            &["INFO detector fitted", "threshold=-", "tpr=0.95"],
            &["INFO detector saved", "path="],
            &["WARN saving was cut short"],
            &["INFO detector loaded"],
            &["INFO evaluating", "test=40", "sets=1"],
        ],
    );
}

#[test]
fn a_collapse_is_told_while_it_happens() {
    let told = events(|| {
        // So short a step that the projections stay where a fresh network puts them: together.
        let config = tiny_run(40).with_learning_rate(Some(1e-9)).with_warmup_steps(Some(0));
        Trainer::new(config, &Device::flex()).unwrap().fit(&corners(16, 0)).unwrap();
    });
    let collapsed: Vec<_> = told.iter().filter(|line| line.contains("training has collapsed")).collect();
    assert_eq!(collapsed.len(), 1, "once, not at every step: {told:#?}");
    assert!(collapsed[0].starts_with("WARN") && collapsed[0].contains("after 25 steps"), "{collapsed:?}");
}
