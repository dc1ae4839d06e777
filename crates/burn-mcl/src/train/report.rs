//! What is known after a step.

use serde::{Deserialize, Serialize};

/// One optimizer step, as it is logged and shown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: usize,
    /// Steps of the whole run.
    pub total_steps: usize,
    /// Epoch of the batch, counted from 0.
    pub epoch: usize,
    /// The loss that was descended.
    pub loss: f32,
    /// Its contrastive part: CCM, NT-Xent or SupCon.
    pub contrastive: f32,
    /// Stochastic positive attraction, for the objectives that have it.
    pub attraction: Option<f32>,
    /// Length of the mean of the normalised projections of the batch, in [0, 1]. Near 0 when they are spread over
    /// the sphere, 1 when all views lie at one point. Networks start near 1 and leave it once the rate has warmed up;
    /// one that does not has collapsed, and wants more steps, a longer warm-up or a lower learning rate.
    pub concentration: f32,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Views that went through the network per second, waiting for data included.
    pub views_per_second: f64,
    /// Share of the step's time spent waiting for the batch, in [0, 1].
    pub data_wait: f64,
}

impl StepReport {
    /// What to say when this is the last step of a run, and the projections still lie together.
    pub(super) fn collapse(&self) -> Option<String> {
        /// Runs that learned have ended between 0.03 and 0.32.
        const TOGETHER: f32 = 0.5;
        (self.concentration > TOGETHER).then(|| {
            format!(
                "the network has hardly learned to tell images apart: at the end all projections still lie together \
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
        write!(f, "  concentration {:.2}", self.concentration)?;
        write!(f, "  lr {:.4}  {:.0} views/s", self.learning_rate, self.views_per_second)
    }
}
