//! A threshold that keeps a promise: split-conformal p-values and thresholds from held-out normal scores.
//!
//! Let `s_1, ..., s_n` be scores of normal images that the network was not trained on, and `s` the score of a
//! new image. If the new image is normal as well, drawn like the others, its rank among them is uniform, so
//! that
//!
//! ```text
//! p(s) = (1 + #{i: s_i <= s}) / (n + 1),        P(p(s) <= a) <= a   for every a in [0, 1]
//! ```
//!
//! whatever the distribution of the scores and however small n. The probability is over the draw of the
//! calibration images as well as of the new one: with one calibration set at hand, the rate of false alarms
//! is itself a random number (Beta distributed) whose mean is at most `a`, and n = 1000 keeps it within about
//! 1.4 points of 5% nineteen times in twenty.

use serde::{Deserialize, Serialize};

use crate::error::InferError;

/// Scores of held-out normal images, in ascending order: what a new score is compared with.
///
/// Stored by serde as the sequence of its scores, which are checked when read.
///
/// ```
/// use mcl_infer::Calibration;
///
/// let calibration = Calibration::new((1..=99).map(f64::from).collect())?;
/// let threshold = calibration.threshold(0.95)?;
/// assert_eq!(threshold, 5.0); // 5 of 100 ranks lie below it
/// assert_eq!(calibration.p_value(4.5), 0.05); // four scores are not above 4.5: (1 + 4) / 100
/// assert_eq!(calibration.p_value(5.0), 0.06);
/// # Ok::<(), mcl_infer::InferError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct Calibration {
    ascending: Vec<f64>,
}

impl Calibration {
    /// Keeps the scores, in any order; higher = more normal.
    ///
    /// # Errors
    ///
    /// [`InferError::CalibrationScore`] when one is NaN or infinite. No scores at all are allowed: every
    /// p-value is then 1.
    pub fn new(mut scores: Vec<f64>) -> Result<Self, InferError> {
        if let Some(position) = scores.iter().position(|score| !score.is_finite()) {
            return Err(InferError::CalibrationScore { position, score: scores[position] });
        }
        scores.sort_unstable_by(f64::total_cmp);
        Ok(Self { ascending: scores })
    }

    /// The scores, ascending.
    pub fn scores(&self) -> &[f64] {
        &self.ascending
    }

    /// The share of ranks, from 1 / (n + 1) to 1, that are as low as that of `score`: small for an anomaly.
    ///
    /// A score equal to calibration scores counts as not below any of them, which is the cautious side. NaN
    /// gives 1 / (n + 1), as the lowest of all.
    pub fn p_value(&self, score: f64) -> f64 {
        let not_above = self.ascending.partition_point(|&calibration| calibration <= score);
        (1 + not_above) as f64 / (1 + self.ascending.len()) as f64
    }

    /// The highest threshold that at least a share `tpr` of new normal images reach, on average over draws of
    /// the calibration images.
    ///
    /// It is the `k`-th lowest of the n scores, `k` being `(n + 1) (1 - tpr)` rounded down (within 1e-9 of a
    /// whole number that number: 100 * (1 - 0.95) is 5), at most n. A score is below it exactly when fewer
    /// than `k` scores are not above it, that is, when its [p-value](Self::p_value) is at most `k / (n + 1)`.
    ///
    /// # Errors
    ///
    /// [`InferError::Rate`] when `tpr` is not above 0 and below 1, [`InferError::TooFewToCalibrate`] when
    /// there are fewer than `1 / (1 - tpr) - 1` scores, or none: no threshold can promise as much from so
    /// few.
    pub fn threshold(&self, tpr: f64) -> Result<f64, InferError> {
        if !(tpr > 0.0 && tpr < 1.0) {
            return Err(InferError::Rate { rate: tpr });
        }
        let scores = self.ascending.len();
        // A new score is below the k-th lowest with probability at most k / (n + 1); the small number keeps
        // 100 * (1 - 0.95) from being 5.000000000000004 or 4.999999999999996.
        let k = ((scores + 1) as f64 * (1.0 - tpr) + 1e-9).floor() as usize;
        if k == 0 || scores == 0 {
            let needed = ((1.0 / (1.0 - tpr) - 1.0 - 1e-9).ceil() as usize).max(1);
            return Err(InferError::TooFewToCalibrate { scores, needed, tpr });
        }
        Ok(self.ascending[k.min(scores) - 1])
    }
}

impl TryFrom<Vec<f64>> for Calibration {
    type Error = InferError;

    /// As [`Calibration::new`].
    fn try_from(scores: Vec<f64>) -> Result<Self, InferError> {
        Self::new(scores)
    }
}

impl From<Calibration> for Vec<f64> {
    /// The scores, ascending.
    fn from(calibration: Calibration) -> Self {
        calibration.ascending
    }
}
