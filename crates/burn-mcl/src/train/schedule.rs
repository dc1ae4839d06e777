//! The learning rate of each step: linear warm-up, then half a cosine.
//!
//! Burn's own cosine scheduler refuses rates above 1, and the paper trains at 1.2.

use serde::Serialize;

/// Linear warm-up to a peak, then a cosine down to a fraction of it.
///
/// ```text
/// step <  w:  peak * (step + 1) / w
/// step >= w:  peak * (f + (1 - f) * (1 + cos(pi * (step - w) / (total - w))) / 2)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Schedule {
    /// Highest learning rate.
    pub peak: f64,
    /// The rate that the cosine tends to, as a fraction of the peak.
    pub final_fraction: f64,
    /// Steps of warm-up, `w` above.
    pub warmup_steps: usize,
    /// Length of the run in steps.
    pub total_steps: usize,
}

impl Schedule {
    /// The learning rate of `step`, counted from 0; steps past the end keep the last rate.
    pub fn learning_rate(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let span = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / span as f64).min(1.0);
        let cosine = (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0;
        self.peak * (self.final_fraction + (1.0 - self.final_fraction) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule =
        Schedule { peak: 1.2, final_fraction: 5e-4, warmup_steps: 20, total_steps: 120 };

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
}
