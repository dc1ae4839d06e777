//! SimCLR's random view: flip, resized crop, colour jitter, grey (Chen et al., 2020), as in the released MCL runs: no blur,
//! and the flip comes first.

use burn::config::Config;
use rand::{Rng, RngExt};

use super::ops::Walk;
use super::{ColorJitter, CropBox, View};
use crate::DataError;

/// Settings of [`SimClrAugment`].
///
/// ```
/// use mcl_data::augment::SimClrAugmentConfig;
///
/// let augment = SimClrAugmentConfig::new().with_color_strength(1.0).try_init()?; // ImageNet's strength
/// # Ok::<(), mcl_data::DataError>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct SimClrAugmentConfig {
    /// Area of the crop as a share of the image: lowest and highest.
    #[config(default = "(0.08, 1.0)")]
    pub crop_scale: (f64, f64),
    /// Width of the crop divided by its height: lowest and highest.
    #[config(default = "(3.0 / 4.0, 4.0 / 3.0)")]
    pub crop_ratio: (f64, f64),
    /// Mirror every other view. Turn it off where left and right tell the classes apart, as in digits.
    #[config(default = true)]
    pub flip: bool,
    /// Strength s of the colour jitter: 0.8 s for brightness, contrast and saturation, 0.2 s for hue. From 0 to 2.5.
    #[config(default = 0.5)]
    pub color_strength: f64,
    /// How often the colours are jittered, from 0 to 1.
    #[config(default = 0.8)]
    pub jitter_probability: f64,
    /// How often the view turns grey, from 0 to 1.
    #[config(default = 0.2)]
    pub gray_probability: f64,
}

impl Default for SimClrAugmentConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl SimClrAugmentConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`DataError::Setting`] naming the first setting that is out of range.
    pub fn try_init(&self) -> Result<SimClrAugment, DataError> {
        let refuse = |name, value: &dyn std::fmt::Debug, requirement| {
            Err(DataError::Setting { name, value: format!("{value:?}"), requirement })
        };
        let (low, high) = self.crop_scale;
        if !(low > 0.0 && low <= high && high <= 1.0) {
            return refuse("crop_scale", &self.crop_scale, "must be (low, high) with 0 < low <= high <= 1");
        }
        let (low, high) = self.crop_ratio;
        if !(low > 0.0 && low <= high && high.is_finite()) {
            return refuse(
                "crop_ratio",
                &self.crop_ratio,
                "must be (low, high) with 0 < low <= high, finite",
            );
        }
        if !(0.0..=2.5).contains(&self.color_strength) {
            return refuse(
                "color_strength",
                &self.color_strength,
                "must be in [0, 2.5]; 0 leaves the colours alone",
            );
        }
        for (name, value) in
            [("jitter_probability", self.jitter_probability), ("gray_probability", self.gray_probability)]
        {
            if !(0.0..=1.0).contains(&value) {
                return refuse(name, &value, "must be in [0, 1]");
            }
        }
        Ok(SimClrAugment { config: self.clone() })
    }

    /// As [`try_init`](Self::try_init).
    ///
    /// # Panics
    /// If a setting is out of range.
    #[must_use]
    pub fn init(&self) -> SimClrAugment {
        self.try_init().unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Draws and makes random views. Made by [`SimClrAugmentConfig::try_init`].
#[derive(Debug, Clone)]
pub struct SimClrAugment {
    config: SimClrAugmentConfig,
}

impl SimClrAugment {
    /// Draws a view of an image of this size (height, width) before it is turned by `rotation` quarter turns.
    #[must_use]
    pub fn draw<R: Rng + ?Sized>(&self, size: (usize, usize), rotation: usize, rng: &mut R) -> View {
        let config = &self.config;
        let rotation = rotation % 4;
        let turned = Walk::new(size, rotation).size();
        let flip = config.flip && rng.random_bool(0.5);
        let crop = CropBox::draw(turned, config.crop_scale, config.crop_ratio, rng);
        let jitter = config.color_strength > 0.0 && rng.random_bool(config.jitter_probability);
        let jitter = jitter.then(|| ColorJitter::draw(config.color_strength as f32, rng));
        let gray = rng.random_bool(config.gray_probability);
        View { rotation, flip, crop, jitter, gray }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const SIZE: (usize, usize) = (12, 12);

    #[test]
    fn probabilities_are_met() {
        let augment = SimClrAugmentConfig::new().init();
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let views: Vec<View> = (0..10_000).map(|_| augment.draw(SIZE, 0, &mut rng)).collect();
        let share = |f: fn(&View) -> bool| views.iter().filter(|view| f(view)).count() as f64 / 10_000.0;
        assert!((share(|view| view.flip) - 0.5).abs() < 0.02);
        assert!((share(|view| view.jitter.is_some()) - 0.8).abs() < 0.02);
        assert!((share(|view| view.gray) - 0.2).abs() < 0.02);
    }

    #[test]
    fn what_is_turned_off_does_not_happen() {
        let config = SimClrAugmentConfig::new()
            .with_crop_scale((1.0, 1.0))
            .with_crop_ratio((1.0, 1.0))
            .with_flip(false)
            .with_color_strength(0.0)
            .with_gray_probability(0.0);
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..100 {
            let crop = CropBox { top: 0, left: 0, height: SIZE.0, width: SIZE.1 };
            let plain = View { rotation: 0, flip: false, crop, jitter: None, gray: false };
            assert_eq!(config.init().draw(SIZE, 0, &mut rng), plain);
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let config = SimClrAugmentConfig::new;
        let cases = [
            ("crop_scale", config().with_crop_scale((0.0, 1.0))),
            ("crop_scale", config().with_crop_scale((0.5, 0.4))),
            ("crop_scale", config().with_crop_scale((0.5, 1.1))),
            ("crop_scale", config().with_crop_scale((f64::NAN, 1.0))),
            ("crop_ratio", config().with_crop_ratio((0.0, 1.0))),
            ("crop_ratio", config().with_crop_ratio((1.0, f64::INFINITY))),
            ("color_strength", config().with_color_strength(-0.1)),
            ("color_strength", config().with_color_strength(2.6)),
            ("jitter_probability", config().with_jitter_probability(1.1)),
            ("gray_probability", config().with_gray_probability(f64::NAN)),
        ];
        for (expected, config) in cases {
            match config.try_init() {
                Err(DataError::Setting { name, .. }) => assert_eq!(name, expected),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn settings_survive_json() {
        let config = SimClrAugmentConfig::new().with_flip(false).with_crop_scale((0.2, 0.9));
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<SimClrAugmentConfig>(&json).unwrap(), config);
    }
}
