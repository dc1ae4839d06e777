//! The report of a step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::floats::{or_nan, read_optional, write_optional};

/// The parts of a loss that have no field in [`StepReport`], by name.
pub(super) type LossParts = BTreeMap<String, f32>;

/// A line of the log.
#[derive(Serialize)]
pub(super) struct LogLine<'a> {
    #[serde(flatten)]
    pub(super) report: &'a StepReport,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) parts: &'a LossParts,
}

/// The figures of one optimizer step, as they are logged and shown.
/// [`read_loss_parts`](super::read_loss_parts) reads the parts of a loss that have no field here.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: usize,
    /// Steps of the whole run.
    pub total_steps: usize,
    /// Epoch of the batch, counted from 0.
    pub epoch: usize,
    /// The loss, which the step lowers.
    pub loss: f32,
    /// The contrastive part of the loss: CCM, NT-Xent or SupCon. A loss without such a part is repeated here.
    #[serde(deserialize_with = "or_nan")]
    pub contrastive: f32,
    /// Stochastic positive attraction, for the losses that have this part.
    #[serde(default, serialize_with = "write_optional", deserialize_with = "read_optional")]
    pub attraction: Option<f32>,
    /// Length of the mean of the normalised projections of the batch, in [0, 1]. The concentration is near 0
    /// when the projections are spread over the sphere, and 1 when all projections lie at one point. The
    /// concentration starts near 1 and falls after the warm-up. Training has collapsed if the concentration
    /// stays near 1: train for more steps, with a longer warm-up, or with a lower learning rate. Not a number when the loss
    /// leaves the projections alone ([`TrainingLoss::shapes_projections`](super::TrainingLoss::shapes_projections)).
    #[serde(deserialize_with = "or_nan")]
    pub concentration: f32,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Views that went through the network per second, waiting for data included.
    pub views_per_second: f64,
    /// Share of the step's time spent waiting for the batch, in [0, 1].
    pub data_wait: f64,
}

impl StepReport {
    /// Returns the report of a step with this loss. The caller fills in the place of the step in the run.
    pub(super) fn of_loss(loss: f32, concentration: f32) -> Self {
        Self {
            step: 0,
            total_steps: 0,
            epoch: 0,
            loss,
            contrastive: loss,
            attraction: None,
            concentration,
            learning_rate: 0.0,
            views_per_second: 0.0,
            data_wait: 0.0,
        }
    }

    /// Returns the warning for a run whose projections stay collapsed after the warm-up.
    pub(super) fn collapsing(&self) -> String {
        format!(
            "training has collapsed: after {} steps all projections lie at one point (concentration {:.2}); a longer \
             warm-up, a lower learning rate or more classes may help",
            self.step, self.concentration
        )
    }

    /// Returns the warning for a run that will take more than a day, if this is such a run. A step takes
    /// `views` views.
    pub(super) fn long(&self, views: usize) -> Option<String> {
        let left = self.total_steps.saturating_sub(self.step) as f64 * views as f64;
        let days = left / self.views_per_second / (24.0 * 3600.0);
        (days > 1.0).then(|| {
            format!(
                "at {:.0} views/s the remaining {} steps take about {days:.0} days; a smaller network or fewer steps \
                 take less time",
                self.views_per_second,
                self.total_steps - self.step
            )
        })
    }

    /// Whether the projections have collapsed. Runs that learned ended with a concentration from 0.03 to
    /// 0.32.
    pub(super) fn is_collapsed(&self) -> bool {
        self.concentration > 0.5
    }

    /// Returns the warning for a run that ends at this step with collapsed projections.
    pub(crate) fn collapse(&self) -> Option<String> {
        self.is_collapsed().then(|| {
            format!(
                "the network has hardly learned to tell images apart: at the end all projections lie at one point \
                 (concentration {:.2}); train for more steps, or with a lower learning rate",
                self.concentration
            )
        })
    }
}

impl std::fmt::Display for StepReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "loss {:.4}", self.loss)?;
        if let Some(attraction) = self.attraction {
            write!(f, " (CCM {:.4}, SPA {attraction:.4})", self.contrastive)?;
        }
        if !self.concentration.is_nan() {
            write!(f, "  concentration {:.2}", self.concentration)?;
        }
        write!(f, "  lr {:.4}  {:.0} views/s", self.learning_rate, self.views_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl StepReport {
        /// Returns a report for tests.
        pub(crate) fn example(step: usize) -> Self {
            Self {
                step,
                total_steps: 9,
                epoch: 0,
                loss: 1.5,
                contrastive: 1.5,
                attraction: None,
                concentration: 0.5,
                learning_rate: 0.1,
                views_per_second: 1.0,
                data_wait: 0.0,
            }
        }
    }

    #[test]
    fn a_run_of_days_is_told_of() {
        let mut report = StepReport {
            total_steps: 78_002,
            views_per_second: 2048.0 / 40.0, // a step takes 40 s
            ..StepReport::example(2)
        };
        let message = report.long(2048).unwrap();
        assert!(message.contains("remaining 78000 steps") && message.contains("about 36 days"), "{message}");
        report.total_steps = 300;
        assert_eq!(report.long(2048), None);
    }
}
