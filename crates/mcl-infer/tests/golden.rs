//! Reference values computed in f64 by other libraries; see `golden/README.md`.

use burn::tensor::{Device, Tensor, TensorData};
use mcl_infer::metrics::{
    OodMetrics, Positive, aupr_trapezoid, auroc, average_precision, detection_error, fpr_at_tpr,
};
use mcl_infer::{Aggregation, Distance, MahalanobisConfig, MahalanobisScorer};
use serde::Deserialize;

#[derive(Deserialize)]
struct InferCase {
    features: Vec<Vec<f32>>,
    labels: Vec<usize>,
    aux_labels: Vec<usize>,
    classes: usize,
    aux_classes: usize,
    ridge: f64,
    queries: Vec<Vec<Vec<f32>>>,
    means: Vec<Vec<Vec<f64>>>,
    covariances: Vec<Vec<Vec<Vec<f64>>>>,
    expected: InferExpected,
}

#[derive(Deserialize)]
struct InferExpected {
    squared: Scores,
    distance: Scores,
}

#[derive(Deserialize)]
struct Scores {
    per_view: Vec<Vec<Vec<f64>>>,
    mean: Verdict,
    max: Verdict,
    weighted_paper: Verdict,
    weighted_official: Verdict,
}

#[derive(Deserialize)]
struct Verdict {
    scores: Vec<Vec<f64>>,
    label: Vec<i64>,
    score: Vec<f64>,
}

impl Scores {
    fn verdict(&self, aggregation: Aggregation) -> &Verdict {
        match aggregation {
            Aggregation::Mean => &self.mean,
            Aggregation::Max => &self.max,
            Aggregation::WeightedAverage => &self.weighted_paper,
            Aggregation::HarmonicMean => &self.weighted_official,
            other => panic!("no reference for {other:?}"),
        }
    }
}

fn infer_cases() -> Vec<InferCase> {
    serde_json::from_str(include_str!("golden/infer.json")).unwrap()
}

impl InferCase {
    fn fit(&self, distance: Distance) -> MahalanobisScorer {
        let config =
            MahalanobisConfig::new().with_normalize(false).with_ridge(self.ridge).with_distance(distance);
        let mut statistics = config.statistics(self.classes, self.aux_classes, self.features[0].len());
        statistics.update(&self.features.concat(), &self.labels, &self.aux_labels).unwrap();
        statistics.fit(&config, &Device::default()).unwrap()
    }

    fn queries(&self) -> Tensor<3> {
        let shape = [self.queries.len(), self.queries[0].len(), self.queries[0][0].len()];
        Tensor::from_data(TensorData::new(self.queries.concat().concat(), shape), &Device::default())
    }

    fn view_aux(&self) -> Vec<usize> {
        (0..self.aux_classes).collect()
    }
}

#[track_caller]
fn assert_close(actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let error = (actual - expected).abs();
        assert!(error <= tolerance * expected.abs(), "{actual} for {expected} at {i}");
    }
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

#[test]
fn gaussians() {
    for case in infer_cases() {
        let scorer = case.fit(Distance::Squared);
        // Against the spread of the case, as entries near zero have no digits of their own.
        let within = |actual: &[f64], expected: &[f64]| {
            let scale = expected.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            assert_eq!(actual.len(), expected.len());
            for (actual, expected) in actual.iter().zip(expected) {
                assert!((actual - expected).abs() <= 1e-12 * scale, "{actual} for {expected}");
            }
        };
        within(scorer.means(), &case.means.concat().concat());
        within(scorer.covariances(), &case.covariances.concat().concat().concat());
    }
}

#[test]
fn scores_of_views() {
    for case in infer_cases() {
        for (distance, expected) in
            [(Distance::Squared, &case.expected.squared), (Distance::Root, &case.expected.distance)]
        {
            let scores = case.fit(distance).score(case.queries(), &case.view_aux()).unwrap();
            assert_close(&numbers(scores), &expected.per_view.concat().concat(), 1e-4);
        }
    }
}

#[test]
fn verdicts() {
    for case in infer_cases() {
        for (distance, expected) in
            [(Distance::Squared, &case.expected.squared), (Distance::Root, &case.expected.distance)]
        {
            let scores = case.fit(distance).score(case.queries(), &case.view_aux()).unwrap();
            for &aggregation in Aggregation::ALL {
                let prediction = aggregation.apply(scores.clone());
                let expected = expected.verdict(aggregation);
                assert_close(&numbers(prediction.scores), &expected.scores.concat(), 1e-4);
                assert_close(&numbers(prediction.score), &expected.score, 1e-4);
                let label: Vec<i64> = prediction.label.into_data().iter().collect();
                assert_eq!(label, expected.label);
            }
        }
    }
}

#[derive(Deserialize)]
struct MetricCase {
    ind: Vec<f64>,
    ood: Vec<f64>,
    expected: MetricExpected,
}

#[derive(Deserialize)]
struct MetricExpected {
    auroc: f64,
    average_precision_ind: f64,
    average_precision_ood: f64,
    aupr_trapezoid_ind: f64,
    aupr_trapezoid_ood: f64,
    fpr95_ind_positive: f64,
    fpr95_ood_positive: f64,
    detection_error: f64,
}

#[test]
fn metrics() {
    use Positive::{InDistribution as Ind, OutOfDistribution as Ood};
    let cases: Vec<MetricCase> = serde_json::from_str(include_str!("golden/metrics.json")).unwrap();
    for MetricCase { ind, ood, expected } in cases {
        let all = OodMetrics::new(&ind, &ood).unwrap();
        for (single, together, expected) in [
            (auroc(&ind, &ood), all.auroc, expected.auroc),
            (
                average_precision(&ind, &ood, Ind),
                all.average_precision.in_distribution,
                expected.average_precision_ind,
            ),
            (
                average_precision(&ind, &ood, Ood),
                all.average_precision.out_of_distribution,
                expected.average_precision_ood,
            ),
            (
                aupr_trapezoid(&ind, &ood, Ind),
                all.aupr_trapezoid.in_distribution,
                expected.aupr_trapezoid_ind,
            ),
            (
                aupr_trapezoid(&ind, &ood, Ood),
                all.aupr_trapezoid.out_of_distribution,
                expected.aupr_trapezoid_ood,
            ),
            (
                fpr_at_tpr(&ind, &ood, 0.95, Ind),
                all.fpr_at_95_tpr.in_distribution,
                expected.fpr95_ind_positive,
            ),
            (
                fpr_at_tpr(&ind, &ood, 0.95, Ood),
                all.fpr_at_95_tpr.out_of_distribution,
                expected.fpr95_ood_positive,
            ),
            (detection_error(&ind, &ood), all.detection_error, expected.detection_error),
        ] {
            assert_close(&[single.unwrap(), together], &[expected, expected], 1e-9);
        }
    }
}
