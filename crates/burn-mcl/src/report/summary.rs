//! The figures at the top of a report.

use std::fmt;

use mcl_data::printable;
use mcl_infer::Calibration;
use mcl_infer::metrics::{OodMetrics, accuracy};
use serde::{Deserialize, Serialize};

use mcl_model::Network;

use super::{Part, ReportError, validate_all};
use crate::detector::Detector;

/// What a report says in numbers. `Display` prints it as a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// Name of the normal set.
    pub normal: String,
    /// Its images.
    pub images: usize,
    /// Share of them given their class, in [0, 1]; `None` when their classes are not those of training, or
    /// there is one class only.
    pub accuracy: Option<f64>,
    /// Scores below this are anomalies.
    pub threshold: Option<f64>,
    /// Share of normal images below the threshold, in [0, 1].
    pub false_alarms: Option<f64>,
    /// 95% interval of the share of all normal images that lie below the threshold, from those of this set
    /// (Wilson's score interval).
    #[serde(default)]
    pub false_alarms_interval: Option<(f64, f64)>,
    /// The guarantee of the threshold: at most this share of normal images lies below it, on average over
    /// draws of the calibration images.
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
    /// The figures of a detector on sets of images that the detector judged ([`Part::of`]): normal ones, and sets of anomalies.
    ///
    /// # Errors
    ///
    /// [`ReportError::Empty`] when a set has no images, [`ReportError::SameName`] when two sets have one name, and
    /// [`ReportError::Class`] or [`ReportError::NonFinite`] when a set was judged by another detector.
    pub fn of<N: Network>(
        detector: &Detector<N>,
        normal: &Part,
        anomalous: &[Part],
    ) -> Result<Self, ReportError> {
        let (classes, threshold) = (detector.class_names(), detector.threshold());
        validate_all(&[normal].into_iter().chain(anomalous).collect::<Vec<_>>(), classes.len())?;
        let guarantee = guarantee(detector.calibration(), threshold);
        Self::new(normal, anomalous, classes, Some(threshold), Some(guarantee))
    }

    pub(super) fn new(
        normal: &Part,
        anomalous: &[Part],
        training_classes: &[String],
        threshold: Option<f64>,
        guarantee: Option<f64>,
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
            false_alarms_interval: below(&normal.scores).map(|share| interval(share, normal.scores.len())),
            false_alarms_promised: guarantee,
            anomalous: rows.collect::<Result<_, ReportError>>()?,
        })
    }
}

/// The share of normal images below a threshold that is not exceeded on average over draws of the calibration images. It is a share of
/// n + 1 ranks, n being the number of calibration scores, and so may be less than `1 - tpr`.
pub(super) fn guarantee(calibration: &Calibration, threshold: f64) -> f64 {
    calibration.p_value(threshold.next_down())
}

/// Wilson's score interval at 95%: where the share of all images lies, of which `images` were drawn with this
/// `share`.
fn interval(share: f64, images: usize) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054; // 97.5% of a normal distribution lies below it
    let (n, z2) = (images as f64, Z * Z);
    let middle = share + z2 / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    (((middle - half) / (1.0 + z2 / n)).max(0.0), ((middle + half) / (1.0 + z2 / n)).min(1.0))
}

/// A share in percent; a dash where there is none.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_string(), |share| format!("{:.1}%", 100.0 * share))
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let normal = printable(&self.normal);
        let sets: Vec<String> = self.anomalous.iter().map(|row| printable(&row.set)).collect();
        let width = sets.iter().chain([&normal]).map(|name| name.chars().count()).fold(3, usize::max);
        writeln!(f, "{:width$}  images   AUROC  FPR@95TPR  flagged", "set")?;
        let flagged = percent(self.false_alarms);
        write!(f, "{:width$}  {:>6}  {:>6}  {:>9}  {flagged:>7}", normal, self.images, "", "")?;
        if let Some(promised) = self.false_alarms_promised {
            write!(f, "  false alarms; at most {} guaranteed on average", percent(Some(promised)))?;
        }
        for (row, set) in self.anomalous.iter().zip(&sets) {
            let auroc = percent(Some(row.metrics.auroc));
            let fpr = percent(Some(row.metrics.fpr_at_95_tpr.in_distribution));
            let found = percent(row.found);
            write!(f, "\n{:width$}  {:>6}  {auroc:>6}  {fpr:>9}  {found:>7}", set, row.images)?;
        }
        if let Some(accuracy) = self.accuracy {
            write!(f, "\nclass of normal images right: {}", percent(Some(accuracy)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ends are those p from which the share seen is 1.96 standard deviations away.
    #[test]
    fn the_interval_is_wilsons() {
        for (count, images) in [(8, 250), (118, 2000), (6, 12)] {
            let share = f64::from(count) / f64::from(images);
            let (low, high) = interval(share, images as usize);
            assert!(low < share && share < high);
            for p in [low, high] {
                let deviation = (p * (1.0 - p) / f64::from(images)).sqrt();
                assert!(((share - p).abs() / deviation - 1.959_964).abs() < 1e-6, "{count} of {images}: {p}");
            }
        }
        assert!(interval(0.0, 12).0 < 1e-12 && interval(1.0, 12).1 > 1.0 - 1e-12);
    }
}
