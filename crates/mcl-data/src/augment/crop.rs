//! Where a random crop lies: torchvision's `RandomResizedCrop.get_params`.

use rand::{Rng, RngExt};

use crate::DataError;

const ATTEMPTS: usize = 10;

/// A part of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropBox {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

impl CropBox {
    /// Draws a box with an area of `scale` times the image's and a width-to-height `ratio`, both ranges (low, high).
    ///
    /// The area is uniform, the logarithm of the ratio is uniform, the place is uniform. If ten draws do not fit into the
    /// image, the largest centred box whose ratio is in the range is taken: the whole image if it is square.
    pub(super) fn draw<R: Rng + ?Sized>(
        (height, width): (usize, usize),
        scale: (f64, f64),
        ratio: (f64, f64),
        rng: &mut R,
    ) -> Self {
        let area = height as f64 * width as f64;
        let (low, high) = (ratio.0.ln(), ratio.1.ln());
        for _ in 0..ATTEMPTS {
            let target = area * rng.random_range(scale.0..=scale.1);
            let ratio = rng.random_range(low..=high).exp();
            let w = (target * ratio).sqrt().round_ties_even() as usize;
            let h = (target / ratio).sqrt().round_ties_even() as usize;
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let top = rng.random_range(0..=height - h);
                let left = rng.random_range(0..=width - w);
                return Self { top, left, height: h, width: w };
            }
        }
        let (h, w) = largest((height, width), ratio);
        Self { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
    }

    /// # Errors
    /// [`DataError::Setting`] if the box is empty or leaves an image of this size.
    pub(super) fn check(self, (height, width): (usize, usize)) -> Result<(), DataError> {
        let fits = |start: usize, len: usize, limit: usize| {
            len > 0 && start.checked_add(len).is_some_and(|end| end <= limit)
        };
        if fits(self.top, self.height, height) && fits(self.left, self.width, width) {
            return Ok(());
        }
        let Self { top, left, height: h, width: w } = self;
        Err(DataError::Setting {
            name: "crop",
            value: format!("{h} x {w} from row {top}, column {left}, of {height} x {width}"),
            requirement: "must hold at least one pixel and lie within the image",
        })
    }
}

fn largest((height, width): (usize, usize), (low, high): (f64, f64)) -> (usize, usize) {
    let (h, w) = (height as f64, width as f64);
    if w / h < low {
        (((w / low).round_ties_even() as usize).clamp(1, height), width)
    } else if w / h > high {
        (height, ((h * high).round_ties_even() as usize).clamp(1, width))
    } else {
        (height, width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const SCALE: (f64, f64) = (0.08, 1.0);
    const RATIO: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);

    /// Shares of (area, logarithm of the ratio) in eight bins each.
    type Shares = [[f64; 8]; 2];

    fn count(shares: &mut Shares, area: f64, log_ratio: f64, weight: f64) {
        let bin = |unit: f64| ((unit * 8.0) as usize).min(7);
        shares[0][bin((area - SCALE.0) / (SCALE.1 - SCALE.0))] += weight;
        shares[1][bin((log_ratio / RATIO.1.ln() + 1.0) / 2.0)] += weight;
    }

    /// What the rule comes to: both uniform, restricted to boxes that fit into a unit square.
    fn expected_shares() -> Shares {
        let (mut shares, mut total) = (Shares::default(), 0.0);
        for (i, j) in (0..800).flat_map(|i| (0..800).map(move |j| (f64::from(i) + 0.5, f64::from(j) + 0.5))) {
            let (area, log_ratio) = (0.08 + 0.92 * i / 800.0, RATIO.1.ln() * (j / 400.0 - 1.0));
            if area * log_ratio.abs().exp() <= 1.0 {
                count(&mut shares, area, log_ratio, 1.0);
                total += 1.0;
            }
        }
        shares.map(|bins| bins.map(|share| share / total))
    }

    #[test]
    fn areas_ratios_and_places_follow_the_rule() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let size = (400, 400); // large, so that rounding to pixels is small
        let draws = 20_000;
        let (mut shares, mut places) = (Shares::default(), [0.0; 2]);
        for _ in 0..draws {
            let crop = CropBox::draw(size, SCALE, RATIO, &mut rng);
            crop.check(size).unwrap();
            let (h, w) = (crop.height as f64 / 400.0, crop.width as f64 / 400.0);
            assert!((0.078..=1.0).contains(&(h * w)) && (0.74..=1.35).contains(&(w / h)), "{crop:?}");
            count(&mut shares, h * w, (w / h).ln(), 1.0 / f64::from(draws));
            places[0] += crop.top as f64 / 400.0 + h / 2.0;
            places[1] += crop.left as f64 / 400.0 + w / 2.0;
        }
        for (found, expected) in shares.iter().flatten().zip(expected_shares().iter().flatten()) {
            assert!((found - expected).abs() < 0.01, "{shares:.3?} {:.3?}", expected_shares());
        }
        assert!(places.iter().all(|sum| (sum / f64::from(draws) - 0.5).abs() < 0.005), "{places:?}");
    }

    #[test]
    fn boxes_of_small_images_fit() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for size in [(1, 1), (1, 9), (3, 2), (32, 32), (8, 80)] {
            for _ in 0..500 {
                CropBox::draw(size, SCALE, RATIO, &mut rng).check(size).unwrap();
            }
        }
    }

    #[test]
    fn what_never_fits_falls_back_to_the_centre() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut draw = |size| CropBox::draw(size, (1.0, 1.0), (2.0, 3.0), &mut rng);
        assert_eq!(draw((30, 30)), CropBox { top: 7, left: 0, height: 15, width: 30 });
        assert_eq!(draw((10, 90)), CropBox { top: 0, left: 30, height: 10, width: 30 });
        let whole = CropBox::draw((30, 30), (1.0, 1.0), (0.5, 0.9), &mut ChaCha8Rng::seed_from_u64(3));
        assert_eq!(whole, CropBox { top: 0, left: 1, height: 30, width: 27 });
    }
}
