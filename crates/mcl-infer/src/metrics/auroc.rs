//! Area under the receiver operating characteristic.

use super::error::MetricError;
use super::ranking::{Cut, Positive, Ranking};
use super::scores::Scores;

/// The chance that an in-distribution image scores higher than an out-of-distribution one, ties counting
/// half: the area under the ROC curve, 0 to 1, 0.5 for scores that tell nothing. The same whichever class is
/// positive.
///
/// # Errors
///
/// An empty side, NaN, or a device that cannot return its scores.
pub fn auroc(ind: impl Scores, ood: impl Scores) -> Result<f64, MetricError> {
    Ok(Ranking::new(ind, ood)?.auroc())
}

impl Ranking {
    /// [`auroc`] of the two sets.
    pub fn auroc(&self) -> f64 {
        // Mann-Whitney U over the number of pairs, in whole half-pairs: rounded once, at the end.
        let (positives, negatives) = self.sizes(Positive::InDistribution);
        let (mut half_pairs, mut before) = (0u128, (0, 0));
        for Cut { true_positives, false_positives, .. } in self.cuts(Positive::InDistribution) {
            let step = u128::from(false_positives - before.1);
            half_pairs += step * u128::from(true_positives + before.0);
            before = (true_positives, false_positives);
        }
        half_pairs as f64 / (2.0 * positives * negatives)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_by_hand() {
        // 3 > {2, 1}, 2 = 2 (half), 2 > 1: 3.5 of 4 pairs.
        assert_eq!(auroc(&[3.0, 2.0], &[2.0, 1.0]), Ok(0.875));
        assert_eq!(auroc(&[1.0, 1.0], &[1.0]), Ok(0.5));
        assert_eq!(auroc(&[0.0], &[1.0]), Ok(0.0));
    }
}
