//! How often and how strongly views are blurred: SimCLR's Gaussian blur (Chen et al., 2020, appendix A).

use burn::config::Config;
use rand::{Rng, RngExt};

use crate::DataError;

/// Settings of the Gaussian blur. The released MCL runs have no blur; SimCLR's runs on ImageNet have this one.
#[derive(Config, Debug, PartialEq)]
pub struct GaussianBlurConfig {
    /// How often a view is blurred, from 0 to 1.
    #[config(default = 0.5)]
    pub probability: f64,
    /// Standard deviation in pixels: lowest and highest, uniform between.
    #[config(default = "(0.1, 2.0)")]
    pub sigma: (f64, f64),
}

impl Default for GaussianBlurConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl GaussianBlurConfig {
    /// # Errors
    /// [`DataError::Setting`] naming the setting that is out of range.
    pub(super) fn check(&self) -> Result<(), DataError> {
        let (low, high) = self.sigma;
        let (name, value, requirement) = if !(0.0..=1.0).contains(&self.probability) {
            ("blur.probability", self.probability.to_string(), "must be in [0, 1]")
        } else if !(low > 0.0 && low <= high && high.is_finite()) {
            ("blur.sigma", format!("{:?}", self.sigma), "must be (low, high) with 0 < low <= high, finite")
        } else {
            return Ok(());
        };
        Err(DataError::Setting { name, value, requirement })
    }

    /// Draws the standard deviation of one view; `None` leaves the view sharp.
    pub(super) fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<f32> {
        let blurs = rng.random_bool(self.probability);
        blurs.then(|| rng.random_range(self.sigma.0..=self.sigma.1) as f32)
    }
}

/// Pixels that the blur of a view reaches to each side: a twentieth of the shorter side, as in SimCLR, but at least one.
pub(super) fn radius((height, width): (usize, usize)) -> usize {
    let side = height.min(width);
    (side / 10 / 2).max(1).min(side - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn radii_are_simclrs() {
        // SimCLR: kernels of a tenth of the side, made odd: 3 at 32 pixels, 23 at 224.
        let sizes = [(1, 9), (2, 2), (32, 32), (64, 48), (224, 224), (96, 224)];
        assert_eq!(sizes.map(radius), [0, 1, 1, 2, 11, 4]);
    }

    #[test]
    fn half_of_the_views_are_blurred_by_uniform_deviations() {
        let (config, mut rng) = (GaussianBlurConfig::new(), ChaCha8Rng::seed_from_u64(3));
        let drawn: Vec<f32> = (0..10_000).filter_map(|_| config.draw(&mut rng)).collect();
        assert!((4800..5200).contains(&drawn.len()), "{}", drawn.len());
        assert!(drawn.iter().all(|sigma| (0.1..=2.0).contains(sigma)));
        let mean = drawn.iter().sum::<f32>() / drawn.len() as f32;
        assert!((mean - 1.05).abs() < 0.03, "{mean}");
    }
}
