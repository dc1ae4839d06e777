//! The examples `own_images`, from folders to report, and `detect`, at the smallest size.

#[path = "../../../examples/detect.rs"]
#[allow(dead_code)] // its `main`
mod detect;
#[path = "../../../examples/own_images.rs"]
#[allow(dead_code)] // its `main`
mod own_images;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use burn_mcl::data::image_folder;
use burn_mcl::data::shapes::{self, ShapesSplit};
use burn_mcl::detector::Detector;
use clap::Parser;
use own_images::{Settings, run};
use serde_json::Value;

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
fn a_saved_detector_looks_at_new_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    folders(root);
    let device = Device::flex();
    run(&settings(root, "train", ""), &device, &AtomicBool::new(false)).unwrap();
    let detector = Detector::load(root.join("run/detector"), &device).unwrap();
    let pictures = image_folder::load(&root.join("blobs"), detector.image_size()).unwrap();
    let expected = detector.detect_set(&pictures).unwrap();
    fs::write(root.join("blobs/damaged.png"), "no picture").unwrap();

    let (artifact, blobs, train) = (root.join("run/detector"), root.join("blobs"), root.join("train"));
    let look = |more: &[&str]| {
        let mut out = Vec::new();
        let places = ["detect".as_ref(), artifact.as_os_str(), blobs.as_os_str(), "--train".as_ref()];
        let arguments = places.into_iter().chain([train.as_os_str()]).chain(more.iter().map(OsStr::new));
        detect::run(&detect::Settings::parse_from(arguments), &device, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };

    let lines = look(&["--json"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), expected.len() + 1);
    for (line, found) in lines.iter().zip(&expected) {
        assert_eq!(line["score"], found.score);
        assert_eq!(line["p_value"], found.p_value);
        assert_eq!(line["is_anomaly"], found.is_anomaly);
        assert_eq!(line["class"], detector.class_names()[found.label]);
        let resembles = line["resembles"].as_array().unwrap();
        assert_eq!(resembles.len(), if found.is_anomaly { 3 } else { 0 });
        assert!(resembles.iter().all(|file| Path::new(file.as_str().unwrap()).starts_with(&train)));
    }
    let damaged = &lines[expected.len()];
    assert!(damaged["error"].as_str().unwrap().contains("damaged.png"), "{damaged}");

    // At another threshold, most anomalous first.
    let text = look(&["--tpr", "0.2"]);
    let flagged = detector.with_tpr(0.2).unwrap().detect_set(&pictures).unwrap();
    let mut scores: Vec<_> =
        flagged.iter().filter(|found| found.is_anomaly).map(|found| found.score).collect();
    scores.sort_by(f64::total_cmp);
    assert!(!scores.is_empty(), "nothing flagged: the test shows nothing");
    let printed: Vec<_> = text.lines().filter(|line| line.starts_with("p-value")).collect();
    assert_eq!(printed.len(), scores.len());
    for (line, score) in printed.iter().zip(&scores) {
        assert!(line.contains(&format!("score {score:9.1}")), "{line}");
    }
    assert_eq!(text.matches("    resembles ").count(), 3 * scores.len());
    assert!(text.ends_with(&format!(
        "{} of 5 pictures flagged; if all were normal, 4.0 would be on average\n",
        scores.len()
    )));
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
