//! A detector on disk: the same scores after as before, and a refusal of whatever is not what was saved.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{corners, tiny_run};
use burn::tensor::Device;
use burn_mcl::detector::{Detector, DetectorConfig, DetectorError};
use burn_mcl::infer::{Covariance, MahalanobisConfig};
use burn_mcl::{ArtifactError, Progress};
use tempfile::TempDir;

/// A directory written by the first version that knew format 1, and the scores that it gave then.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/artifact-v1");

const FILES: [&str; 4] =
    ["calibration.safetensors", "detector.json", "gaussians.safetensors", "model.safetensors"];

fn load(path: &Path) -> Result<Detector, DetectorError> {
    Detector::load(path, &Device::flex())
}

/// A copy of the kept directory, to be damaged.
fn copy() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("detector");
    fs::create_dir(&path).unwrap();
    for entry in fs::read_dir(Path::new(KEPT).join("detector")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
    }
    (dir, path)
}

fn error_after(damage: impl FnOnce(&Path)) -> ArtifactError {
    let (_dir, path) = copy();
    damage(&path);
    match load(&path) {
        Err(DetectorError::Artifact(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn loaded_scores_equal_saved_scores_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("detector");
    let training = tiny_run(12);
    let model = training.model.try_init_seeded(1, &Device::flex()).unwrap();
    let config =
        DetectorConfig::new().with_gaussians(MahalanobisConfig::new().with_ridge(1e-4)).with_tpr(0.9);
    let (train, held_out) = (corners(40, 0), corners(20, 1));
    let saved = Detector::fit(&model, training.model.clone(), &train, &held_out, config, Progress::Hidden);
    let saved = saved.unwrap().with_train_config(training.clone());
    saved.save(&path).unwrap();
    saved.save(&path).unwrap(); // replaces
    let loaded = load(&path).unwrap();

    let set = corners(10, 2);
    let bits = |detector: &Detector| {
        let found = detector.detect_set(&set).unwrap();
        found
            .iter()
            .map(|f| (f.label, f.score.to_bits(), f.p_value.to_bits(), f.is_anomaly))
            .collect::<Vec<_>>()
    };
    assert_eq!(bits(&loaded), bits(&saved));
    assert_eq!(loaded.threshold().to_bits(), saved.threshold().to_bits());
    assert_eq!(loaded.calibration(), saved.calibration());
    assert_eq!(loaded.class_names(), ["left", "right"]);
    assert_eq!(loaded.image_size(), (8, 8));
    assert_eq!(loaded.config(), saved.config());
    assert_eq!(loaded.model_config(), &training.model);
    assert_eq!(loaded.train_config(), Some(&training));
    let mut left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "nothing else is left behind: {left:?}");
    left = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort_unstable();
    assert_eq!(left, [FILES[0], FILES[1], FILES[2], "manifest.json", FILES[3]]);
}

#[test]
fn a_shared_covariance_is_saved_once() {
    let dir = tempfile::tempdir().unwrap();
    let model_config = tiny_run(1).model;
    let model = model_config.try_init_seeded(1, &Device::flex()).unwrap();
    let gaussians = MahalanobisConfig::new().with_covariance(Covariance::Tied).with_ridge(1e-4);
    let config = DetectorConfig::new().with_gaussians(gaussians).with_tpr(0.9);
    let (train, held_out) = (corners(40, 0), corners(20, 1));
    let saved = Detector::fit(&model, model_config, &train, &held_out, config, Progress::Hidden).unwrap();
    saved.save(dir.path().join("detector")).unwrap();
    let loaded = load(&dir.path().join("detector")).unwrap();
    assert_eq!(loaded.scorer().record(), saved.scorer().record());
    let dim = saved.scorer().dim();
    assert_eq!(loaded.scorer().covariances().len(), 4 * dim * dim, "one for each rotation");
    let scores = |detector: &Detector| -> Vec<u64> {
        let found = detector.detect_set(&corners(10, 2)).unwrap();
        found.iter().map(|found| found.score.to_bits()).collect()
    };
    assert_eq!(scores(&loaded), scores(&saved));
}

#[test]
fn what_the_first_version_wrote_is_read_and_scores_as_then() {
    let detector = load(&Path::new(KEPT).join("detector")).unwrap();
    let recorded = fs::read(Path::new(KEPT).join("scores.json")).unwrap();
    let recorded: Vec<(usize, f64)> = serde_json::from_slice(&recorded).unwrap();
    let found = detector.detect_set(&corners(10, 2)).unwrap();
    assert_eq!(found.len(), recorded.len());
    for (found, (label, score)) in found.iter().zip(recorded) {
        assert_eq!(found.label, label);
        // Other processors round elsewhere.
        assert!((found.score - score).abs() <= 1e-4 * score.abs(), "{} for {score}", found.score);
    }
    assert_eq!(detector.class_names(), ["left", "right"]);
    assert_eq!(detector.train_config().unwrap().seed, 3);
}

/// Makes the kept directory anew, for a new format: `cargo test --test suite saved -- --ignored`.
#[test]
#[ignore = "writes into the repository"]
fn keep() {
    let training = tiny_run(12);
    let (train, held_out) = (corners(40, 0), corners(20, 1));
    let trainer = burn_mcl::train::Trainer::new(training.clone(), &Device::flex()).unwrap();
    let model = trainer.fit(&train).unwrap();
    let config = DetectorConfig::new().with_gaussians(MahalanobisConfig::new().with_ridge(1e-4));
    let detector =
        Detector::fit(&model, training.model.clone(), &train, &held_out, config, Progress::Hidden).unwrap();
    let detector = detector.with_train_config(training);
    let found = detector.detect_set(&corners(10, 2)).unwrap();
    let scores: Vec<(usize, f64)> = found.iter().map(|found| (found.label, found.score)).collect();
    detector.save(Path::new(KEPT).join("detector")).unwrap();
    fs::write(Path::new(KEPT).join("scores.json"), serde_json::to_vec(&scores).unwrap()).unwrap();
}

#[test]
fn every_file_that_is_cut_changed_or_gone_is_named() {
    for file in FILES {
        let cut = error_after(|path| {
            let bytes = fs::read(path.join(file)).unwrap();
            fs::write(path.join(file), &bytes[..bytes.len() * 2 / 3]).unwrap();
        });
        assert!(matches!(&cut, ArtifactError::Changed { path, .. } if path.ends_with(file)), "{cut}");
        let flipped = error_after(|path| {
            let mut bytes = fs::read(path.join(file)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path.join(file), bytes).unwrap();
        });
        assert!(matches!(&flipped, ArtifactError::Changed { path, .. } if path.ends_with(file)), "{flipped}");
        let gone = error_after(|path| fs::remove_file(path.join(file)).unwrap());
        assert!(matches!(&gone, ArtifactError::Missing { path } if path.ends_with(file)), "{gone}");
        let directory = error_after(|path| {
            fs::remove_file(path.join(file)).unwrap();
            fs::create_dir(path.join(file)).unwrap();
        });
        assert!(
            matches!(&directory, ArtifactError::Content { path, .. } if path.ends_with(file)),
            "{directory}"
        );
    }
}

#[test]
fn a_readme_may_stand_beside_and_survives_saving() {
    let (_dir, path) = copy();
    fs::write(path.join("README.md"), "What this detector is for.").unwrap();
    let detector = load(&path).unwrap();
    detector.save(&path).unwrap();
    assert_eq!(fs::read_to_string(path.join("README.md")).unwrap(), "What this detector is for.");
    load(&path).unwrap();
}

#[test]
fn a_detector_with_fewer_settings_is_read_with_the_defaults() {
    let (_dir, path) = copy();
    let expected = load(&path).unwrap();
    let file = path.join("detector.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    // As if the version that saved it had known neither of them.
    assert!(json["detector"].as_object_mut().unwrap().remove("batch_size").is_some());
    assert!(json["model"]["resnet"].as_object_mut().unwrap().remove("stem").is_some());
    assert!(json["training"].as_object_mut().unwrap().remove("nesterov").is_some());
    assert!(json["detector"].get("rotations").is_none(), "the kept detector is older than this setting");
    fs::write(&file, serde_json::to_vec(&json).unwrap()).unwrap();
    crate::common::seal(&path);
    let loaded = load(&path).unwrap();
    assert_eq!(loaded.config(), expected.config());
    assert_eq!(loaded.model_config(), expected.model_config());
    assert_eq!(loaded.train_config(), expected.train_config());
}

#[test]
fn a_file_too_many_is_named() {
    let extra = error_after(|path| fs::write(path.join("notes.txt"), "hello").unwrap());
    assert!(matches!(&extra, ArtifactError::Extra { path } if path.ends_with("notes.txt")), "{extra}");
    let (_dir, path) = copy();
    fs::write(path.join(".DS_Store"), "a file manager was here").unwrap();
    load(&path).unwrap();
}

#[test]
fn what_is_no_detector_or_a_newer_one_is_refused() {
    let manifest = |path: &Path| path.join("manifest.json");
    let newer = error_after(|path| replace(&manifest(path), "\"format\": 1", "\"format\": 2"));
    assert!(matches!(newer, ArtifactError::Newer { found: 2, newest: 1, .. }), "{newer}");
    let other = error_after(|path| replace(&manifest(path), "burn-mcl detector", "burn-mcl checkpoint"));
    assert!(matches!(&other, ArtifactError::Kind { found, .. } if found == "burn-mcl checkpoint"), "{other}");
    let none = error_after(|path| fs::remove_file(manifest(path)).unwrap());
    assert!(matches!(&none, ArtifactError::Missing { path } if path.ends_with("manifest.json")), "{none}");
    let garbage = error_after(|path| fs::write(manifest(path), "{").unwrap());
    assert!(matches!(garbage, ArtifactError::Content { .. }), "{garbage}");
    let nowhere = error_after(|path| fs::remove_dir_all(path).unwrap());
    assert!(matches!(nowhere, ArtifactError::Io(_)), "{nowhere}");
}

/// Files that are what the manifest says, and do not fit each other: as an attacker, or a careless script, makes them.
#[test]
fn files_that_contradict_each_other_are_refused() {
    let rewritten = |from: &str, to: &str| {
        let (_dir, path) = copy();
        replace(&path.join("detector.json"), from, to);
        crate::common::seal(&path);
        load(&path).unwrap_err()
    };
    let cases = [
        ("\"left\",", "\"left\", \"up\",", "should be F64 of [3, 4, 8]"),
        ("\"RGB\"", "\"BGR\"", "BGR"),
        ("\"height\": 8", "\"height\": 9", "9 x 8"),
        ("\"threshold\": -", "\"threshold\": -1", "the scores give"),
        ("\"hidden\": 8", "\"hidden\": 16", "do not fit the network"),
        ("\"projection_dim\": 8", "\"projection_dim\": 9", "do not fit the network"),
        ("\"in_channels\": 3", "\"in_channels\": 1", "takes 1 channels"),
        ("\"width\": 2", "\"width\": 4294967296", "parameters"),
        ("\"tpr\": 0.95", "\"tpr\": 1.95", "`tpr` is 1.95"),
        ("\"class_names\"", "\"names\"", "missing field `class_names`"),
        ("\"ridge\": 0.0001", "\"ridge\": null", "invalid type: null"),
    ];
    for (from, to, expected) in cases {
        let error = rewritten(from, to).to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    // A manifest that names a file elsewhere.
    let outside =
        error_after(|path| replace(&path.join("manifest.json"), "\"detector.json\"", "\"../detector.json\""));
    assert!(matches!(outside, ArtifactError::Missing { .. }), "{outside}");
}

/// Training settings are for the record: those of another version do not make a detector unusable.
#[test]
fn training_settings_of_another_version_are_let_be() {
    let (_dir, path) = copy();
    replace(&path.join("detector.json"), "\"checkpoint_every\"", "\"checkpoint_minutes\"");
    crate::common::seal(&path);
    assert_eq!(load(&path).unwrap().train_config(), None);
}

#[test]
fn only_a_detector_is_replaced() {
    let detector = load(&Path::new(KEPT).join("detector")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (pictures, file, empty) =
        (dir.path().join("pictures"), dir.path().join("file"), dir.path().join("empty"));
    fs::create_dir(&pictures).unwrap();
    fs::create_dir(&empty).unwrap();
    fs::write(pictures.join("cat.png"), "a cat").unwrap();
    fs::write(&file, "a file").unwrap();
    for path in [&pictures, &file] {
        let error = detector.save(path).unwrap_err().to_string();
        assert!(error.contains("cannot replace") && error.contains("no burn-mcl detector"), "{error}");
    }
    assert_eq!(fs::read(pictures.join("cat.png")).unwrap(), b"a cat");
    assert_eq!(fs::read(&file).unwrap(), b"a file");
    detector.save(&empty).unwrap();
    load(&empty).unwrap();
}

/// The states that a save goes through: whenever it is killed, a whole detector is found, and the next save works.
#[test]
fn every_state_of_a_save_leaves_a_detector() {
    let (dir, path) = copy();
    let (partial, previous) = (dir.path().join(".detector.partial"), dir.path().join(".detector.previous"));
    let detector = load(&path).unwrap();

    // Killed while writing: some files of the new one are there.
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("model.safetensors"), "half").unwrap();
    load(&path).unwrap();
    detector.save(&path).unwrap();
    assert!(!partial.exists());

    // Killed between the two renames.
    fs::rename(&path, &previous).unwrap();
    load(&path).unwrap();
    detector.save(&path).unwrap();
    assert!(path.exists() && !previous.exists());

    // Killed while the old one is removed.
    fs::create_dir(&previous).unwrap();
    fs::write(previous.join("manifest.json"), "half").unwrap();
    load(&path).unwrap();
    detector.save(&path).unwrap();
    assert!(path.exists() && !previous.exists());
    load(&path).unwrap();
}
