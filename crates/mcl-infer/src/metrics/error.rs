//! What cannot be measured.

use core::fmt;

use thiserror::Error;

use crate::error::Cause;

/// Which of the two sets of scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The in-distribution scores.
    InDistribution,
    /// The out-of-distribution scores.
    OutOfDistribution,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InDistribution => "in-distribution",
            Self::OutOfDistribution => "out-of-distribution",
        })
    }
}

/// An error of a metric.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum MetricError {
    /// The device could not return its scores.
    #[error("the device failed")]
    Device(#[source] Cause),

    /// There are no scores on one side.
    #[error("no {side} scores: at least one is needed on each side")]
    Empty {
        /// Which side.
        side: Side,
    },

    /// A score is NaN and has no rank.
    #[error("{side} score {index} is NaN: a model or image that makes NaN has no place in a metric")]
    NaN {
        /// Which side.
        side: Side,
        /// Position of the score.
        index: usize,
    },

    /// A true positive rate is not between 0 and 1.
    #[error("a true positive rate of {tpr} is not between 0 and 1 (95% is 0.95)")]
    InvalidRate {
        /// The rate.
        tpr: f64,
    },

    /// The level of an interval is not between 0 and 1.
    #[error("a level of {level} is not between 0 and 1 (95% is 0.95)")]
    InvalidLevel {
        /// The level.
        level: f64,
    },

    /// There is not one prediction for each true label.
    #[error("{predicted} predicted labels for {truth} true ones")]
    LabelCount {
        /// Number of predictions.
        predicted: usize,
        /// Number of true labels.
        truth: usize,
    },

    /// There are no labels to compare.
    #[error("no labels: accuracy needs at least one")]
    NoLabels,
}
