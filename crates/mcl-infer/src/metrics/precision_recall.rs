//! Area under the precision-recall curve, by the two rules in use.

use super::error::MetricError;
use super::ranking::{Cut, Positive, Ranking};
use super::scores::Scores;

/// Area under the precision-recall curve as a step function: the mean precision over the positives
/// (scikit-learn's `average_precision_score`). 0 to 1.
///
/// ```text
/// AP = Σ_t (recall_t - recall_(t-1)) precision_t
/// ```
///
/// # Errors
///
/// An empty side, NaN, or a device that cannot return its scores.
pub fn average_precision(ind: impl Scores, ood: impl Scores, positive: Positive) -> Result<f64, MetricError> {
    Ok(Ranking::new(ind, ood)?.average_precision(positive))
}

/// Area under the precision-recall curve by the trapezoidal rule, from (recall 0, precision 1) on: what
/// `OpenOOD` and others call AUPR (scikit-learn's `auc` of `precision_recall_curve`). 0 to 1, and a little
/// optimistic, as precision is not linear between thresholds.
///
/// # Errors
///
/// An empty side, NaN, or a device that cannot return its scores.
pub fn aupr_trapezoid(ind: impl Scores, ood: impl Scores, positive: Positive) -> Result<f64, MetricError> {
    Ok(Ranking::new(ind, ood)?.aupr_trapezoid(positive))
}

impl Ranking {
    /// [`average_precision`] of the two sets.
    pub fn average_precision(&self, positive: Positive) -> f64 {
        self.area(positive, |_, precision| precision)
    }

    /// [`aupr_trapezoid`] of the two sets.
    pub fn aupr_trapezoid(&self, positive: Positive) -> f64 {
        self.area(positive, |before, precision| (before + precision) / 2.0)
    }

    /// Σ of the steps in recall times a height made of the precision before and at the step.
    fn area(&self, positive: Positive, height: impl Fn(f64, f64) -> f64) -> f64 {
        let (positives, _) = self.sizes(positive);
        let (mut area, mut recalled, mut before) = (0.0, 0, 1.0);
        for Cut { true_positives, false_positives, .. } in self.cuts(positive) {
            let precision = true_positives as f64 / (true_positives + false_positives) as f64;
            area += (true_positives - recalled) as f64 * height(before, precision);
            (recalled, before) = (true_positives, precision);
        }
        area / positives
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_by_hand() {
        // In-distribution positive: precision 1 at recall 1/2, 2/3 at recall 1.
        let (ind, ood) = ([3.0, 1.0], [2.0]);
        assert_eq!(average_precision(&ind, &ood, Positive::InDistribution), Ok((1.0 + 2.0 / 3.0) / 2.0));
        // The curve falls to 1/2 before it rises to 2/3: (1 + 1)/2 and (1/2 + 2/3)/2, half the recall each.
        let trapezoid = aupr_trapezoid(&ind, &ood, Positive::InDistribution).unwrap();
        assert!((trapezoid - (1.0 + 7.0 / 12.0) / 2.0).abs() < 1e-15);
        assert_eq!(average_precision(&ind, &ood, Positive::OutOfDistribution), Ok(0.5));
    }
}
