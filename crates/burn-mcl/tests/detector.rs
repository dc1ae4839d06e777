//! What a detector says, of good input and of bad.

use crate::common::{corners, tiny_run};
use burn::tensor::{Device, Tensor};
use burn_mcl::Progress;
use burn_mcl::data::{ImageSet, image_folder};
use burn_mcl::detector::{Detector, DetectorConfig, DetectorError};
use burn_mcl::evaluation::evaluate;
use burn_mcl::infer::{Aggregation, Calibration, Covariance, InferError, MahalanobisConfig, TestTimeViews};
use burn_mcl::train::Trainer;

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
fn pictures_and_files_are_judged_as_sets_are() {
    let (detector, folder) = (detector(config()), tempfile::tempdir().unwrap());
    let set = corners(2, 9);
    set.write_folders(folder.path()).unwrap();
    let mut expected = Vec::new();
    let mut files = Vec::new();
    for class in ["right", "left"] {
        for number in 0..2 {
            files.push(folder.path().join(class).join(format!("0000{number}.png")));
            let read = image_folder::load(files.last().unwrap(), (8, 8)).unwrap();
            let found = detector.detect_set(&read).unwrap()[0];
            let picture = image::open(files.last().unwrap()).unwrap();
            assert_eq!(detector.detect_image(&picture).unwrap(), found);
            expected.push(found);
        }
    }
    // A picture of another size is stretched.
    let large = image::open(&files[0]).unwrap().resize_exact(20, 9, image::imageops::FilterType::Triangle);
    assert!(detector.detect_image(&large).unwrap().score.is_finite());
    assert!(matches!(
        detector.detect_image(&image::DynamicImage::new_rgb8(0, 8)),
        Err(DetectorError::Data(_))
    ));

    files.insert(1, folder.path().join("nowhere.png"));
    let found = detector.detect_files(&files).unwrap();
    assert!(found[1].as_ref().unwrap_err().reason.contains("nowhere.png"));
    let verdicts: Vec<_> = found.into_iter().filter_map(Result::ok).collect();
    assert_eq!(verdicts.len(), 4);
    for (found, expected) in verdicts.iter().zip(&expected) {
        // Sums in batches of other sizes may differ in their last bits.
        assert!(
            (found.score - expected.score).abs() <= 1e-4 * expected.score.abs(),
            "{found:?} {expected:?}"
        );
    }
    assert!(detector.detect_files(&[]).unwrap().is_empty());
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
    let no_ridge = config().with_gaussians(MahalanobisConfig::new().with_ridge(-1.0));
    assert_eq!(setting(fit(&train, corners(20, 1), no_ridge)), "ridge");
    let few = fit(&train, corners(5, 1), config());
    let Err(DetectorError::Infer(few)) = few else { panic!("{few:?}") };
    assert!(matches!(few, InferError::TooFewToCalibrate { scores: 10, needed: 19, .. }), "{few:?}");
    let few = fit(&train.take(1), corners(20, 1), config());
    assert!(matches!(few, Err(DetectorError::Class { .. })), "{few:?}");
}

#[test]
fn a_class_of_one_image_and_images_all_alike_are_named() {
    let model = tiny_run(1).model.try_init_seeded(1, &Device::flex()).unwrap();
    let fit = |train: &ImageSet| {
        let model_config = tiny_run(1).model;
        Detector::fit(&model, model_config, train, &corners(20, 1), config(), Progress::Hidden).unwrap_err()
    };
    let set = corners(40, 0);
    let lefts: Vec<usize> = (0..80).step_by(2).collect();
    let lonely = set.subset(&[&lefts[..], &[1]].concat()).unwrap(); // 40 left, one right
    match fit(&lonely) {
        DetectorError::Class { name, source: InferError::TooFewSamples { count: 1, .. } } => {
            assert_eq!(name, "right");
        }
        other => panic!("{other:?}"),
    }
    let alike = set.subset(&[&lefts[..], &[1; 40]].concat()).unwrap();
    match fit(&alike) {
        DetectorError::Class { name, source: InferError::NoSpread { count: 40, .. } } => {
            assert_eq!(name, "right");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_could_not_be_fitted_after_training_is_refused_before() {
    let held_out = corners(20, 1);
    let check = |images: &ImageSet, gaussians, dim| {
        DetectorConfig::new().with_gaussians(gaussians).check_images(images, &held_out, dim)
    };
    let (own, tied) = (MahalanobisConfig::new(), MahalanobisConfig::new().with_covariance(Covariance::Tied));

    // Fewer images than dimensions, and hardly a ridge.
    let few = corners(20, 0);
    match check(&few, own, 128) {
        Err(DetectorError::Class { name, source }) => {
            assert!(matches!(source, InferError::RankDeficient { count: 20, dim: 128, .. }), "{source}");
            assert_eq!(name, "left");
        }
        other => panic!("{other:?}"),
    }
    match check(&few, tied, 128) {
        Err(DetectorError::Infer(InferError::RankDeficient { count: 40, needed, .. })) => {
            assert!(check(&few, tied.with_ridge(needed), 128).is_ok());
        }
        other => panic!("{other:?}"),
    }
    assert!(check(&few, own, 19).is_ok() && check(&few, tied, 38).is_ok(), "no more dimensions than freedom");
    assert!(check(&few, tied, 39).is_err());
    assert!(check(&few, own.with_normalize(false), 128).is_ok(), "for the fit to say");

    // As many images as classes leave nothing to measure a common covariance by.
    let alone = few.take(2);
    match check(&alone, tied.with_ridge(1.0), 8) {
        Err(DetectorError::Infer(InferError::TooFewSamples { count: 2, needed: 3, .. })) => {}
        other => panic!("{other:?}"),
    }
    assert!(check(&few.take(3), tied.with_ridge(1.0), 8).is_ok());
}

#[test]
fn a_ridge_that_passes_the_check_is_enough_for_the_fit() {
    let model_config = tiny_run(1).model.with_projection_dim(24);
    let model = model_config.try_init_seeded(1, &Device::flex()).unwrap();
    let (train, held_out) = (corners(5, 0), corners(20, 1));
    for covariance in [Covariance::PerClass, Covariance::Tied] {
        let with_ridge = |ridge| {
            let gaussians = MahalanobisConfig::new().with_covariance(covariance).with_ridge(ridge);
            DetectorConfig::new().with_gaussians(gaussians)
        };
        let needed = match with_ridge(0.0).check_images(&train, &held_out, 24) {
            Err(DetectorError::Class { source: InferError::RankDeficient { needed, .. }, .. })
            | Err(DetectorError::Infer(InferError::RankDeficient { needed, .. })) => needed,
            other => panic!("{other:?}"),
        };
        let config = with_ridge(needed);
        config.check_images(&train, &held_out, 24).unwrap();
        Detector::fit(&model, model_config.clone(), &train, &held_out, config, Progress::Hidden).unwrap();
    }
}

#[test]
fn settings_of_another_network_are_refused() {
    let model = tiny_run(1).model.try_init_seeded(1, &Device::flex()).unwrap();
    let (train, held_out) = (corners(40, 0), corners(20, 1));
    let other = tiny_run(1).model.with_hidden(9);
    let result = Detector::fit(&model, other, &train, &held_out, config(), Progress::Hidden);
    assert!(matches!(result, Err(DetectorError::Config { setting: "model_config", .. })), "{result:?}");
}

/// The promise on real scores: those of 400 normal images under a trained network, split again and again into
/// calibration images and new ones.
#[test]
fn false_alarms_on_real_scores_keep_the_promise() {
    let scores: Vec<f64> =
        detector(config()).detect_set(&corners(200, 9)).unwrap().iter().map(|found| found.score).collect();
    let (splits, calibration) = (500, 99);
    let mut state = 1u64;
    for alpha in [0.05, 0.2] {
        let mut alarms = 0;
        for _ in 0..splits {
            let mut shuffled = scores.clone();
            for i in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                shuffled.swap(i, (state >> 33) as usize % (i + 1));
            }
            let (held_out, new) = shuffled.split_at(calibration);
            let promise = Calibration::new(held_out.to_vec()).unwrap();
            alarms += new.iter().filter(|&&score| promise.p_value(score) <= alpha).count();
        }
        let rate = alarms as f64 / (splits * (scores.len() - calibration)) as f64;
        // The rate of one split is Beta-Binomial of mean alpha (scores without ties); 500 of them are averaged.
        let spread = (alpha * (1.0 - alpha) * (1.0 / 100.0 + 1.0 / 301.0) / splits as f64).sqrt();
        assert!((rate - alpha).abs() < 4.0 * spread, "{rate} at level {alpha}");
    }
}

#[test]
fn evaluation_has_a_row_for_each_way_of_scoring() {
    let detector = detector(config());
    let (test, other) = (corners(20, 4), corners(20, 5));
    let (model, scorer) = (detector.model(), detector.scorer());
    let evaluation =
        evaluate(model, scorer, test.class_names(), &test, &[("itself", &other)], 7, Progress::Hidden)
            .unwrap();
    assert_eq!(evaluation.rows.len(), 1 + 4 + 4);
    let row = evaluation.row(TestTimeViews::RotationsAndFlips, Aggregation::WeightedAverage).unwrap();
    // The same scores as the detector's, whose defaults are those of this row.
    let found = detector.detect_set(&test).unwrap();
    let right = found.iter().zip(test.labels()).filter(|(found, label)| found.label == **label).count();
    assert_eq!(row.accuracy, Some(right as f64 / 40.0));
    let auroc = row.ood[0].metrics.auroc;
    assert!((0.3..0.7).contains(&auroc), "a set drawn alike cannot be told apart, yet its AUROC is {auroc}");
    assert!(evaluation.to_string().contains("itself AUROC / FPR95"));
}
