//! Scores against distances solved for in f64, one at a time.

mod common;

use burn::tensor::Device;
use common::{covariance, embeddings, fit, numbers, small, uniform};
use mcl_infer::{
    Aggregation, Covariance, Distance, InferError, MahalanobisConfig, MahalanobisRecord, MahalanobisScorer,
};
use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// `-d²` of each image, view and class, by solving Σ y = x - μ.
fn squared(record: &MahalanobisRecord, embeddings: &[f32], view_aux: &[usize]) -> Vec<f64> {
    let &MahalanobisRecord { classes, aux_classes, dim, .. } = record;
    let mut scores = Vec::new();
    for (i, embedding) in embeddings.chunks(dim).enumerate() {
        let mut x = DVector::from_iterator(dim, embedding.iter().map(|&x| f64::from(x)));
        if record.config.normalize {
            x.normalize_mut();
        }
        for class in 0..classes {
            let cluster = class * aux_classes + view_aux[i % view_aux.len()];
            let mean = DVector::from_column_slice(&record.means[cluster * dim..][..dim]);
            let aux = view_aux[i % view_aux.len()];
            let covariance = DMatrix::from_row_slice(dim, dim, covariance(record, class, aux));
            let delta = &x - mean;
            let solved = covariance.lu().solve(&delta).unwrap();
            scores.push(-delta.dot(&solved));
        }
    }
    scores
}

fn assert_scores(scorer: &MahalanobisScorer, values: &[f32], view_aux: &[usize]) {
    let scores = scorer.score(embeddings(values, view_aux.len(), scorer.dim()), view_aux).unwrap();
    let images = values.len() / (view_aux.len() * scorer.dim());
    assert_eq!(scores.dims(), [images, view_aux.len(), scorer.classes()]);
    for (actual, squared) in numbers(scores).into_iter().zip(squared(scorer.record(), values, view_aux)) {
        let expected = match scorer.config().distance {
            Distance::Squared => squared,
            Distance::Root => -(-squared).sqrt(),
            other => panic!("no reference for {other:?}"),
        };
        let error = (f64::from(actual) - expected).abs();
        assert!(error <= 1e-4 * expected.abs(), "{actual} for {expected}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_shape(
        seed: u64,
        (classes, aux_classes, dim) in (1usize..5, 1usize..4, 2usize..9),
        images in 1usize..6,
        view_aux in prop::collection::vec(0usize..3, 1..6),
        normalize: bool,
        root: bool,
        tied: bool,
    ) {
        let config = MahalanobisConfig::new()
            .with_normalize(normalize)
            .with_distance(if root { Distance::Root } else { Distance::Squared })
            .with_covariance(if tied { Covariance::Tied } else { Covariance::PerClass });
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let scorer = fit(&config, [classes, aux_classes, dim], 3 * dim, |_, _| uniform(rng, dim));
        let view_aux: Vec<usize> = view_aux.into_iter().map(|aux| aux % aux_classes).collect();
        assert_scores(&scorer, &uniform(rng, images * view_aux.len() * dim), &view_aux);
    }
}

/// What training makes: tight clusters on the unit sphere whose variance lies in few directions, the rest
/// down to the ridge. Whitening stretches those directions by up to 30,000.
#[test]
fn collapsed_clusters_keep_four_digits() {
    let dim = 32;
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    let centres: Vec<Vec<f32>> = (0..8).map(|_| uniform(rng, dim)).collect();
    let mut sample = |class: usize, aux: usize, spread: f32| -> Vec<f32> {
        let noise = uniform(rng, dim);
        let decay = |i: usize| spread * 0.5f32.powi(i as i32);
        centres[class * 2 + aux].iter().zip(noise).enumerate().map(|(i, (c, n))| c + n * decay(i)).collect()
    };
    for covariance in [Covariance::PerClass, Covariance::Tied] {
        let config = MahalanobisConfig::new().with_covariance(covariance);
        let scorer = fit(&config, [4, 2, dim], 100, |class, aux| sample(class, aux, 0.3));
        let near: Vec<f32> = (0..64).flat_map(|i| sample(i % 4, i % 2, 0.3)).collect();
        assert_scores(&scorer, &near, &[0, 1]);
        let far: Vec<f32> = (0..64).flat_map(|i| sample(i % 4, i % 2, 3.0)).collect();
        assert_scores(&scorer, &far, &[0, 1]);
    }
}

/// Raw features whose mean is large against their spread: the rounding of the mean must not show.
#[test]
fn far_means_keep_four_digits() {
    let dim = 6;
    let rng = &mut ChaCha8Rng::seed_from_u64(4);
    let config = MahalanobisConfig::new().with_normalize(false);
    let mut sample = || uniform(rng, dim).into_iter().map(|x| 1000.1 + 0.05 * x).collect::<Vec<f32>>();
    let scorer = fit(&config, [3, 1, dim], 50, |_, _| sample());
    let queries: Vec<f32> = (0..50).flat_map(|_| sample()).collect();
    assert_scores(&scorer, &queries, &[0]);
}

/// More images than go through the device at once.
#[test]
fn chunks_are_seamless() {
    let (classes, dim) = (64, 128);
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    let config = MahalanobisConfig::new().with_ridge(0.1);
    let scorer = fit(&config, [classes, 1, dim], 3, |_, _| uniform(rng, dim));
    let values = uniform(rng, 1500 * dim);
    let whole = numbers(scorer.score(embeddings(&values, 1, dim), &[0]).unwrap());
    for images in [0..1, 300..700, 1499..1500] {
        let part = embeddings(&values[images.start * dim..images.end * dim], 1, dim);
        let part = numbers(scorer.score(part, &[0]).unwrap());
        for (part, whole) in part.iter().zip(&whole[images.start * classes..]) {
            assert!((part - whole).abs() <= 1e-5 * whole.abs(), "{part} for {whole}");
        }
    }
}

/// Scale cannot matter when normalising, and cannot make NaN when not.
#[test]
fn embeddings_of_any_scale() {
    let rng = &mut ChaCha8Rng::seed_from_u64(9);
    let values = uniform(rng, 5 * 3);
    let scaled = |scale: f32| embeddings(&values.iter().map(|x| x * scale).collect::<Vec<_>>(), 1, 3);

    let scorer = small(true);
    let one = numbers(scorer.score(scaled(1.0), &[0]).unwrap());
    for scale in [1e-30, 1e-37, 1e30, f32::MAX] {
        for (score, one) in numbers(scorer.score(scaled(scale), &[0]).unwrap()).iter().zip(&one) {
            assert!((score - one).abs() <= 1e-4 * one.abs(), "{score} for {one} at scale {scale}");
        }
    }

    // Tight clusters: whitening multiplies by thousands, and sums of both signs.
    for (distance, farthest) in [(Distance::Squared, -f32::MAX), (Distance::Root, -f32::MAX.sqrt())] {
        let config = MahalanobisConfig::new().with_normalize(false).with_distance(distance);
        let scorer =
            fit(&config, [2, 2, 3], 9, |_, _| uniform(rng, 3).into_iter().map(|x| x * 1e-3).collect());
        for scale in [1e-45, 1e15, 1e19, 1e25, f32::MAX] {
            let scores = scorer.score(scaled(scale), &[0]).unwrap();
            for &aggregation in Aggregation::ALL {
                let score = numbers(aggregation.apply(scores.clone()).score);
                assert!(
                    score.iter().all(|score| score.is_finite()),
                    "{score:?} from {aggregation:?} at scale {scale}"
                );
            }
            let scores = numbers(scores);
            assert!(scores.iter().all(|&score| score >= farthest), "{scores:?} at scale {scale}");
            assert_eq!(scores.contains(&farthest), scale >= 1e19, "{scores:?} at scale {scale}");
        }
    }
}

/// Raw features far from the scale of 1: their Gaussians work, or are refused before anything is scored
/// wrongly.
#[test]
fn features_of_any_scale() {
    let config = MahalanobisConfig::new().with_normalize(false).with_ridge(0.0);
    for (scale, sound) in [(1e-20, false), (1e-13, true), (1.0, true), (1e13, true), (1e20, false)] {
        let rng = &mut ChaCha8Rng::seed_from_u64(3);
        let mut statistics = config.statistics(1, 1, 3);
        for _ in 0..20 {
            let features: Vec<f32> = uniform(rng, 3).iter().map(|x| x * scale).collect();
            statistics.update(&features, &[0], &[0]).unwrap();
        }
        let scorer = statistics.fit(&config, &Device::flex());
        if !sound {
            let error = scorer.unwrap_err();
            assert!(matches!(error, InferError::ScaleOutOfRange { .. }), "{error} at scale {scale}");
            continue;
        }
        let scorer = scorer.unwrap();
        let scores = [1.0, 10.0, 100.0]
            .map(|far| numbers(scorer.score(embeddings(&[far * scale; 3], 1, 3), &[0]).unwrap())[0]);
        assert!(
            scores[0].is_finite() && scores[0] > scores[1] && scores[1] > scores[2],
            "{scores:?} at {scale}"
        );
    }
}
