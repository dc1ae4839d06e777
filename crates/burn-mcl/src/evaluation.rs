//! The paper's tables: accuracy, and detection of each out-of-distribution set, for every number of test-time
//! views and every aggregation.

use std::fmt;

use mcl_data::{ImageSet, printable};
use mcl_infer::metrics::{OodMetrics, accuracy};
use mcl_infer::{Aggregation, Scorer, TestTimeViews};
use mcl_model::Network;
use serde::{Deserialize, Serialize};

use crate::detector::DetectorError;
use crate::part::Part;
use crate::progress::Progress;

/// How well one out-of-distribution set is told from the test set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OodResult {
    /// Name of the out-of-distribution set.
    pub set: String,
    /// All metrics, in [0, 1].
    #[serde(flatten)]
    pub metrics: OodMetrics,
}

/// One row of the table: a way of scoring, and what it reaches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EvaluationRow {
    /// Test-time views of an image.
    pub views: TestTimeViews,
    /// How their scores become one; a single view needs none.
    pub aggregation: Option<Aggregation>,
    /// Share of test images given their class, in [0, 1]; `None` when their classes are not those of training, or the
    /// scores tell no classes apart.
    pub accuracy: Option<f64>,
    /// One result for each out-of-distribution set, in the order given.
    pub ood: Vec<OodResult>,
}

/// All ways of scoring, side by side. `Display` prints the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// Number of test images.
    pub test_images: usize,
    /// A row for the plain score, and one for each larger number of views (4 and 8, or 2 and 6) and each aggregation that
    /// suits the scores.
    pub rows: Vec<EvaluationRow>,
}

impl Evaluation {
    /// The row of `views` and `aggregation`.
    pub fn row(&self, views: TestTimeViews, aggregation: Aggregation) -> Option<&EvaluationRow> {
        self.rows.iter().find(|row| row.views == views && row.aggregation.is_none_or(|a| a == aggregation))
    }

    /// Adds a column: the mean over some of the sets, each counting the same ([`OodMetrics::mean`]). Names of sets that were not
    /// evaluated are passed over; without any of them the table stays as it is.
    #[must_use]
    pub fn with_mean(mut self, name: &str, sets: &[&str]) -> Self {
        for row in &mut self.rows {
            let of: Vec<_> = row
                .ood
                .iter()
                .filter(|result| sets.contains(&&*result.set))
                .map(|result| result.metrics)
                .collect();
            if let Some(metrics) = OodMetrics::mean(&of) {
                row.ood.push(OodResult { set: name.to_string(), metrics });
            }
        }
        self
    }
}

/// Evaluates a trained network and a scorer on a test set and on sets from elsewhere. `class_names` are those of the
/// training images: by them the classes of the test set are found, which may be fewer and in another order.
///
/// The scorer is the network's Gaussians ([`Detector::scorer`](crate::detector::Detector::scorer),
/// [`fit_gaussians`](crate::detector::fit_gaussians)) or any other [`Scorer`]
/// ([`update_estimators`](crate::detector::update_estimators)).
///
/// # Errors
///
/// [`DetectorError`] when a set is empty, cannot be rotated, or gives scores that are not numbers.
pub fn evaluate<N: Network>(
    model: &N,
    scorer: &dyn Scorer,
    class_names: &[String],
    test: &ImageSet,
    ood: &[(&str, &ImageSet)],
    batch_size: usize,
    progress: Progress,
) -> Result<Evaluation, DetectorError> {
    tracing::info!(test = test.len(), sets = ood.len(), "evaluating");
    let score = |name: &str, set| Part::score(name, set, model, scorer, batch_size, progress);
    let ood = ood.iter().map(|(name, set)| score(name, set)).collect::<Result<Vec<_>, _>>()?;
    Evaluation::new(&score("test", test)?, &ood, class_names)
}

impl Evaluation {
    /// The same from sets that have been scored already, and the names of the training classes. There are rows for the views
    /// that the test set was scored in.
    ///
    /// # Errors
    ///
    /// [`DetectorError`] when a set is empty.
    ///
    /// # Panics
    ///
    /// When another set was scored in fewer or other views than the test set.
    pub fn new(test: &Part, ood: &[Part], class_names: &[String]) -> Result<Self, DetectorError> {
        let classes = test.classes(class_names);
        let mut rows = Vec::new();
        for &views in test.scored().views().prefixes() {
            let suited = test.scored().aggregations();
            let aggregations =
                if views == TestTimeViews::Identity { &suited[..suited.len().min(1)] } else { suited };
            for &aggregation in aggregations {
                let (predicted, normal) = test.scored().judge(views, aggregation);
                tracing::debug!(?views, ?aggregation, "scored");
                let results = ood.iter().map(|part| {
                    let (_, anomalous) = part.scored().judge(views, aggregation);
                    let metrics = OodMetrics::new(&normal, &anomalous)?;
                    Ok(OodResult { set: part.name().to_string(), metrics })
                });
                rows.push(EvaluationRow {
                    views,
                    aggregation: (views != TestTimeViews::Identity).then_some(aggregation),
                    accuracy: classes.as_ref().map(|classes| accuracy(&predicted, classes)).transpose()?,
                    ood: results.collect::<Result<_, DetectorError>>()?,
                });
            }
        }
        Ok(Self { test_images: test.images().len(), rows })
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets = self.rows.first().map_or(&[][..], |row| &row.ood);
        let head = |result: &OodResult| format!("  {} AUROC / FPR95", printable(&result.set));
        write!(f, "{:<7}{:<17}{:>8}", "views", "aggregation", "accuracy")?;
        for result in sets {
            write!(f, "{}", head(result))?;
        }
        for row in &self.rows {
            let dash = || "-".to_string();
            let aggregation = row.aggregation.map_or_else(dash, |a| format!("{a:?}"));
            let accuracy = row.accuracy.map_or_else(dash, |accuracy| format!("{:.2}", 100.0 * accuracy));
            write!(f, "\n{:<7}{aggregation:<17}{accuracy:>8}", row.views.aux().len())?;
            for result in &row.ood {
                let (auroc, fpr) = (result.metrics.auroc, result.metrics.fpr_at_95_tpr.in_distribution);
                let (auroc, fpr) = (100.0 * auroc, 100.0 * fpr);
                write!(f, "{:>1$}", format!("{auroc:.2} / {fpr:.2}"), head(result).chars().count())?;
            }
        }
        Ok(())
    }
}
