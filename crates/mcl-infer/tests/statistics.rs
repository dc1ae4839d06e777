//! Streaming statistics against two passes over all samples, their merging, storage and refusals.

use burn::tensor::Device;
use mcl_infer::{Covariance, GaussianStatistics, InferError, MahalanobisConfig, MahalanobisRecord};
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

    /// From one scatter for each cluster, and from one for each auxiliary class.
    #[test]
    fn tied_pools_the_classes_of_a_rotation(seed: u64, dim in 2usize..6, cut in 0.0..1.0f64, merge: bool) {
        let samples = Samples::random(seed, dim, 0.0);
        let config = MahalanobisConfig::new().with_covariance(Covariance::Tied).with_ridge(0.25);
        let cut = (cut * samples.rows() as f64) as usize;
        for empty in [GaussianStatistics::new(CLASSES, AUX, dim), config.statistics(CLASSES, AUX, dim)] {
            let mut statistics = empty.clone();
            samples.count(&mut statistics, 0..cut);
            if merge {
                let mut rest = empty;
                samples.count(&mut rest, cut..samples.rows());
                statistics.merge(&rest).unwrap();
            } else {
                samples.count(&mut statistics, cut..samples.rows());
            }
            let record = fit(&statistics, &config);
            assert_eq!(record.covariances.len(), AUX * dim * dim);
            for aux in 0..AUX {
                let of_class = [0, 1].map(|class| samples.moments(class, aux, true));
                let freedom = (of_class[0].2 + of_class[1].2 - CLASSES) as f64;
                let pooled: Vec<f64> = (0..dim * dim)
                    .map(|i| {
                        let ridge = if i / dim == i % dim { 0.25 } else { 0.0 };
                        (of_class[0].1[i] + of_class[1].1[i]) / freedom + ridge
                    })
                    .collect();
                assert_close(&record.covariances[aux * dim * dim..][..dim * dim], &pooled, 1e-12)?;
                for (class, (mean, _, count)) in of_class.iter().enumerate() {
                    let cluster = class * AUX + aux;
                    prop_assert_eq!(statistics.counts()[cluster], *count as u64);
                    assert_close(&record.means[cluster * dim..][..dim], mean, 1e-12)?;
                }
            }
        }
    }
}

/// More rows of an auxiliary class than one matrix product takes, and few of each class.
#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (classes, aux_classes, dim, rows) = (500, 2, 8, 10_000);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let features: Vec<f32> = (0..rows * dim).map(|_| rng.random_range(-1.0f32..1.0)).collect();
    let class: Vec<usize> = (0..rows).map(|i| i % classes).collect();
    let aux: Vec<usize> = (0..rows).map(|i| i / classes % aux_classes).collect();
    for covariance in [Covariance::PerClass, Covariance::Tied] {
        let config = MahalanobisConfig::new().with_covariance(covariance).with_ridge(0.1);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut statistics = config.statistics(classes, aux_classes, dim);
                for part in [0..9000, 9000..rows] {
                    let features = &features[part.start * dim..part.end * dim];
                    statistics.update(features, &class[part.clone()], &aux[part]).unwrap();
                }
                let mut doubled = statistics.clone();
                doubled.merge(&statistics).unwrap();
                let fits = [&statistics, &doubled].map(|statistics| fit(statistics, &config));
                (statistics, doubled, fits)
            })
        };
        assert_eq!(on(1), on(3), "{covariance:?}");
    }
}

#[test]
fn tied_statistics_hold_one_scatter_for_each_auxiliary_class() {
    let tied = MahalanobisConfig::new().with_covariance(Covariance::Tied);
    let stored = serde_json::to_value(tied.statistics(50, 4, 3)).unwrap();
    assert_eq!(stored["scatters"].as_array().unwrap().len(), 4 * 3 * 3);
    assert_eq!(stored["means"].as_array().unwrap().len(), 50 * 4 * 3);

    let samples = Samples::random(3, 4, 0.0);
    let mut statistics = tied.statistics(CLASSES, AUX, 4);
    assert!(statistics.is_tied() && !GaussianStatistics::new(CLASSES, AUX, 4).is_tied());
    samples.count(&mut statistics, 0..samples.rows());
    let error = statistics.fit(&MahalanobisConfig::new(), &Device::flex()).unwrap_err();
    assert_eq!(error, InferError::OnlyTied);
    // A single class has its covariance to itself.
    let mut single = tied.statistics(1, 1, 2);
    single.update(&[1.0, 0.0, 0.0, 1.0, 0.5, -0.5], &[0; 3], &[0; 3]).unwrap();
    single.fit(&MahalanobisConfig::new(), &Device::flex()).unwrap();
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

/// The form of version 0.1.0.
#[test]
fn statistics_of_earlier_versions_are_read() {
    let stored: serde_json::Value = serde_json::from_str(include_str!("golden/stored.json")).unwrap();
    let statistics: GaussianStatistics = serde_json::from_value(stored["statistics"].clone()).unwrap();
    assert_eq!(serde_json::to_value(&statistics).unwrap(), stored["statistics"]);
    for covariance in ["per_class", "tied"] {
        let record: MahalanobisRecord = serde_json::from_value(stored[covariance]["record"].clone()).unwrap();
        let fitted = fit(&statistics, &record.config);
        assert_eq!(fitted.means, record.means);
        assert_eq!(fitted.covariances[..], record.covariances[..fitted.covariances.len()], "{covariance}");
    }
}

#[test]
fn nothing_has_no_mean_and_no_scatter() {
    for covariance in [Covariance::PerClass, Covariance::Tied] {
        let config = MahalanobisConfig::new().with_covariance(covariance);
        let mut statistics = config.statistics(2, 2, 2);
        statistics.update(&[1.0, 0.0, 0.0, 1.0], &[0, 1], &[0, 0]).unwrap();
        let good = serde_json::to_value(&statistics).unwrap();
        assert_eq!(serde_json::from_value::<GaussianStatistics>(good.clone()).unwrap(), statistics);
        // The last of the means and the last of the scatters are of auxiliary class 1, which has no samples.
        for (field, index) in [("means", 7), ("scatters", good["scatters"].as_array().unwrap().len() - 1)] {
            let mut bad = good.clone();
            bad[field][index] = 0.5.into();
            let error = serde_json::from_value::<GaussianStatistics>(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("stored {field} of")) && error.contains("no samples"), "{error}");
        }
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
