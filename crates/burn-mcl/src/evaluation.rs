//! The paper's tables: accuracy, and detection of each out-of-distribution set, for every number of test-time
//! views and every aggregation.

use std::fmt;

use burn::tensor::Tensor;
use mcl_data::ImageSet;
use mcl_infer::metrics::{self, Positive};
use mcl_infer::{Aggregation, MahalanobisScorer, TestTimeViews};
use mcl_model::MclModel;
use serde::{Deserialize, Serialize};

use crate::detector::DetectorError;
use crate::embed::{Embeddings, embed};
use crate::progress::Progress;

/// Images whose scores are computed at once.
const SCORE_BATCH: usize = 1024;

const ALL_VIEWS: [TestTimeViews; 3] =
    [TestTimeViews::Identity, TestTimeViews::Rotations, TestTimeViews::RotationsAndFlips];

const ALL_AGGREGATIONS: [Aggregation; 4] =
    [Aggregation::Mean, Aggregation::Max, Aggregation::WeightedAverage, Aggregation::HarmonicMean];

/// How well one out-of-distribution set is told from the test set; all in [0, 1].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OodResult {
    /// Name of the out-of-distribution set.
    pub set: String,
    /// Area under the ROC curve.
    pub auroc: f64,
    /// False positive rate at 95% true positive rate, in-distribution images being positive.
    pub fpr_at_95_tpr: f64,
    /// The same with out-of-distribution images being positive, as OpenOOD reports it.
    pub fpr_at_95_tpr_ood_positive: f64,
    /// Average precision, in-distribution images being positive.
    pub aupr_in: f64,
    /// Average precision, out-of-distribution images being positive.
    pub aupr_out: f64,
    /// Lowest mean of miss and false alarm rate over all thresholds.
    pub detection_error: f64,
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
    let views = TestTimeViews::RotationsAndFlips;
    let test_scores = view_scores(scorer, &embed(model, test, views, batch_size, progress)?)?;
    let ood_scores = ood
        .iter()
        .map(|(_, set)| view_scores(scorer, &embed(model, set, views, batch_size, progress)?))
        .collect::<Result<Vec<_>, DetectorError>>()?;
    let labels: Vec<usize> = test.labels().to_vec();

    let mut rows = Vec::new();
    for views in ALL_VIEWS {
        let aggregations: &[Aggregation] =
            if views == TestTimeViews::Identity { &ALL_AGGREGATIONS[..1] } else { &ALL_AGGREGATIONS };
        for &aggregation in aggregations {
            let (predicted, normal) = aggregate(&test_scores, views, aggregation);
            let results = ood.iter().zip(&ood_scores).map(|((name, _), scores)| {
                let (_, anomalous) = aggregate(scores, views, aggregation);
                ood_result(name, &normal, &anomalous)
            });
            rows.push(EvaluationRow {
                views,
                aggregation: (views != TestTimeViews::Identity).then_some(aggregation),
                accuracy: metrics::accuracy(&predicted, &labels)?,
                ood: results.collect::<Result<_, _>>()?,
            });
        }
    }
    Ok(Evaluation { test_images: test.len(), rows })
}

/// Scores of all views: chunks of [images, views, classes].
fn view_scores(
    scorer: &MahalanobisScorer,
    embeddings: &Embeddings,
) -> Result<Vec<Tensor<3>>, DetectorError> {
    let device = scorer.device();
    (0..embeddings.images)
        .step_by(SCORE_BATCH)
        .map(|start| {
            let end = (start + SCORE_BATCH).min(embeddings.images);
            let chunk = embeddings.tensor(start, end, &device);
            Ok(scorer.score(chunk, TestTimeViews::RotationsAndFlips.aux())?)
        })
        .collect()
}

/// Labels and scores of all images from the first views of `scores`: the four rotations come before the flips.
fn aggregate(
    scores: &[Tensor<3>],
    views: TestTimeViews,
    aggregation: Aggregation,
) -> (Vec<usize>, Vec<f64>) {
    let (mut labels, mut values) = (Vec::new(), Vec::new());
    for chunk in scores {
        let prediction = aggregation.apply(chunk.clone().narrow(1, 0, views.aux().len()));
        labels.extend(prediction.label.into_data().iter::<i64>().map(|label| label as usize));
        values.extend(prediction.score.into_data().iter::<f64>());
    }
    (labels, values)
}

fn ood_result(name: &str, normal: &[f64], anomalous: &[f64]) -> Result<OodResult, metrics::MetricError> {
    use Positive::{InDistribution, OutOfDistribution};
    Ok(OodResult {
        set: name.to_string(),
        auroc: metrics::auroc(normal, anomalous)?,
        fpr_at_95_tpr: metrics::fpr_at_tpr(normal, anomalous, 0.95, InDistribution)?,
        fpr_at_95_tpr_ood_positive: metrics::fpr_at_tpr(normal, anomalous, 0.95, OutOfDistribution)?,
        aupr_in: metrics::average_precision(normal, anomalous, InDistribution)?,
        aupr_out: metrics::average_precision(normal, anomalous, OutOfDistribution)?,
        detection_error: metrics::detection_error(normal, anomalous)?,
    })
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets = self.rows.first().map_or(&[][..], |row| &row.ood);
        write!(f, "{:<7}{:<17}{:>9}", "views", "aggregation", "accuracy")?;
        for result in sets {
            write!(f, "{:>24}", format!("{} AUROC / FPR95", result.set))?;
        }
        for row in &self.rows {
            let aggregation = row.aggregation.map_or_else(|| "-".to_string(), |a| format!("{a:?}"));
            write!(f, "\n{:<7}{:<17}{:>9.2}", row.views.aux().len(), aggregation, 100.0 * row.accuracy)?;
            for result in &row.ood {
                let (auroc, fpr) = (100.0 * result.auroc, 100.0 * result.fpr_at_95_tpr);
                write!(f, "{:>24}", format!("{auroc:.2} / {fpr:.2}"))?;
            }
        }
        Ok(())
    }
}
