//! Where exported detectors go, what is kept there, and which detectors are refused.
#![cfg(feature = "onnx")]

use std::fs;
use std::path::Path;

use crate::common::{bits, corners, seal, tiny_run};
use burn::tensor::Device;
use burn_mcl::Progress;
use burn_mcl::data::ImageSet;
use burn_mcl::detector::{Detector, DetectorConfig};
use burn_mcl::export::{Existing, ExportError, save_hugging_face, save_onnx, to_onnx};
use burn_mcl::infer::{InferError, MahalanobisConfig};
use burn_mcl::model::{FastNetConfig, MclModelConfig};
use serde_json::{Value, json};

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/artifact-v1/detector");

fn load(path: impl AsRef<Path>) -> Detector {
    Detector::load(path, &Device::flex()).unwrap()
}

/// A copy of a saved detector with other settings.
fn edited(detector: &Path, edit: impl FnOnce(&mut Value)) -> Detector {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(detector).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join("detector.json");
    let mut settings = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut settings);
    fs::write(path, settings.to_string()).unwrap();
    seal(folder.path());
    load(folder.path())
}

#[test]
fn a_directory_for_hugging_face_is_a_detector() {
    let (folder, detector) = (tempfile::tempdir().unwrap(), load(KEPT));
    let hub = folder.path().join("hub");
    save_hugging_face(&detector, &hub, Existing::Keep).unwrap();
    assert_eq!(fs::read(hub.join("model.onnx")).unwrap(), to_onnx(&detector).unwrap());
    assert_eq!(fs::read(hub.join("model.safetensors")).unwrap(), bits(detector.model()));
    let config: Value = serde_json::from_slice(&fs::read(hub.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["threshold"], json!(detector.threshold()));
    assert_eq!(config["class_names"], json!(detector.class_names()));

    // Its author edits the card, and adds a license.
    let card = fs::read_to_string(hub.join("README.md")).unwrap();
    assert!(card.starts_with("---\n# license") && card.contains("\nlibrary_name: burn-mcl\n"), "{card}");
    fs::write(hub.join("README.md"), card.replace("# license", "license: mit #")).unwrap();
    fs::write(hub.join("LICENSE"), "MIT").unwrap();
    let images = corners(3, 5);
    assert_eq!(load(&hub).detect_set(&images).unwrap(), detector.detect_set(&images).unwrap());
}

#[test]
fn a_card_says_how_the_network_was_trained_and_what_the_threshold_promises() {
    let (folder, run) = (tempfile::tempdir().unwrap(), tiny_run(2));
    let (train, held_out) = (corners(20, 0), corners(10, 1));
    let model = run.model.try_init_seeded(0, &Device::flex()).unwrap();
    let config =
        DetectorConfig::new().with_gaussians(MahalanobisConfig::new().with_ridge(1e-3)).with_tpr(0.8);
    let detector =
        Detector::fit(&model, run.model.clone(), &train, &held_out, config, Progress::Hidden).unwrap();
    let card = |detector: &Detector| {
        let place = folder.path().join("hub");
        save_hugging_face(detector, &place, Existing::Replace).unwrap();
        fs::read_to_string(place.join("README.md")).unwrap()
    };
    let without = card(&detector);
    assert!(without.contains("The training settings were not kept."), "{without}");
    let with = card(&detector.with_train_config(run));
    for text in
        ["| network | ResNet18 of width 2, Cifar stem |", "| length | 2 steps |", "| objective | Mcl |"]
    {
        assert!(with.contains(text), "{with}");
    }
    assert!(with.contains("At most 20.00% of new normal pictures are flagged"), "{with}");
    assert!(with.contains("\"left\"\n\"right\"\n"), "{with}");
}

#[test]
fn nothing_is_overwritten_unasked() {
    let (folder, detector) = (tempfile::tempdir().unwrap(), load(KEPT));
    let (file, hub) = (folder.path().join("detector.onnx"), folder.path().join("hub"));
    fs::write(&file, "mine").unwrap();
    let error = save_onnx(&detector, &file, Existing::Keep).unwrap_err();
    assert!(matches!(&error, ExportError::Exists { path } if *path == file), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    let error = save_onnx(&detector, &file, Existing::Replace).unwrap_err();
    assert!(matches!(&error, ExportError::NoGraph { path } if *path == file), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    let error = save_onnx(&detector, folder.path(), Existing::Replace).unwrap_err();
    assert!(matches!(&error, ExportError::NoGraph { .. }), "{error}");

    #[cfg(unix)]
    {
        let (link, nowhere) = (folder.path().join("link.onnx"), folder.path().join("nowhere.onnx"));
        std::os::unix::fs::symlink(&nowhere, &link).unwrap();
        for existing in [Existing::Keep, Existing::Replace] {
            assert!(save_onnx(&detector, &link, existing).is_err());
        }
        assert!(link.symlink_metadata().is_ok() && !nowhere.exists());
    }

    // A graph of an export may be another detector's.
    fs::write(&file, &to_onnx(&detector).unwrap()[..99]).unwrap();
    save_onnx(&detector, &file, Existing::Replace).unwrap();
    assert_eq!(fs::read(&file).unwrap(), to_onnx(&detector).unwrap());

    fs::create_dir(&hub).unwrap(); // an empty directory is no loss
    save_hugging_face(&detector, &hub, Existing::Keep).unwrap();
    let error = save_hugging_face(&detector, &hub, Existing::Keep).unwrap_err();
    assert!(matches!(&error, ExportError::Exists { path } if *path == hub), "{error}");
    fs::write(hub.join("LICENSE"), "MIT").unwrap();
    save_hugging_face(&detector, &hub, Existing::Replace).unwrap();
    assert_eq!(fs::read(hub.join("LICENSE")).unwrap(), b"MIT");

    fs::create_dir(hub.join(".git")).unwrap();
    let error = save_hugging_face(&detector, &hub, Existing::Replace).unwrap_err();
    assert!(matches!(&error, ExportError::Foreign { path } if path.ends_with(".git")), "{error}");
    assert!(hub.join(".git").exists() && hub.join("model.onnx").exists());

    // A directory of files with these names that is no detector.
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("README.md"), "mine").unwrap();
    let error = save_hugging_face(&detector, &other, Existing::Replace).unwrap_err();
    assert!(error.to_string().contains("is no burn-mcl detector"), "{error}");
    assert_eq!(fs::read(other.join("README.md")).unwrap(), b"mine");
}

#[test]
fn a_place_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error =
        save_onnx(&load(KEPT), folder.path().join("nowhere/detector.onnx"), Existing::Keep).unwrap_err();
    assert!(matches!(&error, ExportError::Io(_)) && error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_score_that_needs_a_classifier_needs_one() {
    let detector = edited(KEPT.as_ref(), |settings| {
        settings["detector"]["score"] = json!("Entropy");
        settings["detector"]["aggregation"] = json!("Mean");
    });
    let error = to_onnx(&detector).unwrap_err();
    assert!(matches!(error, ExportError::Infer(InferError::NoLogits)), "{error}");
}

#[test]
fn images_that_are_too_small_for_the_network_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let images = |per_class: usize| {
        let labels = [0, 1].repeat(per_class);
        let pixels = (0..labels.len() * 3 * 144).map(|i| (i * i % 251) as u8).collect();
        ImageSet::new(pixels, (12, 12), labels, vec!["left".into(), "right".into()]).unwrap()
    };
    let network = MclModelConfig::new(FastNetConfig::new().with_widths([2, 2, 2]))
        .with_hidden(4)
        .with_projection_dim(2);
    let model = network.init_seeded(0, &Device::flex());
    let config =
        DetectorConfig::upright().with_gaussians(MahalanobisConfig::new().with_ridge(1e-3)).with_tpr(0.8);
    let fitted = Detector::fit(&model, network, &images(20), &images(10), config, Progress::Hidden).unwrap();
    let place = folder.path().join("detector");
    fitted.save(&place).unwrap();
    assert!(to_onnx(&load(&place)).is_ok());

    let small = edited(&place, |settings| settings["images"]["height"] = json!(8));
    let error = to_onnx(&small).unwrap_err();
    assert!(matches!(error, ExportError::ImageSize { height: 8, width: 12, least: 9 }), "{error}");
}
