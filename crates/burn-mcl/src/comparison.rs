//! The built-in scorers side by side on one network, to choose one of them by validation data.

use std::fmt;

use mcl_data::ImageSet;
use mcl_infer::{
    Covariance, Estimator, InferError, KnnConfig, MahalanobisConfig, OnFeatures, RelativeMahalanobisConfig,
    ScorerConfig, Shrinkage, TestTimeViews, VimConfig,
};
use mcl_model::Network;

use crate::detector::{DetectorError, update_estimators};
use crate::embed::embed_outputs;
use crate::evaluation::{Evaluation, EvaluationRow, OodResult};
use crate::part::Part;
use crate::progress::Progress;
use crate::scored::ScoredSet;

/// One scorer of a [`Comparison`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ComparedScorer {
    /// What the scores come from, in words.
    pub name: &'static str,
    /// The scorer.
    pub config: ScorerConfig,
    /// Whether the scorer takes the features of the encoder in place of the projections ([`OnFeatures`]).
    pub on_features: bool,
    /// All ways of aggregating the scores; or why the scorer could not be fitted.
    pub evaluation: Result<Evaluation, InferError>,
}

impl ComparedScorer {
    /// The row of the highest mean AUROC over the anomalous sets; of the highest accuracy where there is no such set.
    pub fn best(&self) -> Option<&EvaluationRow> {
        let rows = &self.evaluation.as_ref().ok()?.rows;
        rows.iter().max_by(|a, b| merit(a).total_cmp(&merit(b)))
    }
}

/// The built-in scorers, the best first. `Display` prints a table, and which scorer to take.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// The scorers that suit the network, in the order of their merit; those that could not be fitted come last.
    pub scorers: Vec<ComparedScorer>,
}

impl Comparison {
    /// Fits every built-in scorer to the training images, in one pass of the network, and evaluates all of them on the test
    /// images and the anomalous sets, in another. Scorers of logits take part where the network has a classifier of (class,
    /// auxiliary class).
    ///
    /// `views` are the views of a test image; for a network that was trained with rotations
    /// [`TestTimeViews::RotationsAndFlips`]. The features of all training images are kept for k-NN and the virtual logit.
    ///
    /// Choose a scorer by validation data, and report it by other data: the best of many scorers looks better on the data that
    /// chose it.
    ///
    /// # Errors
    ///
    /// [`DetectorError`] when a set is empty, cannot be rotated, or gives outputs that are not numbers. A scorer that cannot be
    /// fitted is no error ([`ComparedScorer::evaluation`]).
    pub fn new<N: Network>(
        model: &N,
        train: &ImageSet,
        test: &ImageSet,
        ood: &[(&str, &ImageSet)],
        views: TestTimeViews,
        batch_size: usize,
        progress: Progress,
    ) -> Result<Self, DetectorError> {
        let fit_views = if views.rotates() { TestTimeViews::Rotations } else { TestTimeViews::Identity };
        let aux_classes = fit_views.aux().len();
        let classes = train.class_names().len();
        let one = embed_outputs(model, &train.take(1), TestTimeViews::Identity, 1, Progress::Hidden)?;
        let classified = one.logits.len() == classes * aux_classes;
        let candidates = candidates(train.len(), classified);
        let mut estimators = candidates
            .iter()
            .map(|candidate| candidate.estimator([classes, aux_classes, one.dim, one.features.len()]))
            .collect::<Vec<_>>();
        update_estimators(model, train, fit_views, &mut estimators, batch_size, progress)?;

        let device = model.device().without_autodiff();
        let mut fitted = Vec::new();
        let mut failed = Vec::new();
        for (mut candidate, estimator) in candidates.into_iter().zip(estimators) {
            match estimator.fit(&device) {
                Ok(scorer) => fitted.push((candidate, scorer)),
                Err(error) => {
                    candidate.evaluation = Err(error);
                    failed.push(candidate);
                }
            }
        }
        let scorers: Vec<_> = fitted.iter().map(|(_, scorer)| scorer.as_ref()).collect();
        let score = |set| ScoredSet::each(model, &scorers, set, views, batch_size, progress);
        let test_scores = score(test)?;
        let mut ood_scores = Vec::new();
        for &(name, set) in ood {
            ood_scores.push((name, set, score(set)?.into_iter()));
        }
        let mut compared = Vec::new();
        for ((mut candidate, _), scored) in fitted.into_iter().zip(test_scores) {
            let parts = ood_scores
                .iter_mut()
                .filter_map(|(name, set, scores)| Some(Part::new(*name, set, scores.next()?)))
                .collect::<Vec<_>>();
            let test = Part::new("test", test, scored);
            candidate.evaluation = Ok(Evaluation::new(&test, &parts, train.class_names())?);
            compared.push(candidate);
        }
        let merit = |scorer: &ComparedScorer| scorer.best().map_or(f64::NEG_INFINITY, merit);
        compared.sort_by(|a, b| merit(b).total_cmp(&merit(a)));
        compared.extend(failed);
        Ok(Self { scorers: compared })
    }
}

impl ComparedScorer {
    fn estimator(&self, [classes, aux_classes, dim, feature_dim]: [usize; 4]) -> Box<dyn Estimator> {
        match self.config {
            config if self.on_features => {
                Box::new(OnFeatures(config.estimator(classes, aux_classes, feature_dim)))
            }
            // The virtual logit looks for the features by itself.
            config @ ScorerConfig::Vim(_) => config.estimator(classes, aux_classes, feature_dim),
            config => config.estimator(classes, aux_classes, dim),
        }
    }
}

/// All scorers for `images` training images of a network with or without a classifier, yet without results.
fn candidates(images: usize, classified: bool) -> Vec<ComparedScorer> {
    let gaussians = MahalanobisConfig::new().with_shrinkage(Shrinkage::Oas);
    let tied = gaussians.with_covariance(Covariance::Tied);
    let relative = RelativeMahalanobisConfig::from_gaussians(tied);
    let knn = KnnConfig::new();
    let knn = knn.with_k(knn.k.min(images));
    let of_embeddings = [
        ("Gaussians of the projections", ScorerConfig::Mahalanobis(gaussians), false),
        ("Gaussians of the features", ScorerConfig::Mahalanobis(gaussians), true),
        ("Gaussians of the features, one covariance", ScorerConfig::Mahalanobis(tied), true),
        ("relative Gaussians of the features", ScorerConfig::RelativeMahalanobis(relative), true),
        ("nearest neighbours of the projections", ScorerConfig::Knn(knn), false),
        ("nearest neighbours of the features", ScorerConfig::Knn(knn), true),
    ];
    let of_logits = [
        ("highest probability", ScorerConfig::Softmax, false),
        ("entropy of the probabilities", ScorerConfig::Entropy, false),
        ("maximum logit", ScorerConfig::MaxLogit, false),
        ("energy of the logits", ScorerConfig::Energy, false),
        ("KL matching of the probabilities", ScorerConfig::KlMatching, false),
        ("virtual logit", ScorerConfig::Vim(VimConfig::new()), false),
    ];
    let of_logits = of_logits.into_iter().filter(|_| classified);
    let empty = Evaluation { test_images: 0, rows: Vec::new() };
    let candidate = |(name, config, on_features)| {
        let evaluation = Ok(empty.clone());
        ComparedScorer { name, config, on_features, evaluation }
    };
    of_embeddings.into_iter().chain(of_logits).map(candidate).collect()
}

/// By what rows are compared: the mean AUROC, or the accuracy without anomalous sets.
fn merit(row: &EvaluationRow) -> f64 {
    match row.ood.len() {
        0 => row.accuracy.unwrap_or(f64::NEG_INFINITY),
        sets => row.ood.iter().map(|result| result.metrics.auroc).sum::<f64>() / sets as f64,
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<43}{:>5}  {:<16}{:>9}  mean AUROC", "score", "views", "aggregation", "accuracy")?;
        for scorer in &self.scorers {
            match (&scorer.evaluation, scorer.best()) {
                (Err(error), _) => write!(f, "\n{:<43}not fitted: {error}", scorer.name)?,
                (_, None) => {}
                (_, Some(row)) => {
                    let dash = || "-".to_string();
                    let aggregation = row.aggregation.map_or_else(dash, |a| format!("{a:?}"));
                    let percent = |share: f64| format!("{:.2}", 100.0 * share);
                    let accuracy = row.accuracy.map_or_else(dash, percent);
                    let auroc = if row.ood.is_empty() { dash() } else { percent(merit(row)) };
                    let views = row.views.aux().len();
                    let name = scorer.name;
                    write!(f, "\n{name:<43}{views:>5}  {aggregation:<16}{accuracy:>9}{auroc:>12}")?;
                }
            }
        }
        let best = self.scorers.first().and_then(|scorer| Some((scorer.name, scorer.best()?)));
        let Some((name, row)) = best.filter(|(_, row)| !row.ood.is_empty()) else { return Ok(()) };
        let views = match (row.views.aux().len(), row.aggregation) {
            (1, _) | (_, None) => "from the image as it is".to_string(),
            (views, Some(aggregation)) => format!("from {views} views of an image ({aggregation:?})"),
        };
        let passing = |result: &OodResult| result.metrics.fpr_at_95_tpr.in_distribution;
        let passing = row.ood.iter().map(passing).sum::<f64>() / row.ood.len() as f64;
        write!(
            f,
            "\n\nTake this score: {name}, {views}. Of 100 pairs of a normal and an anomalous image, the normal image has the \
             higher score in {:.0}. A threshold that 95 of 100 normal images pass lets {:.0} of 100 anomalous images pass.",
            100.0 * merit(row),
            100.0 * passing
        )
    }
}
