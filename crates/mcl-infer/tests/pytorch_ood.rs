//! The scores of pytorch-ood's detectors on the same features and logits; see `golden/README.md`. There a higher score means more
//! anomalous.

use burn::tensor::{Device, Tensor, TensorData};
use mcl_infer::{
    Aggregation, Confidence, Covariance, Estimator, KnnConfig, LogitScorer, MahalanobisConfig,
    OnClippedFeatures, OnFeatures, SampleBatch, ScorerConfig, ViewBatch, VimConfig,
};
use serde::Deserialize;

/// How far a score may be off, as a share of its value.
const TOLERANCE: f64 = 1e-4;
/// What pytorch-ood adds to the diagonal of sums of squares.
const RIDGE: f64 = 1e-6;

#[derive(Deserialize)]
struct Golden {
    classes: usize,
    dim: usize,
    principal: usize,
    k: usize,
    percentile: f64,
    train: Vec<f32>,
    labels: Vec<usize>,
    test: Vec<f32>,
    /// `[dim, classes]`
    weight: Vec<f32>,
    scores: Scores,
}

#[derive(Deserialize)]
struct Scores {
    softmax: Vec<f64>,
    entropy: Vec<f64>,
    max_logit: Vec<f64>,
    energy: Vec<f64>,
    kl_matching: Vec<f64>,
    mahalanobis: Vec<f64>,
    relative_mahalanobis: Vec<f64>,
    knn: Vec<f64>,
    vim: Vec<f64>,
    react: Vec<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/pytorch_ood.json")).expect("the golden file")
}

impl Golden {
    fn tensor<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
    }

    fn weight(&self) -> Tensor<2> {
        Self::tensor(&self.weight, [self.dim, self.classes])
    }

    /// The logits of some features, `[n, classes]`.
    fn logits(&self, features: &[f32]) -> Tensor<2> {
        Self::tensor(features, [features.len() / self.dim, self.dim]).matmul(self.weight())
    }

    /// Fits the estimator and returns the score of each test image.
    fn scores(&self, mut estimator: impl Estimator) -> Vec<f64> {
        let samples = self.labels.len();
        let logits = self.logits(&self.train).into_data().try_to_vec::<f32>().unwrap();
        let (none, aux) = (vec![0.0; samples], vec![0; samples]);
        let batch =
            SampleBatch::new(&none, &self.labels, &aux).with_features(&self.train).with_logits(&logits);
        estimator.update(&batch).unwrap();
        let scorer = estimator.fit(&Device::flex()).unwrap();

        let images = self.test.len() / self.dim;
        let logits = self.logits(&self.test).reshape([images, 1, self.classes]);
        let batch = ViewBatch::new(Tensor::zeros([images, 1, 1], &Device::flex()), &[0])
            .with_features(Self::tensor(&self.test, [images, 1, self.dim]))
            .with_logits(logits);
        scorer.score_aggregated(&batch, &Aggregation::Mean).unwrap().into_host().unwrap().1
    }

    fn of_config(&self, config: ScorerConfig) -> Vec<f64> {
        self.scores(config.estimator(self.classes, 1, self.dim))
    }

    /// Gaussians of the features with as much added to the diagonal of the covariance as pytorch-ood adds to that of the sum.
    fn gaussians(&self, classes: usize) -> Vec<f64> {
        let freedom = self.freedom(classes);
        let config = MahalanobisConfig::new().with_normalize(false).with_covariance(Covariance::Tied);
        let estimator = config.with_ridge(RIDGE / freedom).estimator(classes, 1, self.dim);
        let labels = if classes == 1 { vec![0; self.labels.len()] } else { self.labels.clone() };
        let of = Golden { labels, ..golden() };
        // Our covariance is divided by the degrees of freedom, theirs is a sum.
        of.scores(OnFeatures(estimator)).iter().map(|score| score / freedom).collect()
    }

    fn freedom(&self, classes: usize) -> f64 {
        (self.labels.len() - classes) as f64
    }
}

/// Ours are the negatives of theirs.
#[track_caller]
fn assert_parity(ours: impl IntoIterator<Item = f64>, theirs: &[f64]) {
    let ours: Vec<f64> = ours.into_iter().collect();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours + theirs).abs() <= TOLERANCE * theirs.abs(), "{ours} for {theirs}");
    }
}

#[test]
fn scores_of_logits() {
    let golden = golden();
    let of = |config| golden.of_config(config);
    assert_parity(of(ScorerConfig::Softmax), &golden.scores.softmax);
    assert_parity(of(ScorerConfig::Entropy), &golden.scores.entropy);
    assert_parity(of(ScorerConfig::MaxLogit), &golden.scores.max_logit);
    assert_parity(of(ScorerConfig::Energy), &golden.scores.energy);
    assert_parity(of(ScorerConfig::KlMatching), &golden.scores.kl_matching);
}

#[test]
fn distances_to_gaussians() {
    let golden = golden();
    let to_classes = golden.gaussians(golden.classes);
    assert_parity(to_classes.iter().map(|score| score / 2.0), &golden.scores.mahalanobis);
    // Theirs divides neither sum of squares, so that the two distances are on scales that differ by n - 1 to n - classes: the
    // parts agree, and ours is the difference of distances by covariances.
    let to_all = golden.gaussians(1);
    let differences = to_classes.iter().zip(&to_all).map(|(classes, all)| classes - all);
    assert_parity(differences, &golden.scores.relative_mahalanobis);
}

#[test]
fn nearest_neighbours_of_features() {
    let golden = golden();
    let estimator = KnnConfig::new().with_k(golden.k).estimator(golden.classes, 1, golden.dim);
    assert_parity(golden.scores(OnFeatures(estimator)), &golden.scores.knn);
}

#[test]
fn the_virtual_logit() {
    let golden = golden();
    let config = VimConfig::new().with_principal(golden.principal);
    assert_parity(golden.of_config(ScorerConfig::Vim(config)), &golden.scores.vim);
}

#[test]
fn clipped_features() {
    let golden = golden();
    let energy = LogitScorer::new(golden.classes, 1).with_confidence(Confidence::LogSumExp);
    let clipped = OnClippedFeatures::new(energy, golden.weight(), None).with_percentile(golden.percentile);
    assert_parity(golden.scores(clipped), &golden.scores.react);
}
