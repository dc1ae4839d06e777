//! The examples `own_images`, from folders to report, and `detect`, at the smallest size.

#[path = "../../../examples/detect.rs"]
#[allow(dead_code)] // its `main`
mod detect;
#[path = "../../../examples/own_images.rs"]
#[allow(dead_code)] // its `main`
mod own_images;

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use burn_mcl::data::image_folder;
use burn_mcl::data::shapes::{self, ShapesSplit};
use burn_mcl::detector::Detector;
use burn_mcl::report::Summary;
use clap::Parser;
use own_images::{Settings, run};
use serde_json::Value;
use tempfile::TempDir;

/// `train`, `normal`: two classes, 24 and 6 pictures each; `blobs`: anomalies in one flat folder.
fn folders() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let pick = |split, n, classes: &[usize]| shapes::generate(split, n, 0).select_classes(classes).unwrap();
    pick(ShapesSplit::Train, 24, &[0, 3]).write_folders(&root.join("train")).unwrap();
    pick(ShapesSplit::Test, 6, &[0, 3]).write_folders(&root.join("normal")).unwrap();
    pick(ShapesSplit::FarOod, 5, &[0]).write_folders(root).unwrap(); // one flat folder, `blobs`
    folder
}

fn settings(root: &Path, train: &str, more: &str) -> Settings {
    let at = |name: &str| root.join(name).display().to_string();
    let mut arguments = vec!["own_images".to_string(), at(train), "--normal".into(), at("normal")];
    arguments.extend(["--anomalous".into(), at("blobs"), "--run".into(), at("run")]);
    let tiny = ["--steps=3", "--batch=8", "--width=2", "--hold-out=0.4", "--tpr=0.9"];
    let tiny = tiny.into_iter().filter(|flag| !more.contains(flag.split('=').next().unwrap()));
    arguments.extend(tiny.chain(more.split_whitespace()).map(String::from));
    Settings::parse_from(arguments)
}

fn uninterrupted(settings: &Settings) -> Result<Summary, Box<dyn Error>> {
    run(settings, &Device::flex(), &AtomicBool::new(false), || ())
}

#[test]
fn folders_become_a_detector_and_a_report_and_again() {
    let folder = folders();
    let root = folder.path();
    fs::write(root.join("train/arrow/damaged.png"), "no picture").unwrap();
    let device = Device::flex();
    let again = || uninterrupted(&settings(root, "train", "")).unwrap();

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
    let folder = folders();
    let root = folder.path();
    let device = Device::flex();
    uninterrupted(&settings(root, "train", "")).unwrap();
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
    let folder = folders();
    let root = folder.path();
    let summary = uninterrupted(&settings(root, "train/arrow", "--size 96")).unwrap();
    assert_eq!((summary.accuracy, summary.images), (None, 12));
    let config = fs::read_to_string(root.join("run/config.json")).unwrap();
    assert!(config.contains("ImageNet"), "{config}");
}

#[test]
fn an_interrupted_run_keeps_a_checkpoint_and_goes_on() {
    let folder = folders();
    let root = folder.path();
    let interrupted = |settings: &Settings| {
        let stop = AtomicBool::new(false);
        let press = || {
            assert_eq!(fs::read_dir(root.join("run/cache")).unwrap().count(), 3, "all is decoded");
            stop.store(true, Ordering::Relaxed);
        };
        run(settings, &Device::flex(), &stop, press).unwrap_err().to_string()
    };
    let same = settings(root, "train", "");
    let error = interrupted(&same);
    assert!(error.contains("stopped after 1 step"), "{error}");
    assert!(root.join("run/checkpoints/00000001").is_dir());
    uninterrupted(&same).unwrap();
    // There is no step left to stop at.
    let error = interrupted(&same);
    assert!(error.contains("stopped after 3 steps"), "{error}");

    let error = uninterrupted(&settings(root, "train", "--seed 1")).unwrap_err().to_string();
    assert!(error.contains("seed is 0") && error.contains("--run"), "{error}");
}

#[test]
fn what_is_wrong_is_said_before_anything_is_trained() {
    let folder = folders();
    let root = folder.path();
    let refused = |train: &str, more: &str, expected: &str| {
        let error = uninterrupted(&settings(root, train, more)).unwrap_err().to_string();
        assert!(error.contains(expected), "{more}: {error}");
    };
    refused("train", "--size 33", "--size is 33, but must be a multiple of 32");
    refused("nowhere", "", "nowhere");
    refused("train", "--depth 7", "--depth must be");
    refused("train", "--learning-rate=-1", "learning_rate");
    refused("train", "--tpr 1", "--tpr is 1, but must be");
    refused("train", "--ridge=-1", "--ridge is -1, but must be");
    refused("train", "--ridge 1e-12", "--ridge is 0.000000000001, but class `arrow` has");
    refused("train", "--hold-out 1.5", "--hold-out: ");
    refused("train", "--hold-out 0", "0 pictures are held out (--hold-out 0), but --tpr 0.9 needs 9");
    refused("train", "--tpr 0.99", "20 pictures are held out (--hold-out 0.4), but --tpr 0.99 needs 99");
    refused("train", &format!("--anomalous {}", root.join("normal/..//normal").display()), "is given twice");
    fs::create_dir(root.join("train/lonely")).unwrap();
    fs::copy(root.join("blobs/00000.png"), root.join("train/lonely/only.png")).unwrap();
    refused("train", "", "class `lonely` has too few pictures to learn from (1 of 2)");
    assert!(!root.join("run/checkpoints").exists());
}

#[test]
fn folders_of_one_name_are_told_apart_by_those_above() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["good/test", "bad/test", "other", "more/bad/test"].map(|path| folder.path().join(path));
    paths.iter().for_each(|path| fs::create_dir_all(path).unwrap());
    let names = own_images::names(&paths.each_ref()).unwrap();
    let top = folder.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(names, ["good/test", &format!("{top}/bad/test"), "other", "more/bad/test"]);
}
