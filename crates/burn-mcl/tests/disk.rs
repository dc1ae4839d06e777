//! A disk that is full, and places that cannot be written: an error that says so, and what was there is still there.
#![cfg(unix)]

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use crate::common::{corners, tiny_run};
use burn::tensor::Device;
use burn_mcl::ArtifactError;
use burn_mcl::detector::{Detector, DetectorError};
use burn_mcl::train::{TrainError, Trainer};

const CHILD: &str = "MCL_TEST_FULL_DISK";
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/artifact-v1/detector");

fn kept() -> Detector {
    Detector::load(KEPT, &Device::flex()).unwrap()
}

/// Not a test of its own: saves a detector and trains where files cannot grow; both must fail, with an error that
/// names the file. With a small disk mounted there and filled it does the same for a full disk.
#[test]
fn child_without_space() {
    let Ok(dir) = env::var(CHILD) else { return };
    let dir = Path::new(&dir);
    let error = kept().with_tpr(0.5).unwrap().save(dir.join("detector")).unwrap_err().to_string();
    println!("saving: {error}");
    assert!(error.contains("detector.partial"), "{error}");

    let trainer = Trainer::new(tiny_run(9), &Device::flex()).unwrap().run_dir(dir.join("run"));
    match trainer.fit(&corners(16, 0)) {
        Err(TrainError::RunDir(ArtifactError::Io(error))) => println!("training: {error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_disk_is_an_error_and_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (detector, run) = (dir.path().join("detector"), dir.path().join("run"));
    kept().save(&detector).unwrap();
    let train = |steps| {
        let stop = move |report: &burn_mcl::train::StepReport| match report.step == steps {
            true => std::ops::ControlFlow::Break(()),
            false => std::ops::ControlFlow::Continue(()),
        };
        Trainer::new(tiny_run(9), &Device::flex()).unwrap().run_dir(&run).observer(stop).fit(&corners(16, 0))
    };
    train(3).unwrap_err();

    // No file may grow beyond 32 blocks of 512 bytes; the system says "file too large" for it instead of a signal.
    let script = "trap '' XFSZ; ulimit -f 32; exec \"$0\" --exact disk::child_without_space --nocapture";
    let test = env::current_exe().unwrap();
    let output = Command::new("sh").args(["-c", script]).arg(test).env(CHILD, dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let mut left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort_unstable();
    assert_eq!(left, ["detector", "run"], "nothing half-written is left to fill the disk");
    let found = Detector::load(&detector, &Device::flex()).unwrap();
    assert_eq!(found.threshold(), kept().threshold());
    let resumed =
        Trainer::new(tiny_run(9), &Device::flex()).unwrap().run_dir(&run).fit(&corners(16, 0)).unwrap();
    let whole = Trainer::new(tiny_run(9), &Device::flex()).unwrap().fit(&corners(16, 0)).unwrap();
    assert!(crate::common::bits(&resumed) == crate::common::bits(&whole));
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "in the way").unwrap();
    match kept().save(file.join("detector")) {
        Err(DetectorError::Artifact(ArtifactError::Io(error))) => {
            assert!(error.path.starts_with(&file), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let trainer = Trainer::new(tiny_run(2), &Device::flex()).unwrap().run_dir(file.join("run"));
    match trainer.fit(&corners(16, 0)) {
        Err(TrainError::RunDir(ArtifactError::Io(error))) => {
            assert!(error.path.starts_with(&file), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&file).unwrap(), b"in the way");
}
