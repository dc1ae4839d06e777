//! The paper's tables: accuracy, and detection of each out-of-distribution set, for every number of test-time
//! views and every aggregation.

use std::fmt;

use burn::tensor::Tensor;
use mcl_data::ImageSet;
use mcl_infer::metrics::{OodMetrics, accuracy};
use mcl_infer::{Aggregation, MahalanobisScorer, TestTimeViews};
use mcl_model::MclModel;
use serde::{Deserialize, Serialize};

use crate::detector::DetectorError;
use crate::embed::{Embeddings, embed};
use crate::progress::Progress;

/// Images whose scores are computed at once.
const SCORE_BATCH: usize = 1024;

/// How well one out-of-distribution set is told from the test set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OodResult {
    /// Name of the out-of-distribution set.
    pub set: String,
    /// All metrics, in [0, 1].
    #[serde(flatten)]
    pub metrics: OodMetrics,
}

/// One row of the table: a way of scoring, and what it reaches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRow {
    /// Test-time views of an image.
    pub views: TestTimeViews,
    /// How their scores become one; a single view needs none.
    pub aggregation: Option<Aggregation>,
    /// Share of test images given their class, in [0, 1].
    pub accuracy: f64,
    /// One result for each out-of-distribution set, in the order given.
    pub ood: Vec<OodResult>,
}

/// All ways of scoring, side by side. `Display` prints the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Number of test images.
    pub test_images: usize,
    /// A row for the plain score, and one for each of 4 and 8 views and each aggregation.
    pub rows: Vec<EvaluationRow>,
}

impl Evaluation {
    /// The row of `views` and `aggregation`.
    pub fn row(&self, views: TestTimeViews, aggregation: Aggregation) -> Option<&EvaluationRow> {
        self.rows.iter().find(|row| row.views == views && row.aggregation.is_none_or(|a| a == aggregation))
    }
}

/// Evaluates a trained network and its Gaussians on a test set and on sets from elsewhere.
///
/// # Errors
///
/// [`DetectorError`] when a set is empty, cannot be rotated, or gives scores that are not numbers.
pub fn evaluate(
    model: &MclModel,
    scorer: &MahalanobisScorer,
    test: &ImageSet,
    ood: &[(&str, &ImageSet)],
    batch_size: usize,
    progress: Progress,
) -> Result<Evaluation, DetectorError> {
    tracing::info!(test = test.len(), sets = ood.len(), "evaluating");
    let views = TestTimeViews::RotationsAndFlips;
    let test_scores = view_scores(scorer, &embed(model, test, views, batch_size, progress)?)?;
    let ood_scores = ood
        .iter()
        .map(|(_, set)| view_scores(scorer, &embed(model, set, views, batch_size, progress)?))
        .collect::<Result<Vec<_>, DetectorError>>()?;
    let labels: Vec<usize> = test.labels().to_vec();

    let mut rows = Vec::new();
    for views in TestTimeViews::ALL {
        let aggregations: &[Aggregation] =
            if views == TestTimeViews::Identity { &Aggregation::ALL[..1] } else { &Aggregation::ALL };
        for &aggregation in aggregations {
            let (predicted, normal) = aggregate(&test_scores, views, aggregation);
            tracing::debug!(?views, ?aggregation, "scored");
            let results = ood.iter().zip(&ood_scores).map(|((name, _), scores)| {
                let (_, anomalous) = aggregate(scores, views, aggregation);
                Ok(OodResult { set: name.to_string(), metrics: OodMetrics::new(&normal, &anomalous)? })
            });
            rows.push(EvaluationRow {
                views,
                aggregation: (views != TestTimeViews::Identity).then_some(aggregation),
                accuracy: accuracy(&predicted, &labels)?,
                ood: results.collect::<Result<_, DetectorError>>()?,
            });
        }
    }
    Ok(Evaluation { test_images: test.len(), rows })
}

/// Scores of all views: chunks of [images, views, classes].
fn view_scores(scorer: &MahalanobisScorer, embeddings: &Embeddings) -> Result<Vec<Tensor<3>>, DetectorError> {
    (0..embeddings.images)
        .step_by(SCORE_BATCH)
        .map(|start| {
            let end = (start + SCORE_BATCH).min(embeddings.images);
            let chunk = embeddings.tensor(start, end, scorer.device());
            Ok(scorer.score(chunk, TestTimeViews::RotationsAndFlips.aux())?)
        })
        .collect()
}

/// Labels and scores of all images from the first views of `scores`: the four rotations come before the flips.
fn aggregate(scores: &[Tensor<3>], views: TestTimeViews, aggregation: Aggregation) -> (Vec<usize>, Vec<f64>) {
    let (mut labels, mut values) = (Vec::new(), Vec::new());
    for chunk in scores {
        let prediction = aggregation.apply(chunk.clone().narrow(1, 0, views.aux().len()));
        labels.extend(prediction.label.into_data().iter::<i64>().map(|label| label as usize));
        values.extend(prediction.score.into_data().iter::<f64>());
    }
    (labels, values)
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets = self.rows.first().map_or(&[][..], |row| &row.ood);
        let head = |result: &OodResult| format!("  {} AUROC / FPR95", result.set);
        write!(f, "{:<7}{:<17}{:>8}", "views", "aggregation", "accuracy")?;
        for result in sets {
            write!(f, "{}", head(result))?;
        }
        for row in &self.rows {
            let aggregation = row.aggregation.map_or_else(|| "-".to_string(), |a| format!("{a:?}"));
            write!(f, "\n{:<7}{:<17}{:>8.2}", row.views.aux().len(), aggregation, 100.0 * row.accuracy)?;
            for result in &row.ood {
                let (auroc, fpr) = (result.metrics.auroc, result.metrics.fpr_at_95_tpr.in_distribution);
                let (auroc, fpr) = (100.0 * auroc, 100.0 * fpr);
                write!(f, "{:>1$}", format!("{auroc:.2} / {fpr:.2}"), head(result).chars().count())?;
            }
        }
        Ok(())
    }
}
