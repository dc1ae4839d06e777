//! The learning rate of each step: linear warm-up, then a decay.
//!
//! Burn's own cosine scheduler refuses rates above 1, and the paper trains at 1.2.

use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use serde::{Deserialize, Serialize};

/// The form of the decay of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Decay {
    /// Half a cosine, as in the paper.
    #[default]
    Cosine,
    /// A straight line.
    Linear,
}

impl Decay {
    fn is_cosine(&self) -> bool {
        *self == Self::Cosine
    }
}

/// Linear warm-up to a peak, then a decay to a fraction of the peak.
///
/// ```text
/// step <  w:  peak * (step + 1) / w
/// step >= w:  peak * (f + (1 - f) * c(p)),  p = (step - w) / (total - w)
///             cosine  c(p) = (1 + cos(pi * p)) / 2
///             linear  c(p) = 1 - p
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Schedule {
    /// Highest learning rate.
    pub peak: f64,
    /// Learning rate at the end of the decay, as a fraction of the peak.
    pub final_fraction: f64,
    /// Steps of warm-up, `w` above.
    pub warmup_steps: usize,
    /// Length of the run in steps.
    pub total_steps: usize,
    /// The form of the decay. Files do not hold a cosine, because earlier versions knew the cosine alone.
    #[serde(skip_serializing_if = "Decay::is_cosine")]
    pub decay: Decay,
}

impl Schedule {
    /// Returns the learning rate of `step`, counted from 0. Steps past the end keep the last rate.
    pub fn learning_rate(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let span = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / span as f64).min(1.0);
        let left = match self.decay {
            Decay::Cosine => (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0,
            Decay::Linear => 1.0 - progress,
        };
        self.peak * (self.final_fraction + (1.0 - self.final_fraction) * left)
    }

    /// Returns a scheduler with the same rates for Burn's own training loops. The first call of
    /// [`step`](LrScheduler::step) returns the rate of step 0.
    pub fn scheduler(self) -> ScheduledRate {
        ScheduledRate { schedule: self, next: 0 }
    }
}

/// A [`Schedule`] as a learning-rate scheduler of Burn.
#[derive(Debug, Clone)]
pub struct ScheduledRate {
    schedule: Schedule,
    next: usize,
}

const NEXT: &str = "next_step";

impl LrScheduler for ScheduledRate {
    fn step(&mut self) -> f64 {
        self.next += 1;
        self.schedule.learning_rate(self.next - 1)
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar(NEXT, self.next as u64)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Some(next) = record.scalar::<u64>(NEXT) {
            self.next = next as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule {
        peak: 1.2,
        final_fraction: 5e-4,
        warmup_steps: 20,
        total_steps: 120,
        decay: Decay::Cosine,
    };

    #[test]
    fn warm_up_is_linear_and_reaches_the_peak() {
        assert!((SCHEDULE.learning_rate(0) - 0.06).abs() < 1e-12);
        assert!((SCHEDULE.learning_rate(9) - 0.6).abs() < 1e-12);
        assert!((SCHEDULE.learning_rate(19) - 1.2).abs() < 1e-12);
        assert!((SCHEDULE.learning_rate(20) - 1.2).abs() < 1e-12);
    }

    #[test]
    fn cosine_halves_in_the_middle_and_never_rises() {
        let middle = SCHEDULE.learning_rate(70);
        assert!((middle - 1.2 * (1.0 + 5e-4) / 2.0).abs() < 1e-12, "{middle}");
        for step in 20..200 {
            assert!(SCHEDULE.learning_rate(step + 1) <= SCHEDULE.learning_rate(step));
        }
        assert!((SCHEDULE.learning_rate(120) - 6e-4).abs() < 1e-12);
        assert!((SCHEDULE.learning_rate(10_000) - 6e-4).abs() < 1e-12);
    }

    #[test]
    fn a_line_loses_the_same_at_every_step() {
        let line = Schedule { decay: Decay::Linear, final_fraction: 0.1, ..SCHEDULE };
        for step in 20..120 {
            let loss = line.learning_rate(step) - line.learning_rate(step + 1);
            assert!((loss - 1.2 * 0.9 / 100.0).abs() < 1e-12, "{step}: {loss}");
        }
        assert!((line.learning_rate(500) - 0.12).abs() < 1e-12);
    }

    #[test]
    fn burns_scheduler_gives_the_same_rates_and_resumes() {
        let mut whole = SCHEDULE.scheduler();
        let rates: Vec<f64> = (0..130).map(|_| whole.step()).collect();
        assert!(rates.iter().enumerate().all(|(step, &rate)| rate == SCHEDULE.learning_rate(step)));
        let mut first = SCHEDULE.scheduler();
        for _ in 0..40 {
            first.step();
        }
        let mut second = SCHEDULE.scheduler();
        second.load_record(first.to_record());
        assert_eq!(second.step(), rates[40]);
    }
}
