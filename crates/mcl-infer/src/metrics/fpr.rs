//! False positive rate at a true positive rate.

use super::error::MetricError;
use super::ranking::{Positive, Ranking};
use super::scores::Scores;

/// The share of negatives that pass the strictest threshold that at least a share `tpr` of the positives
/// pass: the field's FPR@95 for `tpr` = 0.95. 0 to 1, lower is better.
///
/// Every distinct score is a threshold, and there is no interpolation between them.
///
/// # Errors
///
/// An empty side, NaN, a device that cannot return its scores, or a `tpr` that is not between 0 and 1.
pub fn fpr_at_tpr(
    ind: impl Scores,
    ood: impl Scores,
    tpr: f64,
    positive: Positive,
) -> Result<f64, MetricError> {
    check_rate(tpr)?; // before the scores are sorted
    Ranking::new(ind, ood)?.fpr_at_tpr(tpr, positive)
}

fn check_rate(tpr: f64) -> Result<(), MetricError> {
    if (0.0..=1.0).contains(&tpr) { Ok(()) } else { Err(MetricError::InvalidRate { tpr }) }
}

impl Ranking {
    /// [`fpr_at_tpr`] of the two sets.
    ///
    /// # Errors
    ///
    /// A `tpr` that is not between 0 and 1.
    pub fn fpr_at_tpr(&self, tpr: f64, positive: Positive) -> Result<f64, MetricError> {
        check_rate(tpr)?;
        let (positives, negatives) = self.sizes(positive);
        if tpr <= 0.0 {
            return Ok(0.0); // a threshold above all scores
        }
        let cut = self.cuts(positive).find(|cut| cut.true_positives as f64 / positives >= tpr);
        Ok(cut.map_or(1.0, |cut| cut.false_positives as f64 / negatives))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_by_hand() {
        let (ind, ood) = ([4.0, 3.0, 2.0, 0.0], [3.5, 1.0]);
        let ind_positive = |tpr| fpr_at_tpr(&ind, &ood, tpr, Positive::InDistribution).unwrap();
        assert_eq!([0.0, 0.25, 0.5, 0.75, 0.76, 1.0].map(ind_positive), [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]);
        let ood_positive = |tpr| fpr_at_tpr(&ind, &ood, tpr, Positive::OutOfDistribution).unwrap();
        assert_eq!([0.5, 1.0].map(ood_positive), [0.25, 0.75]);
    }

    #[test]
    fn rates_are_shares() {
        for tpr in [95.0, -0.1, f64::NAN] {
            let result = fpr_at_tpr(&[1.0], &[0.0], tpr, Positive::InDistribution);
            assert!(matches!(result, Err(MetricError::InvalidRate { .. })), "{tpr}");
        }
    }
}
