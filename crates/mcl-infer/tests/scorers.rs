//! Scorers behind the trait: aggregated in one pass, beside each other in a table, and k-NN against an
//! explicit loop.

mod common;

use burn::tensor::{Device, Tensor};
use common::{embeddings, fit, numbers, small, uniform};
use mcl_infer::{
    Aggregate, Aggregation, Cluster, Covariance, Distance, Estimator, InferError, Job, KnnConfig,
    MahalanobisConfig, OnFeatures, Prediction, RelativeMahalanobisConfig, SampleBatch, Scorer, ScorerConfig,
    Shrinkage, SoftmaxScorer, TestTimeViews, ViewBatch, VimConfig,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// More images than are aggregated at once.
#[test]
fn one_pass_gives_the_numbers_of_two() {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let (classes, dim, images) = (600, 4, 1000);
    let view_aux = [0, 1, 0, 1];
    let queries = embeddings(&uniform(rng, images * view_aux.len() * dim), view_aux.len(), dim);
    let batch = ViewBatch::new(queries.clone(), &view_aux);
    let worst = |scores: Tensor<3>| scores.min_dim(1).squeeze_dim::<2>(1);
    for covariance in [Covariance::PerClass, Covariance::Tied] {
        let config = MahalanobisConfig::new().with_covariance(covariance).with_ridge(0.1);
        let scorer = fit(&config, [classes, 2, dim], 3, |_, _| uniform(rng, dim));
        let scores = scorer.score(queries.clone(), &view_aux).unwrap();
        let mut ways: Vec<(&dyn Aggregate, Prediction)> =
            Aggregation::ALL.iter().map(|way| (way as &dyn Aggregate, way.apply(scores.clone()))).collect();
        ways.push((&worst, Prediction::new(worst(scores))));
        for (way, expected) in ways {
            let found = scorer.score_aggregated(&batch, way).unwrap();
            assert_eq!(found.scores.dims(), [images, classes]);
            found.scores.into_data().assert_eq(&expected.scores.into_data(), true);
            found.score.into_data().assert_eq(&expected.score.into_data(), true);
            found.label.into_data().assert_eq(&expected.label.into_data(), true);
        }
    }
}

#[test]
fn errors_of_one_pass_count_all_images() {
    #[derive(Debug)]
    struct ManyColumns;
    impl Scorer for ManyColumns {
        fn columns(&self) -> usize {
            1 << 20
        }
        fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
            small(true).score(batch.embeddings.clone(), batch.view_aux)
        }
    }
    let mut values = vec![1.0; 700 * 2 * 3];
    values[(650 * 2 + 1) * 3] = f32::NAN;
    let batch = ViewBatch::new(embeddings(&values, 2, 3), &[0, 1]);
    let error = ManyColumns.score_aggregated(&batch, &Aggregation::Mean).unwrap_err();
    assert_eq!(error, InferError::NonFiniteEmbedding { image: 650, view: 1 });
    assert_eq!(error.job(), Job::Score);
}

/// What a table of detectors needs: one pass over the samples for all, then one over the views.
#[test]
fn scorers_stand_beside_each_other() {
    let device = Device::flex();
    let rng = &mut ChaCha8Rng::seed_from_u64(2);
    let knn = KnnConfig::new().with_k(3);
    let configs = [
        ScorerConfig::default(),
        ScorerConfig::Mahalanobis(
            MahalanobisConfig::new().with_covariance(Covariance::Tied).with_distance(Distance::Root),
        ),
        ScorerConfig::Knn(knn),
        ScorerConfig::Knn(knn.with_per_class(true)),
        ScorerConfig::Softmax,
        ScorerConfig::Entropy,
        ScorerConfig::MaxLogit,
        ScorerConfig::Energy,
        ScorerConfig::KlMatching,
        ScorerConfig::RelativeMahalanobis(RelativeMahalanobisConfig::new()),
        ScorerConfig::Vim(VimConfig::new().with_principal(2)),
    ];
    let stored = serde_json::to_string(&configs).unwrap();
    assert_eq!(serde_json::from_str::<[ScorerConfig; 11]>(&stored).unwrap(), configs);

    let mut estimators: Vec<Box<dyn Estimator>> =
        configs.iter().map(|config| config.estimator(2, 2, 4)).collect();
    let near = |class: usize, aux: usize, rng: &mut ChaCha8Rng| -> Vec<f32> {
        let mut row: Vec<f32> = uniform(rng, 4).iter().map(|x| 0.2 * x).collect();
        row[2 * class + aux] += 1.0;
        row
    };
    // Logit 2 * class + aux is high where the embedding is.
    let logits = |values: &[f32]| values.iter().map(|x| 5.0 * x).collect::<Vec<_>>();
    for i in 0..200 {
        let (class, aux) = (i / 2 % 2, i % 2);
        let row = near(class, aux, rng);
        for estimator in &mut estimators {
            let (class, aux, logits) = ([class], [aux], logits(&row));
            let batch = SampleBatch::new(&row, &class, &aux).with_features(&row);
            estimator.update(&batch.with_logits(&logits)).unwrap();
        }
    }
    let mut values = Vec::new();
    for class in [0, 1] {
        values.extend([0, 1].map(|aux| near(class, aux, rng)).concat());
    }
    values.extend([-1.0; 8]); // an anomaly
    let batch = ViewBatch::new(embeddings(&values, 2, 4), &[0, 1])
        .with_features(embeddings(&values, 2, 4))
        .with_logits(embeddings(&logits(&values), 2, 4));
    for (estimator, config) in estimators.iter().zip(configs) {
        let scorer: Box<dyn Scorer> = estimator.fit(&device).unwrap();
        let papers = Aggregation::WeightedAverage;
        let suits = scorer.aggregations().contains(&papers);
        let aggregation = if suits { papers } else { Aggregation::Mean };
        let prediction = scorer.score_aggregated(&batch, &aggregation).unwrap();
        let (labels, scores) = prediction.into_host().unwrap();
        assert!(scores[0] > scores[2] && scores[1] > scores[2], "{scores:?} by {config:?}");
        let told_apart = scorer.columns() == 2;
        assert_eq!(labels[..2], if told_apart { [0, 1] } else { [0, 0] }, "{config:?}");
    }
}

#[test]
fn knn_is_the_distance_to_the_kth_nearest_direction() {
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    let (classes, aux_classes, dim, rows, k) = (3, 2, 5, 240, 7);
    let features = uniform(rng, rows * dim);
    let class: Vec<usize> = (0..rows).map(|i| i % classes).collect();
    let aux: Vec<usize> = (0..rows).map(|i| i / classes % aux_classes).collect();
    let view_aux = [1, 0, 1];
    let queries = uniform(rng, 20 * view_aux.len() * dim);
    let unit = |row: &[f32]| -> Vec<f64> {
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        row.iter().map(|&x| f64::from(x) / norm).collect()
    };
    let distance = |a: &[f32], b: &[f32]| -> f64 {
        unit(a).iter().zip(unit(b)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    };
    for per_class in [false, true] {
        let config = KnnConfig::new().with_k(k).with_per_class(per_class);
        let mut estimator = config.estimator(classes, aux_classes, dim);
        for part in [0..100, 100..rows] {
            let features = &features[part.start * dim..part.end * dim];
            estimator.update(&SampleBatch::new(features, &class[part.clone()], &aux[part])).unwrap();
        }
        let scorer = estimator.fit_knn(&Device::flex()).unwrap();
        let columns = if per_class { classes } else { 1 };
        assert_eq!(scorer.columns(), columns);
        let batch = ViewBatch::new(embeddings(&queries, view_aux.len(), dim), &view_aux);
        let scores = scorer.score_views(&batch).unwrap();
        assert_eq!(scores.dims(), [20, view_aux.len(), columns]);
        for (i, score) in numbers(scores).into_iter().enumerate() {
            let (query, column) = (i / columns, i % columns);
            let of_bank = |&row: &usize| {
                aux[row] == view_aux[query % view_aux.len()] && (!per_class || class[row] == column)
            };
            let mut distances: Vec<f64> = (0..rows)
                .filter(of_bank)
                .map(|row| distance(&queries[query * dim..][..dim], &features[row * dim..][..dim]))
                .collect();
            distances.sort_by(f64::total_cmp);
            let expected = -distances[k - 1];
            assert!((f64::from(score) - expected).abs() < 1e-6, "{score} for {expected}");
        }
    }
}

#[test]
fn knn_of_copies_is_exactly_zero() {
    let mut estimator = KnnConfig::new().with_k(4).estimator(1, 1, 3);
    let row = [0.3f32, -0.7, 0.11];
    estimator.update(&SampleBatch::new(&row.repeat(5), &[0; 5], &[0; 5])).unwrap();
    let scorer = estimator.fit(&Device::flex()).unwrap();
    let scores = scorer.score_views(&ViewBatch::new(embeddings(&row, 1, 3), &[0])).unwrap();
    assert_eq!(numbers(scores), [0.0]);
}

#[test]
fn knn_refuses_what_it_cannot_search() {
    let device = Device::flex();
    let fit = |config: KnnConfig| {
        let mut estimator = config.estimator(2, 2, 2);
        let features = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 2.0];
        estimator.update(&SampleBatch::new(&features, &[0, 0, 1, 1], &[0, 1, 0, 1])).unwrap();
        estimator.fit_knn(&device)
    };
    let k = KnnConfig::new().with_k(2);
    let error = fit(k.with_per_class(true)).unwrap_err();
    let cluster = Cluster { class: Some(0), aux: 0 };
    assert_eq!(error, InferError::TooFewNeighbours { cluster, count: 1, k: 2 });
    assert_eq!(fit(k.with_k(0)).unwrap_err(), InferError::InvalidNeighbours { k: 0 });
    let mut empty = k.estimator(2, 2, 0);
    assert!(matches!(empty.fit_knn(&device), Err(InferError::Empty { .. })));
    assert!(empty.update(&SampleBatch::new(&[], &[0], &[0])).is_err());

    let scorer = fit(k).unwrap();
    let mut values = [1.0; 2 * 2 * 2];
    values[6..].fill(0.0);
    let score =
        |views: Tensor<3>, aux: &[usize]| scorer.score_views(&ViewBatch::new(views, aux)).unwrap_err();
    let error = score(embeddings(&values, 2, 2), &[0, 1]);
    assert_eq!(error, InferError::ZeroEmbedding { image: 1, view: 1 });
    let error = score(embeddings(&values, 2, 2), &[0, 2]);
    assert_eq!(error, InferError::ViewAuxOutOfRange { view: 1, aux: 2, aux_classes: 2 });
    let none = scorer.score_views(&ViewBatch::new(Tensor::zeros([0, 2, 2], &device), &[0, 1])).unwrap();
    assert_eq!(none.dims(), [0, 2, 1]);
}

/// One pass over embeddings and features serves scorers of both.
#[test]
fn a_scorer_of_features_is_the_scorer_of_embeddings_that_are_features() {
    let device = Device::flex();
    let rng = &mut ChaCha8Rng::seed_from_u64(4);
    let (rows, dim, feature_dim) = (60, 2, 3);
    let class: Vec<usize> = (0..rows).map(|i| i % 2).collect();
    let aux = vec![0; rows];
    let (samples, features) = (uniform(rng, rows * dim), uniform(rng, rows * feature_dim));
    let (views, view_features) = (uniform(rng, 5 * dim), uniform(rng, 5 * feature_dim));
    for config in [ScorerConfig::default(), ScorerConfig::Knn(KnnConfig::new().with_k(2))] {
        let mut wrapped = OnFeatures(config.estimator(2, 1, feature_dim));
        let mut plain = config.estimator(2, 1, feature_dim);
        let batch = SampleBatch::new(&samples, &class, &aux);
        assert_eq!(wrapped.update(&batch).unwrap_err(), InferError::NoFeatures);
        wrapped.update(&batch.with_features(&features)).unwrap();
        plain.update(&SampleBatch::new(&features, &class, &aux)).unwrap();
        let (wrapped, plain) = (wrapped.fit(&device).unwrap(), plain.fit(&device).unwrap());
        assert_eq!((wrapped.columns(), wrapped.views()), (plain.columns(), TestTimeViews::Identity));

        let batch = ViewBatch::new(embeddings(&views, 1, dim), &[0]);
        assert_eq!(wrapped.score_views(&batch).unwrap_err(), InferError::NoFeatures);
        let batch = batch.with_features(embeddings(&view_features, 1, feature_dim));
        let found = wrapped.score_aggregated(&batch, &Aggregation::Max).unwrap().into_host().unwrap();
        let expected = ViewBatch::new(embeddings(&view_features, 1, feature_dim), &[0]);
        let expected = plain.score_aggregated(&expected, &Aggregation::Max).unwrap().into_host().unwrap();
        assert_eq!(found, expected);
    }
}

#[test]
fn softmax_is_taken_among_the_logits_of_the_views_rotation() {
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    let (images, classes, view_aux) = (5, 3, [1, 0, 1]);
    let logits: Vec<f32> =
        uniform(rng, images * view_aux.len() * classes * 2).iter().map(|x| 5.0 * x).collect();
    let batch = ViewBatch::new(Tensor::zeros([images, view_aux.len(), 1], &Device::flex()), &view_aux);
    let scorer = SoftmaxScorer::new(classes, 2);
    assert_eq!(scorer.score_views(&batch).unwrap_err(), InferError::NoLogits);
    let other = batch.clone().with_logits(Tensor::zeros([images, view_aux.len(), 5], &Device::flex()));
    assert_eq!(scorer.score_views(&other).unwrap_err(), InferError::LogitCount { expected: 6, found: 5 });
    let batch = batch.with_logits(embeddings(&logits, view_aux.len(), classes * 2));
    let scores = numbers(scorer.score_views(&batch).unwrap());
    for (i, score) in scores.iter().enumerate() {
        let (row, class) = (i / classes, i % classes);
        let aux = view_aux[row % view_aux.len()];
        let exp = |class: usize| f64::from(logits[row * classes * 2 + class * 2 + aux]).exp();
        let expected = exp(class) / (0..classes).map(exp).sum::<f64>();
        assert!((f64::from(*score) - expected).abs() < 1e-6, "{score} for {expected}");
    }
    let error = scorer.score_views(&ViewBatch { view_aux: &[0, 1, 2], ..batch }).unwrap_err();
    assert_eq!(error, InferError::ViewAuxOutOfRange { view: 2, aux: 2, aux_classes: 2 });
}

#[test]
fn a_shrunk_covariance_needs_no_ridge() {
    let rng = &mut ChaCha8Rng::seed_from_u64(6);
    let (dim, rows) = (8, 5); // fewer samples than dimensions
    let shape = [2, 1, dim];
    for covariance in [Covariance::PerClass, Covariance::Tied] {
        let plain = MahalanobisConfig::new().with_covariance(covariance);
        let mut statistics = plain.statistics(2, 1, dim);
        // The first dimensions vary the most.
        let fall = |(i, x): (usize, &f32)| x * 0.5f32.powi((i % dim) as i32);
        let samples: Vec<f32> = uniform(rng, 2 * rows * dim).iter().enumerate().map(fall).collect();
        let class: Vec<usize> = (0..2 * rows).map(|row| row / rows).collect();
        statistics.update(&samples, &class, &[0; 10]).unwrap();
        let device = Device::flex();
        if covariance == Covariance::PerClass {
            assert!(matches!(statistics.fit(&plain, &device), Err(InferError::RankDeficient { .. })));
        }
        let scorer = statistics.fit(&plain.with_ridge(0.0).with_shrinkage(Shrinkage::Oas), &device).unwrap();
        let (unshrunk, found) =
            (statistics.fit(&plain.with_ridge(1.0), &device).unwrap(), scorer.covariances());
        // The trace stays, and what lies off the diagonal shrinks, by one factor a covariance.
        for (own, plain) in found.chunks(dim * dim).zip(unshrunk.covariances().chunks(dim * dim)) {
            let trace = |matrix: &[f64]| (0..dim).map(|i| matrix[i * dim + i]).sum::<f64>();
            assert!((trace(own) + dim as f64 - trace(plain)).abs() < 1e-9);
            let factor = own[1] / plain[1];
            assert!(factor > 0.0 && factor < 1.0, "{factor}");
            for (i, (own, plain)) in own.iter().zip(plain).enumerate() {
                assert!(i % (dim + 1) == 0 || (own - factor * plain).abs() < 1e-12, "{shape:?} {i}");
            }
        }
    }
}
