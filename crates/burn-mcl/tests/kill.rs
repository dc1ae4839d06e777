//! kill -9 at any moment of a write, and signals that ask to end: nothing that was whole is lost.
//!
//! Where a kill falls depends on the machine: how many fell into a write is printed, and nothing is asked of
//! it. What a kill can leave behind in each moment of a save is made by hand in saved.rs and checkpoints.rs.
#![cfg(unix)]

use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::common::{bits, corners, example, tiny_run};
use burn::tensor::Device;
use burn_mcl::detector::Detector;
use burn_mcl::train::{StepReport, Trainer};

const CHILD: &str = "MCL_TEST_KILLED_CHILD";
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/artifact-v1/detector");

/// One of the functions below in a process of its own.
fn spawn(test: &str, path: &Path) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test]).env(CHILD, path).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn wait_until(what: &str, child: &mut Child, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        assert!(child.try_wait().unwrap().is_none(), "{what}: the child ended before");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Not a test of its own: saves one detector after the other at the same place, until it is killed.
#[test]
fn saving_child() {
    let Ok(path) = env::var(CHILD) else { return };
    let load = || Detector::load(KEPT, &Device::flex()).unwrap();
    let detectors = [load(), load().with_tpr(0.5).unwrap()];
    for detector in detectors.iter().cycle() {
        detector.save(&path).unwrap();
    }
}

#[test]
fn a_detector_survives_kills_while_it_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("detector");
    let set = corners(2, 2);
    let scores = |detector: &Detector| {
        detector.detect_set(&set).unwrap().iter().map(|found| found.score).collect::<Vec<_>>()
    };
    let kept = Detector::load(KEPT, &Device::flex()).unwrap();
    kept.save(&path).unwrap();
    let expected = scores(&kept);
    let mut interrupted = 0;
    for kill in 0..40 {
        let mut child = spawn("kill::saving_child", &path);
        let manifest = path.join("manifest.json");
        let before = fs::metadata(&manifest).and_then(|file| file.modified()).ok();
        let changed = || fs::metadata(&manifest).and_then(|file| file.modified()).ok() != before;
        wait_until("the first save", &mut child, changed);
        thread::sleep(Duration::from_micros(700 * kill)); // further into a save each time
        child.kill().unwrap();
        child.wait().unwrap();
        let left = |suffix: &str| dir.path().join(format!(".detector.{suffix}")).exists();
        interrupted += usize::from(left("partial") || left("previous"));
        let found =
            Detector::load(&path, &Device::flex()).unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        assert_eq!(scores(&found), expected, "kill {kill}");
    }
    println!("{interrupted} of 40 kills fell into a save");
}

const STEPS: usize = 120;
/// A child waits in its fifth step to be killed, so that 25 kills come before the end of the run on any
/// machine.
const LAST_STEP_OF_A_CHILD: usize = 5;
const KILLS: u64 = 25;

/// Not a test of its own: trains, with a checkpoint after each step.
#[test]
fn training_child() {
    let Ok(path) = env::var(CHILD) else { return };
    let config = tiny_run(STEPS).with_checkpoint_every(1);
    let mut done = 0;
    let wait = |_: &StepReport| {
        done += 1;
        if done == LAST_STEP_OF_A_CHILD {
            loop {
                thread::park();
            }
        }
        ControlFlow::Continue(())
    };
    Trainer::new(config, &Device::flex()).unwrap().run_dir(path).observer(wait).fit(&corners(16, 0)).unwrap();
}

#[test]
fn a_run_survives_kills_while_it_writes_checkpoints() {
    let whole = Trainer::new(tiny_run(STEPS), &Device::flex()).unwrap().fit(&corners(16, 0)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("train.jsonl");
    let steps = || fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    let mut interrupted = 0;
    for kill in 0..KILLS {
        // Counted before the child begins: on a busy machine the child may do all of its steps before the count.
        let before = steps();
        let mut child = spawn("kill::training_child", dir.path());
        let started = Instant::now();
        // One or two steps further, then somewhere in a step or a checkpoint.
        while steps() <= before {
            assert!(started.elapsed() < Duration::from_secs(60), "no step within a minute");
            thread::sleep(Duration::from_micros(300));
        }
        thread::sleep(Duration::from_micros(900 * kill));
        child.kill().unwrap();
        child.wait().unwrap();
        let names = fs::read_dir(dir.path().join("checkpoints")).unwrap();
        let partial = |name: &str| name.ends_with(".partial");
        interrupted +=
            names.filter(|name| partial(name.as_ref().unwrap().file_name().to_str().unwrap())).count();
    }
    println!("{interrupted} of {KILLS} kills fell into a checkpoint");

    let config = tiny_run(STEPS).with_checkpoint_every(1);
    let last =
        Trainer::new(config, &Device::flex()).unwrap().run_dir(dir.path()).fit(&corners(16, 0)).unwrap();
    assert!(bits(&last) == bits(&whole), "the run ended with other weights than one that was never killed");
    let names = fs::read_dir(dir.path().join("checkpoints")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.len(), 2, "no checkpoint was damaged, no rest is left: {names:?}");
    let logged: Vec<usize> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<StepReport>(line).unwrap().step)
        .collect();
    assert_eq!(logged, (1..=STEPS).collect::<Vec<_>>());
}

/// Runs the example until it has done some more steps, sends a signal, and says how it ended.
fn interrupted_example(dir: &Path, signal: &str) -> (ExitStatus, String) {
    let log = dir.join("run/train.jsonl");
    let steps = || fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    let before = steps();
    let settings = "--run run --steps 5000 --width 2 --hidden 8 --batch 4 --images 64 --ridge 1e-3";
    let mut child = Command::new(example("train_cifar10"))
        .args(settings.split(' '))
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("some steps", &mut child, || steps() >= before + 3);
    let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn ctrl_c_and_sigterm_save_a_checkpoint_and_the_same_command_goes_on() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default().trim();
    if u64::from_str_radix(ignored, 16).is_ok_and(|mask| mask & 1 == 1) {
        return println!("skipped: started by nohup, under which the example leaves signals alone");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut before = 0;
    for signal in ["INT", "TERM"] {
        let (status, said) = interrupted_example(dir.path(), signal);
        assert_eq!(status.code(), Some(130), "{said}");
        assert!(said.contains("run/checkpoints/0") && said.contains("again"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        assert!(!said.contains("training ["), "a progress bar, and no terminal: {said}");
        let log = fs::read_to_string(dir.path().join("run/train.jsonl")).unwrap();
        let logged: Vec<usize> =
            log.lines().map(|line| serde_json::from_str::<StepReport>(line).unwrap().step).collect();
        assert_eq!(logged, (1..=logged.len()).collect::<Vec<_>>());
        assert!(dir.path().join(format!("run/checkpoints/{:08}/manifest.json", logged.len())).exists());
        assert!(logged.len() > before);
        before = logged.len();
    }
}
