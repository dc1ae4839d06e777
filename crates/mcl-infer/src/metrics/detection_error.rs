//! The least error of any threshold.

use super::error::MetricError;
use super::ranking::{Positive, Ranking};
use super::scores::Scores;

/// The least share of wrong verdicts that any threshold reaches when both sides are equally likely, 0 to 0.5:
///
/// ```text
/// min_t (1 - TPR_t + FPR_t) / 2
/// ```
///
/// The same whichever class is positive.
///
/// # Errors
///
/// An empty side, NaN, or a device that cannot return its scores.
pub fn detection_error(ind: impl Scores, ood: impl Scores) -> Result<f64, MetricError> {
    Ok(Ranking::new(ind, ood)?.detection_error())
}

impl Ranking {
    /// [`detection_error`] of the two sets.
    pub fn detection_error(&self) -> f64 {
        let (positives, negatives) = self.sizes(Positive::InDistribution);
        self.cuts(Positive::InDistribution)
            .map(|cut| {
                let missed = 1.0 - cut.true_positives as f64 / positives;
                (missed + cut.false_positives as f64 / negatives) / 2.0
            })
            .fold(0.5, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_by_hand() {
        // At 2: all of 2 detected, 1 of 2 falsely.
        assert_eq!(detection_error(&[4.0, 2.0], &[3.0, 1.0]), Ok(0.25));
        assert_eq!(detection_error(&[1.0], &[0.0]), Ok(0.0));
        assert_eq!(detection_error(&[0.0], &[1.0]), Ok(0.5));
    }
}
