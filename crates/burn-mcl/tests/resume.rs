//! A run that is stopped, or killed, and started again ends with the same bits as one that never was.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::common::{bits, corners, tiny_run};
use burn::tensor::Device;
use burn_mcl::model::MclModel;
use burn_mcl::train::{StepReport, TrainConfig, TrainError, Trainer};

const STEPS: usize = 9;
const CHILD_RUN: &str = "MCL_TEST_CHILD_RUN";

fn run(dir: &Path, config: TrainConfig) -> Result<MclModel, TrainError> {
    Trainer::new(config, &Device::flex())?.run_dir(dir).fit(&corners(16, 0))
}

fn steps_logged(dir: &Path) -> Vec<usize> {
    let log = fs::read_to_string(dir.join("train.jsonl")).unwrap();
    log.lines().map(|line| serde_json::from_str::<StepReport>(line).unwrap().step).collect()
}

#[test]
fn stopped_and_resumed_is_bit_identical() {
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = bits(&run(whole.path(), tiny_run(STEPS)).unwrap());

    let first = Trainer::new(tiny_run(STEPS), &Device::flex())
        .unwrap()
        .run_dir(stopped.path())
        .observer(|report| if report.step == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        .fit(&corners(16, 0));
    match first {
        Err(TrainError::Stopped { step: 5, checkpoint: Some(path) }) => assert!(path.ends_with("00000005")),
        other => panic!("{other:?}"),
    }
    let resumed = bits(&run(stopped.path(), tiny_run(STEPS)).unwrap());

    assert!(expected == resumed, "the resumed run ended with other weights");
    assert_eq!(steps_logged(stopped.path()), (1..=STEPS).collect::<Vec<_>>());
}

/// Not a test of its own: the process that the next test kills. It sleeps after each step so that there is time to.
#[test]
fn child_run() {
    let Ok(dir) = env::var(CHILD_RUN) else { return };
    let trainer = Trainer::new(tiny_run(STEPS), &Device::flex()).unwrap();
    let slow = |_: &StepReport| {
        thread::sleep(Duration::from_millis(300));
        ControlFlow::Continue(())
    };
    trainer.run_dir(dir).observer(slow).fit(&corners(16, 0)).unwrap();
}

#[test]
fn killed_and_resumed_is_bit_identical() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = bits(&run(whole.path(), tiny_run(STEPS)).unwrap());

    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "resume::child_run"])
        .env(CHILD_RUN, killed.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let checkpoint = killed.path().join("checkpoints").join("00000004");
    let started = Instant::now();
    while !checkpoint.exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "the child wrote no checkpoint");
        assert!(child.try_wait().unwrap().is_none(), "the child ended before it was killed");
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(400)); // into the steps after the checkpoint
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(steps_logged(killed.path()).last().unwrap() < &STEPS, "the child was killed too late");

    let resumed = bits(&run(killed.path(), tiny_run(STEPS)).unwrap());
    assert!(expected == resumed, "the resumed run ended with other weights");
    assert_eq!(steps_logged(killed.path()), (1..=STEPS).collect::<Vec<_>>());
}

#[test]
fn the_seed_decides_the_run() {
    let train = |seed| {
        let trainer = Trainer::new(tiny_run(2).with_seed(seed), &Device::flex()).unwrap();
        bits(&trainer.fit(&corners(16, 0)).unwrap())
    };
    assert!(train(1) == train(1));
    assert!(train(1) != train(2));
}
