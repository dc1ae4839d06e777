//! Any scorer can stand in the tables: of projections, of features, of logits.

use crate::common::corners;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_mcl::Progress;
use burn_mcl::comparison::Comparison;
use burn_mcl::data::ImageSet;
use burn_mcl::detector::{fit_gaussians, update_estimators};
use burn_mcl::embed::{embed, embed_outputs};
use burn_mcl::evaluation::{Evaluation, evaluate};
use burn_mcl::infer::{
    Aggregation, Estimator, InferError, KnnConfig, MahalanobisConfig, OnFeatures, Scorer, ScorerConfig,
    Shrinkage, TestTimeViews, ViewBatch,
};
use burn_mcl::model::{Embedding, Network};
use burn_mcl::scored::ScoredSet;

/// Features: the brightness of the four quarters of an image. Projections: that of the upper two. Logits: the same,
/// when there is a classifier.
#[derive(Module, Debug)]
struct Quarters {
    classifier: bool,
}

impl Network for Quarters {
    fn forward(&self, images: Tensor<4>) -> Embedding {
        let n = images.dims()[0];
        let quarter = |row: usize, column: usize| {
            let part = images.clone().narrow(2, 4 * row, 4).narrow(3, 4 * column, 4);
            part.reshape([n, 48]).mean_dim(1) // [n, 1]
        };
        let upper = Tensor::cat(vec![quarter(0, 0), quarter(0, 1)], 1);
        let features = Tensor::cat(vec![upper.clone(), quarter(1, 0), quarter(1, 1)], 1);
        let embedding = Embedding::new(features, upper.clone());
        if self.classifier { embedding.with_logits(upper * 10.0) } else { embedding }
    }
}

/// Logits as scores.
#[derive(Debug)]
struct Logits;

impl Scorer for Logits {
    fn columns(&self) -> usize {
        2
    }

    fn views(&self) -> TestTimeViews {
        TestTimeViews::Identity
    }

    fn aggregations(&self) -> &[Aggregation] {
        &[Aggregation::Max]
    }

    fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
        Ok(batch.require_logits()?.clone())
    }
}

/// Images without a bright corner.
fn dark() -> ImageSet {
    ImageSet::new(vec![50; 6 * 192], (8, 8), vec![0; 6], vec!["dark".into()]).unwrap()
}

fn table(network: &Quarters, scorer: &dyn Scorer) -> Evaluation {
    let (test, dark) = (corners(10, 4), dark());
    evaluate(network, scorer, test.class_names(), &test, &[("dark", &dark)], 7, Progress::Hidden).unwrap()
}

#[test]
fn estimators_fed_in_one_pass_fill_tables() {
    let (network, train, device) = (Quarters { classifier: true }, corners(20, 1), Device::flex());
    let gaussians = MahalanobisConfig::new().with_ridge(1e-4);
    let knn = KnnConfig::new().with_k(3);
    let mut estimators: [Box<dyn Estimator>; 4] = [
        ScorerConfig::Mahalanobis(gaussians).estimator(2, 4, 2),
        Box::new(OnFeatures(gaussians.estimator(2, 4, 4))),
        Box::new(OnFeatures(knn.with_per_class(true).estimator(2, 4, 4))),
        Box::new(OnFeatures(knn.estimator(2, 4, 4))),
    ];
    let views = TestTimeViews::Rotations;
    update_estimators(&network, &train, views, &mut estimators, 16, Progress::Hidden).unwrap();
    let tables = estimators.map(|estimator| table(&network, &estimator.fit(&device).unwrap()));
    for table in &tables {
        assert_eq!(table.rows.len(), 1 + 4 + 4);
        assert!(table.rows[0].ood[0].metrics.auroc > 0.99, "{table}");
    }
    // The first estimator is fitted as the Gaussians of a detector are.
    let scorer = fit_gaussians(&network, &train, &gaussians, 16, Progress::Hidden).unwrap();
    assert_eq!(tables[0], table(&network, &scorer));
    for (table, tells_classes) in tables[1..].iter().zip([true, true, false]) {
        let expected = tells_classes.then_some(1.0);
        assert_eq!(table.rows[0].accuracy, expected, "{table}");
    }
}

#[test]
fn a_scorer_of_logits_has_the_rows_that_suit_it() {
    let found = table(&Quarters { classifier: true }, &Logits);
    assert_eq!(found.rows.len(), 1);
    assert_eq!((found.rows[0].views, found.rows[0].accuracy), (TestTimeViews::Identity, Some(1.0)));
    assert_eq!(found.rows[0].ood[0].metrics.auroc, 1.0);

    let views = TestTimeViews::Identity;
    let network = Quarters { classifier: false };
    let error = ScoredSet::new(&network, &Logits, &dark(), views, 4, Progress::Hidden).unwrap_err();
    assert!(error.to_string().contains("logits"), "{error}");
}

#[test]
fn views_are_judged_by_an_aggregation_of_ones_own() {
    let (network, set) = (Quarters { classifier: true }, corners(3, 2));
    let scored =
        ScoredSet::new(&network, &Logits, &set, TestTimeViews::RotationsAndFlips, 4, Progress::Hidden)
            .unwrap();
    let views = TestTimeViews::Rotations;
    let first = scored.judge(views, |scores: Tensor<3>| scores.narrow(1, 0, 1).squeeze_dim::<2>(1));
    assert_eq!(first, scored.judge(TestTimeViews::Identity, Aggregation::Max));
    assert_ne!(first, scored.judge(views, Aggregation::Max));
    assert_eq!(first.0, set.labels());
}

#[test]
fn outputs_are_kept_when_they_are_asked_for() {
    let (set, views) = (corners(3, 2), TestTimeViews::Rotations);
    let plain = embed(&Quarters { classifier: true }, &set, views, 4, Progress::Hidden).unwrap();
    assert!(plain.features.is_empty() && plain.logits.is_empty());
    let all = embed_outputs(&Quarters { classifier: true }, &set, views, 4, Progress::Hidden).unwrap();
    assert_eq!(all.values, plain.values);
    let device = Device::flex();
    let batch = all.view_batch(views.aux(), &device);
    assert_eq!(batch.embeddings.dims(), [6, 4, 2]);
    assert_eq!(batch.require_features().unwrap().dims(), [6, 4, 4]);
    let (upper, logits) = (all.tensor(0, 6, &device), batch.require_logits().unwrap());
    assert_eq!((upper * 10.0).into_data(), logits.clone().into_data());
    let none = embed_outputs(&Quarters { classifier: false }, &set, views, 4, Progress::Hidden).unwrap();
    assert!(none.view_batch(views.aux(), &device).logits.is_none());
}

#[test]
fn all_built_in_scorers_stand_side_by_side() {
    let (train, test, dark) = (corners(30, 1), corners(10, 4), dark());
    let compare = |classifier: bool, train: &ImageSet| {
        let (network, ood, views) = (Quarters { classifier }, [("dark", &dark)], TestTimeViews::Identity);
        Comparison::new(&network, train, &test, &ood, views, 16, Progress::Hidden).unwrap()
    };
    let found = compare(true, &train);
    assert_eq!(found.scorers.len(), 12, "{found}");
    assert_eq!(compare(false, &train).scorers.len(), 6);
    let aurocs: Vec<f64> =
        found.scorers.iter().map(|scorer| scorer.best().unwrap().ood[0].metrics.auroc).collect();
    assert!(aurocs.is_sorted_by(|a, b| a >= b), "{found}");
    assert!(found.to_string().contains(&format!("Take this score: {}", found.scorers[0].name)), "{found}");

    // Each is what `evaluate` makes of the same scorer.
    let network = Quarters { classifier: true };
    for (name, on_features) in [("Gaussians of the projections", false), ("Gaussians of the features", true)]
    {
        let config = MahalanobisConfig::new().with_shrinkage(Shrinkage::Oas);
        let mut estimators: [Box<dyn Estimator>; 1] = [match on_features {
            true => Box::new(OnFeatures(config.estimator(2, 1, 4))),
            false => Box::new(config.estimator(2, 1, 2)),
        }];
        let identity = TestTimeViews::Identity;
        update_estimators(&network, &train, identity, &mut estimators, 16, Progress::Hidden).unwrap();
        let expected = table(&network, &estimators[0].fit(&Device::flex()).unwrap());
        let compared = found.scorers.iter().find(|scorer| scorer.name == name).unwrap();
        assert_eq!(compared.evaluation, Ok(expected));
    }

    // Copies of one image for each class have no spread: the Gaussians are left out, and said to be.
    let copies = train.subset(&[0, 0, 1, 1]).unwrap();
    let found = compare(true, &copies);
    let last = found.scorers.last().unwrap();
    assert!(matches!(last.evaluation, Err(InferError::NoSpread { .. })), "{found}");
    assert!(found.to_string().contains("not fitted: "), "{found}");
}
