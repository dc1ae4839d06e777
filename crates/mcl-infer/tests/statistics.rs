//! Streaming statistics against two passes over all samples, their merging, storage and refusals.

use burn::tensor::Device;
use mcl_infer::{Cluster, Covariance, GaussianStatistics, InferError, MahalanobisConfig, MahalanobisRecord};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CLASSES: usize = 2;
const AUX: usize = 3;

struct Samples {
    dim: usize,
    features: Vec<f32>,
    class: Vec<usize>,
    aux: Vec<usize>,
}

impl Samples {
    /// Every (class, auxiliary class) gets more samples than `dim`, around a mean of size `offset`.
    fn random(seed: u64, dim: usize, offset: f32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rows = CLASSES * AUX * (dim + 3) + rng.random_range(0..20);
        let features = (0..rows * dim).map(|_| offset + rng.random_range(-1.0f32..1.0)).collect();
        let cluster: Vec<usize> = (0..rows)
            .map(|i| if i < CLASSES * AUX * (dim + 3) { i } else { rng.random_range(0..6) })
            .collect();
        let class = cluster.iter().map(|i| i % (CLASSES * AUX) / AUX).collect();
        let aux = cluster.iter().map(|i| i % AUX).collect();
        Self { dim, features, class, aux }
    }

    fn rows(&self) -> usize {
        self.class.len()
    }

    fn count(&self, statistics: &mut GaussianStatistics, rows: std::ops::Range<usize>) {
        let features = &self.features[rows.start * self.dim..rows.end * self.dim];
        statistics.update(features, &self.class[rows.clone()], &self.aux[rows]).unwrap();
    }

    /// Mean and covariance of one cluster, by two plain passes.
    fn moments(&self, class: usize, aux: usize, normalize: bool) -> (Vec<f64>, Vec<f64>, usize) {
        let dim = self.dim;
        let rows: Vec<Vec<f64>> = (0..self.rows())
            .filter(|&i| self.class[i] == class && self.aux[i] == aux)
            .map(|i| {
                let row: Vec<f64> = self.features[i * dim..][..dim].iter().map(|&x| x.into()).collect();
                let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                row.iter().map(|x| if normalize { x / norm } else { *x }).collect()
            })
            .collect();
        let n = rows.len() as f64;
        let mean: Vec<f64> = (0..dim).map(|j| rows.iter().map(|row| row[j]).sum::<f64>() / n).collect();
        let scatter =
            |j: usize, k: usize| rows.iter().map(|row| (row[j] - mean[j]) * (row[k] - mean[k])).sum::<f64>();
        let scatter = (0..dim * dim).map(|i| scatter(i / dim, i % dim)).collect();
        (mean, scatter, rows.len())
    }
}

fn fit(statistics: &GaussianStatistics, config: &MahalanobisConfig) -> MahalanobisRecord {
    statistics.fit(config, &Device::flex()).unwrap().record().clone()
}

fn assert_close(actual: &[f64], expected: &[f64], tolerance: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(expected) {
        prop_assert!((actual - expected).abs() <= tolerance, "{} for {}", actual, expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_pass_equals_two(
        seed: u64,
        dim in 1usize..7,
        normalize: bool,
        offset in prop_oneof![Just(0.0f32), Just(1000.0)],
        shards in prop::collection::vec(0.0..1.0f64, 0..5),
    ) {
        let samples = Samples::random(seed, dim, offset);
        // Unit vectors in one dimension have no spread.
        let normalize = normalize && dim > 1 && offset == 0.0;
        let config = MahalanobisConfig::new().with_normalize(normalize);

        // Cut anywhere, into any number of shards, some fed at once and some row by row.
        let mut cuts: Vec<usize> = shards.iter().map(|cut| (cut * samples.rows() as f64) as usize).collect();
        cuts.extend([0, samples.rows()]);
        cuts.sort_unstable();
        let mut merged = config.statistics(CLASSES, AUX, dim);
        for (i, cut) in cuts.windows(2).enumerate() {
            let mut shard = config.statistics(CLASSES, AUX, dim);
            if i % 2 == 0 {
                samples.count(&mut shard, cut[0]..cut[1]);
            } else {
                (cut[0]..cut[1]).for_each(|row| samples.count(&mut shard, row..row + 1));
            }
            merged.merge(&shard).unwrap();
        }

        let record = fit(&merged, &config);
        for class in 0..CLASSES {
            for aux in 0..AUX {
                let (mean, mut covariance, count) = samples.moments(class, aux, normalize);
                for (i, entry) in covariance.iter_mut().enumerate() {
                    *entry /= (count - 1) as f64;
                    *entry += if i / dim == i % dim { config.ridge } else { 0.0 };
                }
                let cluster = class * AUX + aux;
                prop_assert_eq!(merged.counts()[cluster], count as u64);
                assert_close(&record.means[cluster * dim..][..dim], &mean, 1e-12 * f64::from(offset.max(1.0)))?;
                let size = dim * dim;
                assert_close(&record.covariances[cluster * size..][..size], &covariance, 1e-11)?;
            }
        }
    }

    #[test]
    fn tied_pools_the_classes_of_a_rotation(seed: u64, dim in 2usize..6) {
        let samples = Samples::random(seed, dim, 0.0);
        let config = MahalanobisConfig::new().with_covariance(Covariance::Tied).with_ridge(0.25);
        let mut statistics = GaussianStatistics::new(CLASSES, AUX, dim);
        samples.count(&mut statistics, 0..samples.rows());
        let record = fit(&statistics, &config);
        for aux in 0..AUX {
            let of_class = [0, 1].map(|class| samples.moments(class, aux, true));
            let freedom = (of_class[0].2 + of_class[1].2 - CLASSES) as f64;
            let pooled: Vec<f64> = (0..dim * dim)
                .map(|i| {
                    let ridge = if i / dim == i % dim { 0.25 } else { 0.0 };
                    (of_class[0].1[i] + of_class[1].1[i]) / freedom + ridge
                })
                .collect();
            for (class, (mean, _, _)) in of_class.iter().enumerate() {
                let cluster = class * AUX + aux;
                assert_close(&record.means[cluster * dim..][..dim], mean, 1e-12)?;
                assert_close(&record.covariances[cluster * dim * dim..][..dim * dim], &pooled, 1e-12)?;
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let samples = Samples::random(2, 24, 0.0);
    let count = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut statistics = GaussianStatistics::new(CLASSES, AUX, 24);
        pool.install(|| samples.count(&mut statistics, 0..samples.rows()));
        statistics
    };
    assert_eq!(count(1), count(3));
}

#[test]
fn stored_statistics_are_the_same_to_the_last_bit() {
    let samples = Samples::random(1, 4, 0.0);
    let mut statistics = GaussianStatistics::new(CLASSES, AUX, 4);
    samples.count(&mut statistics, 0..samples.rows());
    let json = serde_json::to_string(&statistics).unwrap();
    assert_eq!(serde_json::from_str::<GaussianStatistics>(&json).unwrap(), statistics);

    for (from, to, message) in [
        (r#""dim":4"#, r#""dim":5"#, "stored means hold 24 values instead of 30"),
        (r#""classes":2"#, r#""classes":3"#, "stored counts hold 6 values instead of 9"),
        (r#""aux_classes":3"#, r#""aux_classes":18446744073709551615"#, "stored counts hold 6 values"),
        (r#""counts":["#, r#""counts":[1844674407370955"#, "stored counts hold 18446744073709"),
    ] {
        let damaged = json.replacen(from, to, 1);
        let error = serde_json::from_str::<GaussianStatistics>(&damaged).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn bad_rows_are_named_and_nothing_is_counted() {
    let mut statistics = GaussianStatistics::new(2, 2, 2);
    statistics.update(&[1.0, 2.0], &[1], &[1]).unwrap();
    let before = statistics.clone();

    let good = [1.0, 2.0];
    let mut refused = |features: &[f32], class: &[usize], aux: &[usize]| {
        let error = statistics.update(&[&good[..], features].concat(), class, aux).unwrap_err();
        assert_eq!(statistics, before);
        error
    };
    assert_eq!(refused(&[1.0, 1.0], &[0, 1], &[0]), InferError::LabelCount { class: 2, aux: 1 });
    assert_eq!(refused(&[1.0], &[0, 1], &[0, 1]), InferError::FeatureCount { rows: 2, dim: 2, found: 3 });
    assert_eq!(
        refused(&[1.0, 1.0], &[0, 2], &[0, 1]),
        InferError::ClassOutOfRange { row: 1, class: 2, classes: 2 }
    );
    assert_eq!(
        refused(&[1.0, 1.0], &[0, 1], &[0, 7]),
        InferError::AuxOutOfRange { row: 1, aux: 7, aux_classes: 2 }
    );
    assert_eq!(refused(&[0.0, -0.0], &[0, 1], &[0, 1]), InferError::ZeroFeature { row: 1, class: 1, aux: 1 });
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = refused(&[1.0, value], &[0, 1], &[0, 1]).to_string();
        assert!(
            error.contains(&format!("row 1 (class 1, auxiliary class 1) holds {value} at position 1")),
            "{error}"
        );
    }
}

#[test]
fn raw_features_may_be_zero_and_of_any_scale() {
    let config = MahalanobisConfig::new().with_normalize(false);
    let mut raw = config.statistics(1, 1, 2);
    raw.update(&[0.0, 0.0, 1.0, 0.0, 0.0, 1.0], &[0; 3], &[0; 3]).unwrap();
    raw.fit(&config, &Device::flex()).unwrap();

    // Normalised, the scale of a row does not matter, down to subnormals and up to the largest f32.
    let fit = |scale: f32| {
        let mut statistics = GaussianStatistics::new(1, 1, 2);
        let features: Vec<f32> = [1.0, 0.0, 0.5, 0.5, 0.0, 1.0, 0.25, -0.5].map(|x: f32| x * scale).into();
        statistics.update(&features, &[0; 4], &[0; 4]).unwrap();
        fit(&statistics, &MahalanobisConfig::new())
    };
    let one = fit(1.0);
    for scale in [f32::MIN_POSITIVE / 1024.0, f32::MAX] {
        assert_close(&fit(scale).covariances, &one.covariances, 1e-14).unwrap();
    }
}

#[test]
fn merging_needs_the_same_shape() {
    let mut statistics = GaussianStatistics::new(2, 2, 2);
    let raw = MahalanobisConfig::new().with_normalize(false);
    for (other, what) in [
        (GaussianStatistics::new(3, 2, 2), "number of classes of 3"),
        (GaussianStatistics::new(2, 1, 2), "number of auxiliary classes of 1"),
        (GaussianStatistics::new(2, 2, 4), "dimension 4"),
        (raw.statistics(2, 2, 2), "normalize (0 = off, 1 = on) of 0"),
    ] {
        let error = statistics.merge(&other).unwrap_err();
        assert!(matches!(error, InferError::Unmergeable { .. }));
        assert!(error.to_string().contains(what), "{error}");
    }
}

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
