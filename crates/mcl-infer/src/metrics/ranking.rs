//! Both sets of scores, sorted once: what all the threshold metrics are read from.

use rayon::slice::ParallelSliceMut;

use super::error::{MetricError, Side};
use super::scores::Scores;

/// Which class a detector is said to detect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Positive {
    /// In-distribution images are positive: detected when the score is high (as in the MCL paper).
    InDistribution,
    /// Out-of-distribution images are positive: detected when the score is low (as in `OpenOOD`).
    OutOfDistribution,
}

/// Both sets of scores in ascending order: all metrics, and the points of every curve, from one sort.
///
/// ```
/// use mcl_infer::metrics::{Positive, Ranking};
///
/// let ranking = Ranking::new(&[3.0, 2.0], &[2.0, 1.0])?;
/// assert_eq!(ranking.auroc(), 0.875);
/// // The ROC curve of finding anomalies: shares of all.
/// let (anomalies, normal) = ranking.counts(Positive::OutOfDistribution);
/// let roc: Vec<(f64, f64)> = ranking
///     .cuts(Positive::OutOfDistribution)
///     .map(|cut| (cut.false_positives as f64 / normal as f64, cut.true_positives as f64 / anomalies as f64))
///     .collect();
/// assert_eq!(roc, [(0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]);
/// # Ok::<(), mcl_infer::metrics::MetricError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ranking {
    ind: Vec<f64>,
    ood: Vec<f64>,
}

impl Ranking {
    /// Sorts the scores of in-distribution and of out-of-distribution images; higher = more in-distribution.
    ///
    /// # Errors
    ///
    /// An empty side, NaN, or a device that cannot return its scores.
    pub fn new(ind: impl Scores, ood: impl Scores) -> Result<Self, MetricError> {
        let sorted = |mut scores: Vec<f64>, side| {
            if scores.is_empty() {
                return Err(MetricError::Empty { side });
            }
            if let Some(index) = scores.iter().position(|score| score.is_nan()) {
                return Err(MetricError::NaN { side, index });
            }
            scores.par_sort_unstable_by(f64::total_cmp);
            Ok(scores)
        };
        Ok(Self {
            ind: sorted(ind.into_f64()?, Side::InDistribution)?,
            ood: sorted(ood.into_f64()?, Side::OutOfDistribution)?,
        })
    }

    /// What is detected at each threshold, from the strictest down to the one that detects everything.
    /// Equal scores are one threshold.
    pub fn cuts(&self, positive: Positive) -> Cuts<'_> {
        let (positives, negatives) = match positive {
            Positive::InDistribution => (&self.ind, &self.ood),
            Positive::OutOfDistribution => (&self.ood, &self.ind),
        };
        Cuts {
            positives,
            negatives,
            detected_when_high: positive == Positive::InDistribution,
            cut: Cut { threshold: f64::NAN, true_positives: 0, false_positives: 0 },
        }
    }

    /// Number of positives and of negatives, each at least 1.
    pub fn counts(&self, positive: Positive) -> (u64, u64) {
        let (ind, ood) = (self.ind.len() as u64, self.ood.len() as u64);
        match positive {
            Positive::InDistribution => (ind, ood),
            Positive::OutOfDistribution => (ood, ind),
        }
    }

    /// The same for divisions.
    pub(crate) fn sizes(&self, positive: Positive) -> (f64, f64) {
        let (positives, negatives) = self.counts(positive);
        (positives as f64, negatives as f64)
    }
}

/// How many are detected at one threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Cut {
    /// The threshold: with in-distribution positive, scores from it on are detected; else scores up to it.
    pub threshold: f64,
    /// Positives that are detected.
    pub true_positives: u64,
    /// Negatives that are detected.
    pub false_positives: u64,
}

/// The [cuts](Ranking::cuts) of a ranking. Walks both sorted sets at once.
#[derive(Debug, Clone)]
pub struct Cuts<'a> {
    positives: &'a [f64],
    negatives: &'a [f64],
    detected_when_high: bool,
    cut: Cut,
}

impl Iterator for Cuts<'_> {
    type Item = Cut;

    fn next(&mut self) -> Option<Cut> {
        let (threshold, positives, negatives) = if self.detected_when_high {
            let threshold = match (self.positives.last(), self.negatives.last()) {
                (Some(&p), Some(&n)) => p.max(n),
                (Some(&only), None) | (None, Some(&only)) => only,
                (None, None) => return None,
            };
            (threshold, pop_back(&mut self.positives, threshold), pop_back(&mut self.negatives, threshold))
        } else {
            let threshold = match (self.positives.first(), self.negatives.first()) {
                (Some(&p), Some(&n)) => p.min(n),
                (Some(&only), None) | (None, Some(&only)) => only,
                (None, None) => return None,
            };
            (threshold, pop_front(&mut self.positives, threshold), pop_front(&mut self.negatives, threshold))
        };
        self.cut.threshold = threshold;
        self.cut.true_positives += positives;
        self.cut.false_positives += negatives;
        Some(self.cut)
    }
}

/// Takes the scores equal to `threshold` (0.0 and -0.0 are) off the end, and counts them.
fn pop_back(sorted: &mut &[f64], threshold: f64) -> u64 {
    let mut count = 0;
    while let [rest @ .., last] = *sorted
        && *last == threshold
    {
        *sorted = rest;
        count += 1;
    }
    count
}

/// The same at the start.
fn pop_front(sorted: &mut &[f64], threshold: f64) -> u64 {
    let mut count = 0;
    while let [first, rest @ ..] = *sorted
        && *first == threshold
    {
        *sorted = rest;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(ind: &[f64], ood: &[f64], positive: Positive) -> Vec<(u64, u64)> {
        let ranking = Ranking::new(ind, ood).unwrap();
        ranking.cuts(positive).map(|cut| (cut.true_positives, cut.false_positives)).collect()
    }

    #[test]
    fn ties_are_one_threshold() {
        let (ind, ood) = ([3.0, 2.0, 2.0], [2.0, 1.0]);
        assert_eq!(cuts(&ind, &ood, Positive::InDistribution), [(1, 0), (3, 1), (3, 2)]);
        assert_eq!(cuts(&ind, &ood, Positive::OutOfDistribution), [(1, 0), (2, 2), (2, 3)]);
        let ranking = Ranking::new(&ind, &ood).unwrap();
        let thresholds = |positive| ranking.cuts(positive).map(|cut| cut.threshold).collect::<Vec<_>>();
        assert_eq!(thresholds(Positive::InDistribution), [3.0, 2.0, 1.0]);
        assert_eq!(thresholds(Positive::OutOfDistribution), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn both_zeros_are_equal_and_infinities_have_a_rank() {
        let cuts = cuts(&[0.0, f64::INFINITY], &[-0.0, f64::NEG_INFINITY], Positive::InDistribution);
        assert_eq!(cuts, [(1, 0), (2, 1), (2, 2)]);
    }

    #[test]
    fn nan_and_nothing_are_errors() {
        let nan = Ranking::new(&[1.0], &[0.0, f64::NAN]).err();
        assert_eq!(nan, Some(MetricError::NaN { side: Side::OutOfDistribution, index: 1 }));
        let empty = Ranking::new(&[0.0; 0], &[0.0]).err();
        assert_eq!(empty, Some(MetricError::Empty { side: Side::InDistribution }));
    }
}
