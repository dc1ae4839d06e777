//! All threshold metrics at once.

use serde::{Deserialize, Serialize};

use super::error::MetricError;
use super::ranking::{Positive, Ranking};
use super::scores::Scores;

/// One row of a paper's table: all metrics of one out-of-distribution set, from a single sort of the scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OodMetrics {
    /// [`auroc`](super::auroc)
    pub auroc: f64,
    /// [`fpr_at_tpr`](super::fpr_at_tpr) at 0.95
    pub fpr_at_95_tpr: ByPositive,
    /// [`average_precision`](super::average_precision)
    pub average_precision: ByPositive,
    /// [`aupr_trapezoid`](super::aupr_trapezoid)
    pub aupr_trapezoid: ByPositive,
    /// [`detection_error`](super::detection_error)
    pub detection_error: f64,
}

/// A metric under both conventions of what is positive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ByPositive {
    /// With in-distribution images as the positives.
    pub in_distribution: f64,
    /// With out-of-distribution images as the positives.
    pub out_of_distribution: f64,
}

impl OodMetrics {
    /// Measures how well scores (higher = more in-distribution) tell the two sides apart.
    ///
    /// # Errors
    ///
    /// An empty side, NaN, or a device that cannot return its scores.
    pub fn new(ind: impl Scores, ood: impl Scores) -> Result<Self, MetricError> {
        Ok(Ranking::new(ind, ood)?.metrics())
    }

    /// The mean of each metric over several out-of-distribution sets, each counting the same whatever its size: the columns "near" and
    /// "far" of OpenOOD's leaderboard. `None` without a set.
    ///
    /// ```
    /// use mcl_infer::metrics::OodMetrics;
    ///
    /// let normal = [0.9, 0.8, 0.7, 0.6];
    /// let sets = [OodMetrics::new(&normal, &[0.1])?, OodMetrics::new(&normal, &[0.65, 0.95])?];
    /// assert_eq!(OodMetrics::mean(&sets).unwrap().auroc, (1.0 + 3.0 / 8.0) / 2.0);
    /// # Ok::<(), mcl_infer::metrics::MetricError>(())
    /// ```
    pub fn mean(sets: &[Self]) -> Option<Self> {
        let count = sets.len() as f64;
        let of = |metric: &dyn Fn(&Self) -> f64| sets.iter().map(metric).sum::<f64>() / count;
        let both = |metric: &dyn Fn(&Self) -> ByPositive| ByPositive {
            in_distribution: of(&|set| metric(set).in_distribution),
            out_of_distribution: of(&|set| metric(set).out_of_distribution),
        };
        (!sets.is_empty()).then(|| Self {
            auroc: of(&|set| set.auroc),
            fpr_at_95_tpr: both(&|set| set.fpr_at_95_tpr),
            average_precision: both(&|set| set.average_precision),
            aupr_trapezoid: both(&|set| set.aupr_trapezoid),
            detection_error: of(&|set| set.detection_error),
        })
    }
}

impl Ranking {
    /// All metrics of the two sets.
    pub fn metrics(&self) -> OodMetrics {
        let both = |metric: &dyn Fn(Positive) -> f64| ByPositive {
            in_distribution: metric(Positive::InDistribution),
            out_of_distribution: metric(Positive::OutOfDistribution),
        };
        OodMetrics {
            auroc: self.auroc(),
            fpr_at_95_tpr: both(&|positive| self.fpr_at_tpr(0.95, positive).expect("a rate")),
            average_precision: both(&|positive| self.average_precision(positive)),
            aupr_trapezoid: both(&|positive| self.aupr_trapezoid(positive)),
            detection_error: self.detection_error(),
        }
    }
}
