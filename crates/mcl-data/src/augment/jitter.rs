//! Colour jitter: brightness, contrast, saturation and hue in random order, as torchvision's `ColorJitter`.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::ops;

/// One of the four colour operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColorOp {
    /// [`ops::adjust_brightness`]
    Brightness,
    /// [`ops::adjust_contrast`]
    Contrast,
    /// [`ops::adjust_saturation`]
    Saturation,
    /// [`ops::adjust_hue`]
    Hue,
}

/// The four colour operations in the order in which they are applied, each with its factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColorJitter {
    /// Each operation once.
    pub steps: [(ColorOp, f32); 4],
}

impl ColorJitter {
    /// Draws the factors and the order. With strength s, brightness, contrast and saturation factors are uniform in
    /// [max(0, 1 - 0.8 s), 1 + 0.8 s], the turn of the hue is uniform in [-0.2 s, 0.2 s].
    pub(super) fn draw<R: Rng + ?Sized>(strength: f32, rng: &mut R) -> Self {
        let spread = 0.8 * strength;
        let mut factor = || rng.random_range((1.0 - spread).max(0.0)..=1.0 + spread);
        let mut steps = [
            (ColorOp::Brightness, factor()),
            (ColorOp::Contrast, factor()),
            (ColorOp::Saturation, factor()),
            (ColorOp::Hue, 0.0),
        ];
        steps[3].1 = rng.random_range(-0.2 * strength..=0.2 * strength);
        steps.shuffle(rng);
        Self { steps }
    }

    /// Applies the steps to planar RGB.
    #[inline(always)]
    pub(super) fn apply(&self, rgb: &mut [f32]) {
        for (op, factor) in self.steps {
            match op {
                ColorOp::Brightness => ops::brightness(rgb, factor),
                ColorOp::Contrast => ops::contrast(rgb, factor),
                ColorOp::Saturation => ops::saturation(rgb, factor),
                ColorOp::Hue => ops::shift_hue(rgb, factor),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::HashMap;

    #[test]
    fn every_order_is_as_likely_and_factors_are_uniform() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let draws = 24_000;
        let mut orders: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut sums = [0.0f64; 4];
        let mut squares = [0.0f64; 4];
        for _ in 0..draws {
            let jitter = ColorJitter::draw(0.5, &mut rng);
            *orders.entry(jitter.steps.iter().map(|(op, _)| *op as u8).collect()).or_default() += 1;
            for (op, factor) in jitter.steps {
                let (center, spread) = if op == ColorOp::Hue { (0.0, 0.1) } else { (1.0, 0.4) };
                let unit = f64::from((factor - center) / spread);
                assert!(unit.abs() <= 1.0 + 1e-5, "{op:?} {factor}");
                sums[op as usize] += unit;
                squares[op as usize] += unit * unit;
            }
        }
        assert_eq!(orders.len(), 24);
        assert!(orders.values().all(|&count| (800..1200).contains(&count)), "{orders:?}");
        for (sum, square) in sums.iter().zip(squares) {
            let n = f64::from(draws);
            assert!((sum / n).abs() < 0.02 && (square / n - 1.0 / 3.0).abs() < 0.01);
        }
    }

    #[test]
    fn factors_of_strong_jitter_stay_at_least_zero() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..1000 {
            let jitter = ColorJitter::draw(2.5, &mut rng);
            for (op, factor) in jitter.steps {
                let range = if op == ColorOp::Hue { -0.5..=0.5 } else { 0.0..=3.0 };
                assert!(range.contains(&factor), "{op:?} {factor}");
            }
        }
    }
}
