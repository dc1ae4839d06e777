//! The example `own_images` from folders to report, at the smallest size.

#[path = "../../../examples/own_images.rs"]
#[allow(dead_code)] // its `main`
mod own_images;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use burn_mcl::data::shapes::{self, ShapesSplit};
use burn_mcl::detector::Detector;
use clap::Parser;
use own_images::{Settings, run};

/// `train`, `normal`: two classes, 24 and 6 pictures each; `other`: anomalies in one flat folder.
fn folders(root: &Path) {
    let pick = |split, n, classes: &[usize]| shapes::generate(split, n, 0).select_classes(classes).unwrap();
    pick(ShapesSplit::Train, 24, &[0, 3]).write_folders(&root.join("train")).unwrap();
    pick(ShapesSplit::Test, 6, &[0, 3]).write_folders(&root.join("normal")).unwrap();
    pick(ShapesSplit::FarOod, 5, &[0]).write_folders(root).unwrap(); // one flat folder, `blobs`
}

fn settings(root: &Path, train: &str, more: &str) -> Settings {
    let at = |name: &str| root.join(name).display().to_string();
    let mut arguments = vec!["own_images".to_string(), at(train), "--normal".into(), at("normal")];
    arguments.extend(["--anomalous".into(), at("blobs"), "--run".into(), at("run")]);
    let tiny = "--steps 3 --batch 8 --width 2 --hold-out 0.4 --tpr 0.9";
    arguments.extend(tiny.split(' ').chain(more.split_whitespace()).map(String::from));
    Settings::parse_from(arguments)
}

#[test]
fn folders_become_a_detector_and_a_report_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    folders(root);
    fs::write(root.join("train/arrow/damaged.png"), "no picture").unwrap();
    let device = Device::flex();
    let again = || run(&settings(root, "train", ""), &device, &AtomicBool::new(false)).unwrap();

    let summary = again();
    assert_eq!((summary.images, summary.anomalous[0].images), (12, 5));
    assert_eq!(summary.anomalous[0].set, "blobs");
    assert!(root.join("run/report/index.html").is_file());
    let detector = Detector::load(root.join("run/detector"), &device).unwrap();
    assert_eq!(Some(detector.threshold()), summary.threshold);
    assert_eq!(fs::read_dir(root.join("run/cache")).unwrap().count(), 3);

    // The same command trains no more, and says the same.
    assert_eq!(again(), summary);
}

#[test]
fn one_flat_class_is_enough_and_large_pictures_take_the_large_stem() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    folders(root);
    let summary =
        run(&settings(root, "train/arrow", "--size 96"), &Device::flex(), &AtomicBool::new(false)).unwrap();
    assert_eq!((summary.accuracy, summary.images), (None, 12));
    let config = fs::read_to_string(root.join("run/config.json")).unwrap();
    assert!(config.contains("ImageNet"), "{config}");
}

#[test]
fn an_interrupted_run_keeps_a_checkpoint_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    folders(root);
    let device = Device::flex();
    let error = run(&settings(root, "train", ""), &device, &AtomicBool::new(true)).unwrap_err();
    assert!(error.to_string().contains("stopped after 1 step"), "{error}");
    assert!(root.join("run/checkpoints/00000001").is_dir());
    run(&settings(root, "train", ""), &device, &AtomicBool::new(false)).unwrap();
}

#[test]
fn what_is_wrong_is_said_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    folders(root);
    let (device, go_on) = (Device::flex(), AtomicBool::new(false));
    let error = |settings: &Settings| run(settings, &device, &go_on).unwrap_err().to_string();
    assert!(error(&settings(root, "train", "--size 33")).contains("multiple of 32"));
    assert!(error(&settings(root, "nowhere", "")).contains("nowhere"));
    assert!(error(&settings(root, "train", "--depth 7")).contains("--depth must be"));
    assert!(!root.join("run/checkpoints").exists());
}
