//! Validation of a run: the trainer judges the network every so many steps, keeps the best network, and ends
//! the run when the network no longer improves.

use std::collections::BTreeMap;

use mcl_model::Network;
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::floats::{each_or_nan, or_nan};

/// The findings of a validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ValidationReport {
    /// Steps done when the network was judged. The trainer fills this in.
    #[serde(default)]
    pub step: usize,
    /// The figure by which networks are compared; higher is better.
    #[serde(deserialize_with = "or_nan")]
    pub value: f64,
    /// All figures by name, for the log.
    #[serde(default, deserialize_with = "each_or_nan")]
    pub metrics: BTreeMap<String, f64>,
}

impl ValidationReport {
    /// Returns a report of one figure; higher is better.
    pub fn new(value: f64) -> Self {
        Self { step: 0, value, metrics: BTreeMap::new() }
    }

    /// Adds a named figure for the log.
    #[must_use]
    pub fn with_metric(mut self, name: impl Into<String>, value: f64) -> Self {
        self.metrics.insert(name.into(), value);
        self
    }
}

impl std::fmt::Display for ValidationReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "step {}: validation {:.4}", self.step, self.value)?;
        self.metrics.iter().try_for_each(|(name, value)| write!(f, "  {name} {value:.4}"))
    }
}

/// Judges a network in evaluation mode by one figure.
///
/// [`KnnProbe`](super::KnnProbe) implements this trait, and so does any function from a network to a
/// `Result<ValidationReport, TrainError>`:
///
/// ```
/// use burn::tensor::Tensor;
/// use burn_mcl::model::MclModel;
/// use burn_mcl::train::{TrainError, ValidationReport};
///
/// /// Prefers networks with small projections of a black image.
/// fn small_projections(network: &MclModel) -> Result<ValidationReport, TrainError> {
///     let black = Tensor::zeros([1, 3, 32, 32], &network.device());
///     let length = network.forward(black).projections.abs().mean().into_scalar::<f64>();
///     Ok(ValidationReport::new(-length))
/// }
/// ```
pub trait Validation<N: Network> {
    /// Checks the settings of the validation. The trainer calls this before the first step.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`], or another error, for a setting with which [`validate`](Self::validate) would
    /// fail. The run then ends before its first step. Without an implementation every setting is accepted.
    fn check(&self) -> Result<(), TrainError> {
        Ok(())
    }

    /// Judges a network.
    ///
    /// # Errors
    ///
    /// An error ends the run; its checkpoints stay.
    fn validate(&mut self, network: &N) -> Result<ValidationReport, TrainError>;
}

impl<N: Network, F: FnMut(&N) -> Result<ValidationReport, TrainError>> Validation<N> for F {
    fn validate(&mut self, network: &N) -> Result<ValidationReport, TrainError> {
        self(network)
    }
}

/// A validation and its interval.
pub(super) struct Watch<'a, N> {
    /// Steps between two validations.
    pub(super) every: usize,
    pub(super) validation: Box<dyn Validation<N> + 'a>,
}

/// The best value of a run so far, and its age.
#[derive(Debug, Default)]
pub(super) struct Standing {
    best: Option<f64>,
    /// Validations since the best.
    since: usize,
}

impl Standing {
    /// Returns the standing after these validations.
    pub(super) fn after(reports: &[ValidationReport]) -> Self {
        let mut standing = Self::default();
        for report in reports {
            standing.add(report);
        }
        standing
    }

    /// Adds a validation and returns whether its value is the best so far. A value that is not finite is
    /// never the best.
    pub(super) fn add(&mut self, report: &ValidationReport) -> bool {
        let best = report.value.is_finite() && self.best.is_none_or(|best| report.value > best);
        if best {
            self.best = Some(report.value);
            self.since = 0;
        } else {
            self.since += 1;
        }
        best
    }

    /// Whether `patience` validations in a row brought no better value.
    pub(super) fn is_exhausted(&self, patience: Option<usize>) -> bool {
        patience.is_some_and(|patience| self.since >= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_not_numbers_are_read_back() {
        let report = ValidationReport::new(f64::NAN).with_metric("AUROC", f64::INFINITY);
        let read: ValidationReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert!(read.value.is_nan() && read.metrics["AUROC"].is_nan());
    }

    #[test]
    fn the_best_is_the_first_of_the_highest_values() {
        let values = [0.5, f64::NAN, 0.5, 0.7, 0.6, 0.7];
        let reports: Vec<_> = values.iter().map(|&value| ValidationReport::new(value)).collect();
        let mut standing = Standing::default();
        let best: Vec<bool> = reports.iter().map(|report| standing.add(report)).collect();
        assert_eq!(best, [true, false, false, true, false, false]);
        assert!(standing.is_exhausted(Some(2)) && !standing.is_exhausted(Some(3)));
        assert!(!standing.is_exhausted(None));
        assert_eq!(Standing::after(&reports).since, 2);
    }
}
