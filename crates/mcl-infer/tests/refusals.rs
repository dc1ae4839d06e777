//! Statistics from which no Gaussian can be fitted, and what the error says.

use burn::tensor::Device;
use mcl_infer::{Cluster, Covariance, GaussianStatistics, InferError, MahalanobisConfig};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Two classes of two rotations; the last, class 1 of rotation 1, holds `last`.
fn fit_with_last(last: &[[f32; 3]], config: &MahalanobisConfig) -> Result<(), InferError> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut statistics = config.statistics(2, 2, 3);
    for (class, aux) in [(0, 0), (0, 1), (1, 0)] {
        let features: Vec<f32> = (0..30).map(|_| rng.random_range(-1.0f32..1.0)).collect();
        statistics.update(&features, &[class; 10], &[aux; 10]).unwrap();
    }
    statistics.update(last.as_flattened(), &vec![1; last.len()], &vec![1; last.len()]).unwrap();
    statistics.fit(config, &Device::flex()).map(drop)
}

#[test]
fn too_few_samples_for_a_covariance() {
    let config = MahalanobisConfig::new();
    let cluster = Cluster { class: Some(1), aux: 1 };
    for count in [0, 1] {
        let error = fit_with_last(&vec![[1.0, 2.0, 3.0]; count], &config).unwrap_err();
        assert_eq!(error, InferError::TooFewSamples { cluster, count: count as u64, needed: 2 });
        assert!(error.to_string().contains("class 1, auxiliary class 1 has"), "{error}");
    }

    // Three samples span two of three dimensions: a ridge has to be large enough to be meant.
    let three = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let error = fit_with_last(&three, &config).unwrap_err();
    assert!(matches!(error, InferError::RankDeficient { count: 3, dim: 3, .. }), "{error}");
    assert!(error.to_string().contains("class 1, auxiliary class 1: 3 samples"), "{error}");
    fit_with_last(&three, &config.with_ridge(1e-3)).unwrap();
    assert!(error.to_string().contains("Covariance::Tied"), "{error}");

    // Tied, one sample a class is enough, and none is not.
    let tied = config.with_covariance(Covariance::Tied);
    fit_with_last(&three[..1], &tied).unwrap();
    let error = fit_with_last(&[], &tied).unwrap_err();
    assert_eq!(error, InferError::TooFewSamples { cluster, count: 0, needed: 1 });
}

#[test]
fn tied_needs_a_sample_to_spare() {
    let config = MahalanobisConfig::new().with_covariance(Covariance::Tied).with_ridge(0.1);
    let mut statistics = config.statistics(2, 1, 2);
    statistics.update(&[1.0, 0.0, 0.0, 1.0], &[0, 1], &[0, 0]).unwrap();
    let error = statistics.fit(&config, &Device::flex()).unwrap_err();
    let cluster = Cluster { class: None, aux: 0 };
    assert_eq!(error, InferError::TooFewSamples { cluster, count: 2, needed: 3 });
    assert!(error.to_string().contains("auxiliary class 0 (all its classes pooled)"), "{error}");
}

/// Two samples spread in one direction of 128: their variance there is what a ridge is measured by.
#[test]
fn few_samples_near_each_other_need_a_ridge_too() {
    let mut features = [0.0f32; 2 * 128];
    (features[0], features[128], features[129]) = (1.0, 0.9, 0.19f32.sqrt()); // cosine 0.9
    for covariance in [Covariance::PerClass, Covariance::Tied] {
        let config = MahalanobisConfig::new().with_covariance(covariance);
        let mut statistics = config.statistics(1, 1, 128);
        statistics.update(&features, &[0; 2], &[0; 2]).unwrap();
        let fit = |ridge| statistics.fit(&config.with_ridge(ridge), &Device::flex());
        let Err(error @ InferError::RankDeficient { needed, .. }) = fit(1e-9) else { panic!("a fit") };
        assert!((needed - 1e-7).abs() < 1e-12, "{needed}");
        // Who shares a covariance already is not told to.
        assert_eq!(error.to_string().contains("Covariance::Tied"), covariance == Covariance::PerClass);
        fit(1e-6).unwrap();
    }
}

#[test]
fn equal_samples_have_no_spread() {
    let error = fit_with_last(&[[0.1, 0.2, 0.3]; 9], &MahalanobisConfig::new().with_ridge(0.1)).unwrap_err();
    assert_eq!(error, InferError::NoSpread { cluster: Cluster { class: Some(1), aux: 1 }, count: 9 });
}

#[test]
fn flat_covariance_is_not_positive_definite() {
    // Enough samples, but all in one plane, and no ridge.
    let flat: Vec<[f32; 3]> = (0..9).map(|i| [(i as f32).sin(), (i as f32).cos(), 0.0]).collect();
    let error = fit_with_last(&flat, &MahalanobisConfig::new().with_ridge(0.0)).unwrap_err();
    assert_eq!(
        error,
        InferError::NotPositiveDefinite { cluster: Cluster { class: Some(1), aux: 1 }, ridge: 0.0 }
    );
    // The same for a plane that lies across the axes, where rounding leaves pivots of either sign.
    let tilted: Vec<[f32; 3]> = flat.iter().map(|[x, y, _]| [x + y, x - 2.0 * y, 2.0 * x - y]).collect();
    let error =
        fit_with_last(&tilted, &MahalanobisConfig::new().with_ridge(0.0).with_normalize(false)).unwrap_err();
    assert!(matches!(error, InferError::NotPositiveDefinite { .. }), "{error}");
    fit_with_last(&flat, &MahalanobisConfig::new()).unwrap();
}

#[test]
fn configuration_must_make_sense() {
    let statistics = GaussianStatistics::new(1, 1, 2);
    let refused = |config: MahalanobisConfig| statistics.fit(&config, &Device::flex()).unwrap_err();
    let config = MahalanobisConfig::new();
    assert_eq!(
        refused(config.with_normalize(false)),
        InferError::NormalizeMismatch { statistics: true, config: false }
    );
    for ridge in [-1e-9, f64::NAN, f64::INFINITY] {
        assert!(matches!(refused(config.with_ridge(ridge)), InferError::InvalidRidge { .. }));
    }
    for (classes, aux_classes, dim) in [(0, 1, 1), (1, 0, 1), (1, 1, 0)] {
        let error =
            GaussianStatistics::new(classes, aux_classes, dim).fit(&config, &Device::flex()).unwrap_err();
        assert_eq!(error, InferError::Empty { classes, aux_classes, dim });
    }
}
