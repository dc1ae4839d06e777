//! The scorers of logits and features, each against the loop that its paper describes.

mod common;

use burn::tensor::{Device, Tensor};
use common::{embeddings, numbers, uniform};
use mcl_infer::{
    Aggregation, Cluster, Confidence, Covariance, Estimator, InferError, KlMatchingEstimator, LogitScorer,
    MahalanobisConfig, OnClippedFeatures, RelativeMahalanobisConfig, RotationScorer, SampleBatch, Scorer,
    SoftmaxScorer, TestTimeViews, ViewBatch, VimConfig,
};
use nalgebra::DMatrix;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const CLASSES: usize = 3;
const VIEW_AUX: [usize; 3] = [1, 0, 1];

fn close(found: f32, expected: f64) {
    assert!((f64::from(found) - expected).abs() < 1e-4 * expected.abs().max(1.0), "{found} for {expected}");
}

/// Logits of (class, one of two auxiliary classes), up to 5.
fn logits(rng: &mut ChaCha8Rng, rows: usize) -> Vec<f32> {
    uniform(rng, rows * CLASSES * 2).iter().map(|x| 5.0 * x).collect()
}

/// The logits of one row that belong to an auxiliary class.
fn own(logits: &[f32], row: usize, aux: usize) -> Vec<f64> {
    (0..CLASSES).map(|class| f64::from(logits[row * CLASSES * 2 + class * 2 + aux])).collect()
}

fn probabilities(logits: &[f64]) -> Vec<f64> {
    let total: f64 = logits.iter().map(|x| x.exp()).sum();
    logits.iter().map(|x| x.exp() / total).collect()
}

fn log_sum_exp(logits: &[f64]) -> f64 {
    logits.iter().map(|x| x.exp()).sum::<f64>().ln()
}

fn views(logits: &[f32]) -> ViewBatch<'static> {
    let logits = embeddings(logits, VIEW_AUX.len(), CLASSES * 2);
    let [images, views, _] = logits.dims();
    ViewBatch::new(Tensor::zeros([images, views, 1], &Device::flex()), &VIEW_AUX).with_logits(logits)
}

#[test]
fn maximum_logit_and_energy_are_of_the_mean_over_the_views() {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let values = logits(rng, 5 * VIEW_AUX.len());
    let batch = views(&values);
    let scorer = LogitScorer::new(CLASSES, 2);
    let score = |scorer: LogitScorer| {
        scorer.score_aggregated(&batch, &Aggregation::Mean).unwrap().into_host().unwrap()
    };
    let (labels, highest) = score(scorer);
    let (_, energy) = score(scorer.with_confidence(Confidence::LogSumExp));
    for image in 0..5 {
        let of_class = |class: usize| {
            let of_view =
                |(view, &aux): (usize, &usize)| own(&values, image * VIEW_AUX.len() + view, aux)[class];
            VIEW_AUX.iter().enumerate().map(of_view).sum::<f64>() / VIEW_AUX.len() as f64
        };
        let means: Vec<f64> = (0..CLASSES).map(of_class).collect();
        let largest = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(means[labels[image]], largest);
        close(highest[image] as f32, largest);
        close(energy[image] as f32, log_sum_exp(&means));
    }
    let none = ViewBatch::new(Tensor::zeros([1, 3, 1], &Device::flex()), &VIEW_AUX);
    assert_eq!(scorer.score_views(&none).unwrap_err(), InferError::NoLogits);
}

#[test]
fn a_temperature_divides_the_logits() {
    let rng = &mut ChaCha8Rng::seed_from_u64(2);
    let values = logits(rng, 4 * VIEW_AUX.len());
    let halved: Vec<f32> = values.iter().map(|x| x / 2.0).collect();
    let scorer = SoftmaxScorer::new(CLASSES, 2);
    let warm = numbers(scorer.with_temperature(2.0).score_views(&views(&values)).unwrap());
    let expected = numbers(scorer.score_views(&views(&halved)).unwrap());
    warm.iter().zip(&expected).for_each(|(&found, &expected)| close(found, f64::from(expected)));
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = scorer.with_temperature(temperature).score_views(&views(&values)).unwrap_err();
        assert!(matches!(error, InferError::InvalidTemperature { .. }), "{error}");
    }
}

#[test]
fn kl_matching_compares_with_the_mean_probabilities_of_each_predicted_class() {
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    let rows = 60;
    // Class 2 is never predicted in auxiliary class 1.
    let mut samples = logits(rng, rows);
    samples.chunks_mut(CLASSES * 2).for_each(|row| row[2 * 2 + 1] = -6.0);
    let aux: Vec<usize> = (0..rows).map(|row| row % 2).collect();
    let mut estimator = KlMatchingEstimator::new(CLASSES, 2);
    let (class, nothing) = (vec![0; rows], vec![0.0; rows]);
    let error = estimator.update(&SampleBatch::new(&nothing, &class, &aux)).unwrap_err();
    assert_eq!(error, InferError::NoLogits);
    let cluster = Cluster { class: None, aux: 0 };
    assert_eq!(
        estimator.fit(&Device::flex()).unwrap_err(),
        InferError::TooFewSamples { cluster, count: 0, needed: 1 }
    );
    for part in [0..24, 24..rows] {
        let logits = &samples[part.start * CLASSES * 2..part.end * CLASSES * 2];
        let batch = SampleBatch::new(&nothing[part.clone()], &class[part.clone()], &aux[part]);
        estimator.update(&batch.with_logits(logits)).unwrap();
    }
    let scorer = estimator.fit(&Device::flex()).unwrap();

    let values = logits(rng, 4 * VIEW_AUX.len());
    let scores = numbers(scorer.score_views(&views(&values)).unwrap());
    for (i, score) in scores.into_iter().enumerate() {
        let (row, class) = (i / CLASSES, i % CLASSES);
        let view_aux = VIEW_AUX[row % VIEW_AUX.len()];
        let predicted: Vec<Vec<f64>> = (0..rows)
            .filter(|&row| aux[row] == view_aux)
            .map(|row| probabilities(&own(&samples, row, view_aux)))
            .filter(|p| p.iter().all(|&other| p[class] >= other))
            .collect();
        if predicted.is_empty() {
            assert!(score < -1e3, "{score} for a class without samples");
            continue;
        }
        let mean = |k: usize| predicted.iter().map(|p| p[k]).sum::<f64>() / predicted.len() as f64;
        let p = probabilities(&own(&values, row, view_aux));
        close(score, -(0..CLASSES).map(|k| p[k] * (p[k] / mean(k)).ln()).sum::<f64>());
    }
}

#[test]
fn the_virtual_logit_is_the_length_outside_the_principal_subspace() {
    let rng = &mut ChaCha8Rng::seed_from_u64(4);
    let (rows, dim, principal) = (50, 5, 2);
    let aux: Vec<usize> = (0..rows).map(|row| row % 2).collect();
    let class = vec![0; rows];
    let scaled = |rng: &mut ChaCha8Rng, rows: usize| -> Vec<f32> {
        let fall = |(i, x): (usize, f32)| x * [3.0, 2.0, 0.5, 0.3, 0.1][i % dim];
        uniform(rng, rows * dim).into_iter().enumerate().map(fall).collect()
    };
    let (features, samples) = (scaled(rng, rows), logits(rng, rows));
    let config = VimConfig::new().with_principal(principal);
    let mut estimator = config.estimator(CLASSES, 2, dim);
    let nothing = vec![0.0; rows];
    let batch = SampleBatch::new(&nothing, &class, &aux).with_logits(&samples);
    assert_eq!(estimator.update(&batch).unwrap_err(), InferError::NoFeatures);
    estimator.update(&batch.with_features(&features)).unwrap();
    let scorer = estimator.fit(&Device::flex()).unwrap();
    assert_eq!(scorer.columns(), 1);

    let (values, view_features) = (logits(rng, 4 * VIEW_AUX.len()), scaled(rng, 4 * VIEW_AUX.len()));
    let batch = views(&values).with_features(embeddings(&view_features, VIEW_AUX.len(), dim));
    let scores = numbers(scorer.score_views(&batch).unwrap());
    // Outside the subspace: x - P P^T x with the first singular vectors P of the samples.
    let outside = |features: &DMatrix<f64>, x: &[f32]| {
        let svd = features.clone().svd(true, false);
        let p = svd.u.unwrap().columns(0, principal).into_owned();
        let x = DMatrix::from_iterator(dim, 1, x.iter().map(|&x| f64::from(x)));
        (&x - &p * (p.transpose() * &x)).norm()
    };
    for (row, score) in scores.into_iter().enumerate() {
        let view_aux = VIEW_AUX[row % VIEW_AUX.len()];
        let of_aux: Vec<usize> = (0..rows).filter(|&row| aux[row] == view_aux).collect();
        let column = |i: usize, row: usize| f64::from(features[row * dim + i]);
        let matrix = DMatrix::from_fn(dim, of_aux.len(), |i, j| column(i, of_aux[j]));
        let highest =
            |&row: &usize| own(&samples, row, view_aux).into_iter().fold(f64::NEG_INFINITY, f64::max);
        let alpha = of_aux.iter().map(highest).sum::<f64>()
            / of_aux.iter().map(|&row| outside(&matrix, &features[row * dim..][..dim])).sum::<f64>();
        let length = outside(&matrix, &view_features[row * dim..][..dim]);
        close(score, log_sum_exp(&own(&values, row, view_aux)) - alpha * length);
    }
}

#[test]
fn a_subspace_leaves_a_residual() {
    let device = Device::flex();
    for principal in [0, 2, 3] {
        let error = VimConfig::new().with_principal(principal).estimator(2, 1, 2).fit(&device).unwrap_err();
        assert_eq!(error, InferError::InvalidSubspace { principal, dim: 2 });
    }
    let mut estimator = VimConfig::new().estimator(2, 1, 2);
    let flat = SampleBatch::new(&[0.0; 2], &[0, 1], &[0, 0]).with_features(&[1.0, 0.0, 2.0, 0.0]);
    estimator.update(&flat.with_logits(&[1.0, 0.0, 0.0, 1.0])).unwrap();
    let cluster = Cluster { class: None, aux: 0 };
    assert_eq!(estimator.fit(&device).unwrap_err(), InferError::NoSpread { cluster, count: 2 });
}

#[test]
fn relative_distances_are_differences_of_two_fits() {
    let device = Device::flex();
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    let (rows, dim) = (90, 4);
    let class: Vec<usize> = (0..rows).map(|row| row % CLASSES).collect();
    let aux: Vec<usize> = (0..rows).map(|row| row / CLASSES % 2).collect();
    let samples = uniform(rng, rows * dim);
    let queries = embeddings(&uniform(rng, 6 * VIEW_AUX.len() * dim), VIEW_AUX.len(), dim);
    let batch = ViewBatch::new(queries, &VIEW_AUX);
    for covariance in [Covariance::Tied, Covariance::PerClass] {
        let config = MahalanobisConfig::new().with_covariance(covariance).with_ridge(0.01);
        let mut estimator = RelativeMahalanobisConfig::from_gaussians(config).estimator(CLASSES, 2, dim);
        estimator.update(&SampleBatch::new(&samples, &class, &aux)).unwrap();
        let scorer = estimator.fit(&device).unwrap();

        let mut own = config.statistics(CLASSES, 2, dim);
        own.update(&samples, &class, &aux).unwrap();
        let all_config = config.with_covariance(Covariance::PerClass);
        let mut all = all_config.statistics(1, 2, dim);
        all.update(&samples, &vec![0; rows], &aux).unwrap();
        let own = numbers(own.fit(&config, &device).unwrap().score_views(&batch).unwrap());
        let all = numbers(all.fit(&all_config, &device).unwrap().score_views(&batch).unwrap());
        let found = numbers(scorer.score_views(&batch).unwrap());
        assert_eq!((found.len(), scorer.columns()), (6 * VIEW_AUX.len() * CLASSES, CLASSES));
        for (i, score) in found.into_iter().enumerate() {
            close(score, f64::from(own[i]) - f64::from(all[i / CLASSES]));
        }
    }
    let mut estimator = RelativeMahalanobisConfig::new().estimator(CLASSES, 2, dim);
    let error = estimator.update(&SampleBatch::new(&samples, &vec![CLASSES; rows], &aux)).unwrap_err();
    assert!(matches!(error, InferError::ClassOutOfRange { .. }), "{error}");
}

#[test]
fn the_rotation_score_is_the_divergence_and_the_rotations_that_are_known() {
    let rng = &mut ChaCha8Rng::seed_from_u64(8);
    for views in [TestTimeViews::Rotations, TestTimeViews::RotationsAndFlips] {
        let (aux, outputs, images) = (views.aux(), CLASSES + 4, 5);
        let values: Vec<f32> = uniform(rng, images * aux.len() * outputs).iter().map(|x| 5.0 * x).collect();
        let logits = embeddings(&values, aux.len(), outputs);
        let batch =
            ViewBatch::new(Tensor::zeros([images, aux.len(), 1], &Device::flex()), aux).with_logits(logits);
        let scorer = RotationScorer::new(CLASSES, 4);
        assert_eq!(scorer.aggregations(), [Aggregation::Mean]);
        let (labels, scores) =
            scorer.score_aggregated(&batch, &Aggregation::Mean).unwrap().into_host().unwrap();
        for image in 0..images {
            let row = |view: usize| -> Vec<f64> {
                values[(image * aux.len() + view) * outputs..][..outputs]
                    .iter()
                    .map(|&x| f64::from(x))
                    .collect()
            };
            let upright: Vec<Vec<f64>> = (0..aux.len())
                .filter(|&view| aux[view] == 0)
                .map(|view| probabilities(&row(view)[..CLASSES]).iter().map(|p| p.ln()).collect())
                .collect();
            let log_p: Vec<f64> = (0..CLASSES)
                .map(|class| upright.iter().map(|p| p[class]).sum::<f64>() / upright.len() as f64)
                .collect();
            // KL(uniform || p) = -ln classes - mean of ln p
            let divergence = -(CLASSES as f64).ln() - log_p.iter().sum::<f64>() / CLASSES as f64;
            let known =
                (0..aux.len()).map(|view| probabilities(&row(view)[CLASSES..])[aux[view]].ln()).sum::<f64>();
            close(scores[image] as f32, divergence + (CLASSES as f64).ln() + known / aux.len() as f64);
            assert!(log_p.iter().all(|p| *p <= log_p[labels[image]]));
        }
    }
    let aux = TestTimeViews::Rotations.aux();
    let pairs = ViewBatch::new(Tensor::zeros([1, 4, 1], &Device::flex()), aux)
        .with_logits(Tensor::zeros([1, 4, CLASSES * 4], &Device::flex()));
    let error = RotationScorer::new(CLASSES, 4).score_views(&pairs).unwrap_err();
    assert_eq!(error, InferError::LogitCount { expected: CLASSES + 4, found: CLASSES * 4 });
}

#[test]
fn clipped_features_give_other_logits_to_any_scorer() {
    const DIM: usize = 4;
    let rng = &mut ChaCha8Rng::seed_from_u64(9);
    let device = Device::flex();
    let (samples, images) = (40, 6);
    let train = uniform(rng, samples * DIM);
    let test: Vec<f32> = uniform(rng, images * DIM).iter().map(|x| 3.0 * x).collect();
    let (weight, bias) = (uniform(rng, DIM * CLASSES), uniform(rng, CLASSES));
    let tensor = |values: &[f32]| Tensor::<1>::from_floats(values, &device);
    let energy = LogitScorer::new(CLASSES, 1).with_confidence(Confidence::LogSumExp);
    let weights = tensor(&weight).reshape([DIM, CLASSES]);
    let mut estimator = OnClippedFeatures::new(energy, weights, Some(tensor(&bias))).with_percentile(0.8);
    let (class, aux, none) = (vec![0; samples], vec![0; samples], vec![0.0; samples]);
    for part in [0..15, 15..samples] {
        let features = &train[part.start * DIM..part.end * DIM];
        let batch = SampleBatch::new(&none[part.clone()], &class[part.clone()], &aux[part]);
        estimator.update(&batch.with_features(features)).unwrap();
    }
    let scorer = estimator.fit(&device).unwrap();
    let batch =
        ViewBatch::new(Tensor::zeros([images, 1, 1], &device), &[0]).with_features(embeddings(&test, 1, DIM));
    let (_, scores) = scorer.score_aggregated(&batch, &Aggregation::Mean).unwrap().into_host().unwrap();

    // The percentile lies between two neighbours of the sorted features.
    let mut sorted = train.clone();
    sorted.sort_by(f32::total_cmp);
    let at = (sorted.len() - 1) as f64 * 0.8;
    let (low, high) = (f64::from(sorted[at as usize]), f64::from(sorted[at as usize + 1]));
    let limit = low + (high - low) * at.fract();
    let mut clipped = 0;
    for image in 0..images {
        let logit = |class: usize| -> f64 {
            let of = |i: usize| {
                f64::from(test[image * DIM + i]).min(limit) * f64::from(weight[i * CLASSES + class])
            };
            (0..DIM).map(of).sum::<f64>() + f64::from(bias[class])
        };
        clipped += (0..DIM).filter(|i| f64::from(test[image * DIM + i]) > limit).count();
        close(scores[image] as f32, log_sum_exp(&(0..CLASSES).map(logit).collect::<Vec<_>>()));
    }
    assert!((1..test.len()).contains(&clipped), "{clipped} of {} above {limit}", test.len());
    for percentile in [0.0, 1.5, f64::NAN] {
        let error = estimator.clone().with_percentile(percentile).fit(&device).unwrap_err();
        assert!(matches!(error, InferError::InvalidPercentile { .. }), "{error}");
    }
}
