//! The figures at the top of a report.

use std::fmt;

use mcl_infer::metrics::{OodMetrics, accuracy};
use serde::{Deserialize, Serialize};

use super::{Part, ReportError};

/// What a report says in numbers. `Display` prints it as a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// Name of the normal set.
    pub normal: String,
    /// Its images.
    pub images: usize,
    /// Share of them given their class, in [0, 1]; `None` when their classes are not those of training, or there is one
    /// class only.
    pub accuracy: Option<f64>,
    /// Scores below this are anomalies.
    pub threshold: Option<f64>,
    /// Share of normal images below the threshold, in [0, 1].
    pub false_alarms: Option<f64>,
    /// The share of normal images that was to be below it at most, on average.
    pub false_alarms_promised: Option<f64>,
    /// One row for each anomalous set.
    pub anomalous: Vec<SummaryRow>,
}

/// How well one anomalous set is told from the normal one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SummaryRow {
    /// Name of the set.
    pub set: String,
    /// Its images.
    pub images: usize,
    /// All metrics that need no threshold, in [0, 1].
    #[serde(flatten)]
    pub metrics: OodMetrics,
    /// Share of them below the threshold, in [0, 1].
    pub found: Option<f64>,
}

impl Summary {
    pub(super) fn new(
        normal: &Part,
        anomalous: &[Part],
        training_classes: &[String],
        threshold: Option<f64>,
        tpr: Option<f64>,
    ) -> Result<Self, ReportError> {
        let below = |scores: &[f64]| {
            let share =
                |threshold| scores.iter().filter(|&&s| s < threshold).count() as f64 / scores.len() as f64;
            threshold.map(share)
        };
        let classes = normal.classes(training_classes);
        let rows = anomalous.iter().map(|part| {
            let metrics = OodMetrics::new(&normal.scores, &part.scores)?;
            Ok(SummaryRow {
                set: part.name.clone(),
                images: part.scores.len(),
                metrics,
                found: below(&part.scores),
            })
        });
        Ok(Self {
            normal: normal.name.clone(),
            images: normal.scores.len(),
            accuracy: classes.map(|classes| accuracy(&normal.predicted, &classes)).transpose()?,
            threshold,
            false_alarms: below(&normal.scores),
            false_alarms_promised: threshold.and(tpr).map(|tpr| 1.0 - tpr),
            anomalous: rows.collect::<Result<_, ReportError>>()?,
        })
    }
}

/// A share in percent; a dash where there is none.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_string(), |share| format!("{:.1}%", 100.0 * share))
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.anomalous.iter().map(|row| row.set.chars().count());
        let width = names.chain([self.normal.chars().count(), 3]).max().unwrap_or_default();
        writeln!(f, "{:width$}  images   AUROC  FPR@95TPR  flagged", "set")?;
        let flagged = percent(self.false_alarms);
        write!(f, "{:width$}  {:>6}  {:>6}  {:>9}  {flagged:>7}", self.normal, self.images, "", "")?;
        if let Some(promised) = self.false_alarms_promised {
            write!(f, "  false alarms; {} promised on average", percent(Some(promised)))?;
        }
        for row in &self.anomalous {
            let auroc = percent(Some(row.metrics.auroc));
            let fpr = percent(Some(row.metrics.fpr_at_95_tpr.in_distribution));
            let found = percent(row.found);
            write!(f, "\n{:width$}  {:>6}  {auroc:>6}  {fpr:>9}  {found:>7}", row.set, row.images)?;
        }
        if let Some(accuracy) = self.accuracy {
            write!(f, "\nclass of normal images right: {}", percent(Some(accuracy)))?;
        }
        Ok(())
    }
}
