//! A detector from training to disk and back, and what it says to bad input.

mod common;

use std::fs;

use burn::tensor::{Device, Tensor};
use burn_mcl::Progress;
use burn_mcl::data::ImageSet;
use burn_mcl::detector::{Detector, DetectorConfig, DetectorError};
use burn_mcl::evaluation::evaluate;
use burn_mcl::infer::{Aggregation, InferError, MahalanobisConfig, TestTimeViews};
use burn_mcl::train::Trainer;
use common::{corners, tiny_run};

fn detector(config: DetectorConfig) -> Detector {
    let (train, held_out) = (corners(40, 0), corners(20, 1));
    let run = tiny_run(12);
    let model = Trainer::new(run.clone(), &Device::flex()).unwrap().fit(&train).unwrap();
    Detector::fit(&model, run.model, &train, &held_out, config, Progress::Hidden).unwrap()
}

fn config() -> DetectorConfig {
    DetectorConfig::new().with_gaussians(MahalanobisConfig::new().with_ridge(1e-4))
}

#[test]
fn loaded_scores_equal_saved_scores_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("detector");
    let set = corners(10, 2);
    let saved = detector(config());
    saved.save(&path).unwrap();
    saved.save(&path).unwrap(); // replaces
    let loaded = Detector::load(&path, &Device::flex()).unwrap();

    assert_eq!(loaded.detect_set(&set).unwrap(), saved.detect_set(&set).unwrap());
    assert_eq!(loaded.threshold().to_bits(), saved.threshold().to_bits());
    assert_eq!(loaded.class_names(), ["left", "right"]);
    assert_eq!(loaded.config(), saved.config());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
}

#[test]
fn the_share_of_calibration_images_above_the_threshold_is_the_one_asked_for() {
    let detector = detector(config().with_tpr(0.8));
    let found = detector.detect_set(&corners(20, 1)).unwrap(); // the calibration images
    let passed = found.iter().filter(|detection| !detection.is_anomaly).count();
    assert_eq!(passed, 40 - 8 + 1); // the 8th lowest of 40 is the threshold, and passes
}

#[test]
fn p_values_and_the_threshold_say_the_same() {
    let detector = detector(config());
    let found = detector.detect_set(&corners(20, 3)).unwrap();
    assert!(found.iter().all(|found| found.is_anomaly == (found.p_value <= 0.05 + 1e-12)));
    assert_eq!(detector.calibration().scores().len(), 40);
    let stricter = detector.with_tpr(0.5).unwrap();
    assert_eq!(stricter.threshold(), stricter.calibration().scores()[20 - 1]); // floor(41 / 2) = 20
    assert!(matches!(stricter.with_tpr(2.0), Err(DetectorError::Config { setting: "tpr", .. })));
}

#[test]
fn an_image_is_its_own_nearest_neighbour() {
    let detector = detector(config());
    let train = corners(40, 0);
    let index = detector.index(&train).unwrap();
    let asked = train.subset(&[7, 30, 31]).unwrap();
    let near = detector.neighbours(&index, &asked, 3).unwrap();
    for (near, image) in near.iter().zip([7, 30, 31]) {
        assert_eq!((near.len(), near[0].index), (3, image));
        assert!((near[0].similarity - 1.0).abs() < 1e-6);
        assert_eq!(train.label(near[1].index), train.label(image), "the nearest other is of the same class");
    }
    let large = ImageSet::new(vec![0; 3 * 81], (9, 9), vec![0], vec!["only".into()]).unwrap();
    assert!(matches!(detector.neighbours(&index, &large, 3), Err(DetectorError::ImageShape { .. })));
}

#[test]
fn flat_images_are_anomalies() {
    let detector = detector(config());
    let flat = |value: f32| Tensor::<4>::full([8, 3, 8, 8], value, &Device::flex());
    let anomalies = |images| detector.detect(images).unwrap().iter().filter(|found| found.is_anomaly).count();
    assert_eq!(anomalies(flat(1.0)), 8);
    assert_eq!(anomalies(flat(0.0)), 8);
}

#[test]
fn bad_images_are_errors() {
    let detector = detector(config());
    match detector.detect(Tensor::zeros([1, 3, 9, 8], &Device::flex())) {
        Err(DetectorError::ImageShape { found: [3, 9, 8], expected: [3, 8, 8] }) => {}
        other => panic!("{other:?}"),
    }
    let mut pixels = vec![0.5; 2 * 3 * 8 * 8];
    pixels[3 * 8 * 8 + 5] = f32::NAN;
    let images = Tensor::<1>::from_floats(pixels.as_slice(), &Device::flex()).reshape([2, 3, 8, 8]);
    assert!(detector.detect(images).is_err());
    assert!(detector.detect(Tensor::zeros([0, 3, 8, 8], &Device::flex())).unwrap().is_empty());
}

#[test]
fn bad_settings_and_too_few_images_are_errors() {
    let run = tiny_run(1);
    let train = corners(40, 0);
    let model = Trainer::new(run.clone(), &Device::flex()).unwrap().fit(&train).unwrap();
    let fit = |train: &ImageSet, held_out: ImageSet, config| {
        Detector::fit(&model, run.model.clone(), train, &held_out, config, Progress::Hidden)
    };
    let setting = |result| match result {
        Err(DetectorError::Config { setting, .. }) => setting,
        other => panic!("{other:?}"),
    };
    assert_eq!(setting(fit(&train, corners(20, 1), config().with_tpr(1.0))), "tpr");
    assert_eq!(setting(fit(&train, corners(20, 1), config().with_batch_size(0))), "batch_size");
    let few = fit(&train, corners(5, 1), config());
    let Err(DetectorError::Infer(few)) = few else { panic!("{few:?}") };
    assert!(matches!(few, InferError::TooFewToCalibrate { scores: 10, needed: 19, .. }), "{few:?}");
    let few = fit(&train.take(1), corners(20, 1), config());
    assert!(matches!(few, Err(DetectorError::Infer(_))), "{few:?}");
}

#[test]
fn damaged_artifacts_are_errors_that_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let saved = detector(config());
    let load = |damage: &dyn Fn(&std::path::Path)| {
        let path = dir.path().join("detector");
        saved.save(&path).unwrap();
        damage(&path);
        Detector::load(&path, &Device::flex()).unwrap_err()
    };
    let cut = |file: &'static str| {
        move |path: &std::path::Path| {
            let bytes = fs::read(path.join(file)).unwrap();
            fs::write(path.join(file), &bytes[..bytes.len() * 2 / 3]).unwrap();
        }
    };
    for file in ["detector.json", "gaussians.safetensors", "model.safetensors"] {
        let error = load(&cut(file));
        assert!(error.to_string().contains(file), "{file}: {error}");
        let error = load(&|path| fs::remove_file(path.join(file)).unwrap());
        assert!(error.to_string().contains(file), "{file}: {error}");
    }
    let error = load(&|path| {
        let text = fs::read_to_string(path.join("detector.json")).unwrap();
        fs::write(path.join("detector.json"), text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    });
    assert!(matches!(error, DetectorError::Format { found: 2, newest: 1, .. }), "{error}");
    let error = load(&|path| {
        let text = fs::read_to_string(path.join("detector.json")).unwrap();
        fs::write(path.join("detector.json"), text.replace("\"right\"", "\"right\", \"up\"")).unwrap();
    });
    assert!(matches!(error, DetectorError::Artifact { .. }), "{error}");
}

#[test]
fn evaluation_has_a_row_for_each_way_of_scoring() {
    let detector = detector(config());
    let (test, other) = (corners(20, 4), corners(20, 5));
    let evaluation =
        evaluate(detector.model(), detector.scorer(), &test, &[("itself", &other)], 7, Progress::Hidden)
            .unwrap();
    assert_eq!(evaluation.rows.len(), 1 + 4 + 4);
    let row = evaluation.row(TestTimeViews::RotationsAndFlips, Aggregation::WeightedAverage).unwrap();
    // The same scores as the detector's, whose defaults are those of this row.
    let found = detector.detect_set(&test).unwrap();
    let right = found.iter().zip(test.labels()).filter(|(found, label)| found.label == **label).count();
    assert_eq!(row.accuracy, right as f64 / 40.0);
    let auroc = row.ood[0].metrics.auroc;
    assert!((0.3..0.7).contains(&auroc), "a set drawn alike cannot be told apart, yet its AUROC is {auroc}");
    assert!(evaluation.to_string().contains("itself AUROC / FPR95"));
}
