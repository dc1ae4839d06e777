//! SimCLR's random view: flip, resized crop, colour jitter, grey (Chen et al., 2020), as in the released MCL runs: no blur,
//! and the flip comes first.

use burn::config::Config;
use rand::{Rng, RngExt};

use super::ops::{self, Image, Resizer, Walk};
use super::{ColorJitter, CropBox};
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

/// What was drawn for one view. The fields are in the order in which they are applied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Quarter turns counterclockwise, given and not drawn: the auxiliary label.
    pub rotation: usize,
    /// Whether the image is mirrored. The mirror is that of the upright image: after an odd number of quarter turns, top
    /// and bottom change places instead of left and right.
    pub flip: bool,
    /// The part that is kept, in the turned image.
    pub crop: CropBox,
    /// The colour operations, if any.
    pub jitter: Option<ColorJitter>,
    /// Whether the view is grey.
    pub gray: bool,
}

/// Buffers for making views, to be kept between calls.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    resizer: Resizer,
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

impl View {
    /// Makes the view of an image. It has the size of the turned image.
    ///
    /// # Errors
    /// [`DataError::Setting`] if the crop does not lie within the turned image.
    pub fn apply(&self, image: &Image) -> Result<Image, DataError> {
        let size = Walk::new(image.size(), self.rotation).size();
        self.crop.check(size)?;
        let mut pixels = vec![0.0; image.pixels().len()];
        self.write(image.pixels(), image.size(), &mut Scratch::default(), &mut pixels);
        Ok(Image::from_parts(pixels, size))
    }

    /// Makes the view of an image [3, size] (before turning) into `out`, without allocating.
    pub(crate) fn write<T: ops::Channel>(
        &self,
        image: &[T],
        size: (usize, usize),
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let turned = Walk::new(size, self.rotation);
        let walk = match (self.flip, self.rotation % 2 == 0) {
            (false, _) => turned,
            (true, true) => turned.flip_horizontally(),
            (true, false) => turned.flip_vertically(),
        };
        scratch.resizer.resized_crop(image, walk, self.crop, walk.size(), out);
        if let Some(jitter) = &self.jitter {
            jitter.apply(out);
        }
        if self.gray {
            ops::gray(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const SIZE: (usize, usize) = (12, 12);

    fn noise(seed: u64, size: (usize, usize)) -> Image {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let pixels: Vec<u8> = (0..3 * size.0 * size.1).map(|_| rng.random()).collect();
        Image::from_u8(&pixels, size).unwrap()
    }

    /// A view that changes nothing.
    fn plain(size: (usize, usize)) -> View {
        let crop = CropBox { top: 0, left: 0, height: size.0, width: size.1 };
        View { rotation: 0, flip: false, crop, jitter: None, gray: false }
    }

    /// The same steps one after the other, by the public operations.
    fn step_by_step(view: &View, image: &Image) -> Image {
        let mut image = if view.flip { ops::horizontal_flip(image) } else { image.clone() };
        image = ops::rotate90(&image, view.rotation);
        let CropBox { top, left, height, width } = view.crop;
        image = ops::resized_crop(&image, top, left, height, width, image.size()).unwrap();
        for (op, factor) in view.jitter.iter().flat_map(|jitter| jitter.steps) {
            match op {
                crate::augment::ColorOp::Brightness => ops::adjust_brightness(&mut image, factor).unwrap(),
                crate::augment::ColorOp::Contrast => ops::adjust_contrast(&mut image, factor).unwrap(),
                crate::augment::ColorOp::Saturation => ops::adjust_saturation(&mut image, factor).unwrap(),
                crate::augment::ColorOp::Hue => ops::adjust_hue(&mut image, factor).unwrap(),
            }
        }
        if view.gray {
            ops::grayscale(&mut image);
        }
        image
    }

    proptest! {
        #[test]
        fn a_view_is_its_steps_and_stays_in_range(
            seed: u64, height in 1usize..14, width in 1usize..14, rotation in 0usize..4, strength in 0.0f64..2.5,
        ) {
            let image = noise(seed, (height, width));
            let augment = SimClrAugmentConfig::new().with_color_strength(strength).init();
            let view = augment.draw((height, width), rotation, &mut ChaCha8Rng::seed_from_u64(seed));
            let made = view.apply(&image).unwrap();
            prop_assert!(made.pixels().iter().all(|value| (0.0..=1.0).contains(value)));
            prop_assert_eq!(made, step_by_step(&view, &image));
        }

        #[test]
        fn bytes_and_floats_give_the_same_view(seed: u64, rotation in 0usize..4) {
            let bytes: Vec<u8> = ChaCha8Rng::seed_from_u64(seed).random_iter().take(3 * 144).collect();
            let view = SimClrAugmentConfig::new().init().draw(SIZE, rotation, &mut ChaCha8Rng::seed_from_u64(!seed));
            let mut out = vec![0.0; 3 * 144];
            view.write(&bytes, SIZE, &mut Scratch::default(), &mut out);
            prop_assert_eq!(out, view.apply(&Image::from_u8(&bytes, SIZE).unwrap()).unwrap().into_pixels());
        }
    }

    #[test]
    fn a_view_without_changes_is_the_image() {
        let image = noise(0, SIZE);
        assert_eq!(plain(SIZE).apply(&image).unwrap(), image);
    }

    #[test]
    fn buffers_carry_nothing_from_one_view_to_the_next() {
        let augment = SimClrAugmentConfig::new().init();
        let mut scratch = Scratch::default();
        for seed in 0..50 {
            let size = (1 + seed as usize % 9, 1 + seed as usize * 5 % 13);
            let image = noise(seed, size);
            let view = augment.draw(size, seed as usize, &mut ChaCha8Rng::seed_from_u64(seed));
            let mut out = vec![f32::NAN; image.pixels().len()];
            view.write(image.pixels(), size, &mut scratch, &mut out);
            assert_eq!(out, view.apply(&image).unwrap().into_pixels());
        }
    }

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
            assert_eq!(config.init().draw(SIZE, 0, &mut rng), plain(SIZE));
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
