//! SimCLR's random view: flip, resized crop, colour jitter, grey (Chen et al., 2020), as in the released MCL runs: the flip
//! comes first, and the blur is off unless asked for.

use burn::config::Config;
use rand::{Rng, RngExt};
use std::sync::Arc;

use super::ops::Image;
use super::ops::Walk;
use super::{ColorJitter, CropBox, GaussianBlurConfig, Scratch, View, ViewTransform};
use crate::DataError;
use crate::image_set::check_size;

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
    /// Shifts the views instead of cropping them: by up to this many pixels of the view, up or down and left or right, with a
    /// mirrored border. `None` crops by [`crop_scale`](Self::crop_scale) and [`crop_ratio`](Self::crop_ratio), as SimCLR does.
    #[config(default = "None")]
    pub shift: Option<usize>,
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
    /// Gaussian blur, after the colours; `None` for no blur, as in the released MCL runs.
    #[config(default = "None")]
    pub blur: Option<GaussianBlurConfig>,
    /// Height and width of the views in pixels; `None` for the size of the images. Images stored at 256 x 256 are cropped
    /// to views of 224 x 224 by `Some((224, 224))`.
    #[config(default = "None")]
    pub view_size: Option<(usize, usize)>,
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
        if self.shift.is_some_and(|shift| shift > 1 << 16) {
            return refuse("shift", &self.shift, "must be at most 65536 pixels; None crops instead");
        }
        self.blur.as_ref().map_or(Ok(()), GaussianBlurConfig::check)?;
        if let Some(size) = self.view_size {
            check_size("view_size", size)?;
        }
        Ok(SimClrAugment { config: self.clone(), transform: None })
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
#[derive(Clone)]
pub struct SimClrAugment {
    config: SimClrAugmentConfig,
    transform: Option<Arc<dyn ViewTransform>>,
}

impl std::fmt::Debug for SimClrAugment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimClrAugment")
            .field("config", &self.config)
            .field("has_transform", &self.transform.is_some())
            .finish()
    }
}

impl SimClrAugment {
    /// Applies `transform` to every view, after the built-in operations.
    #[must_use]
    pub fn with_transform(mut self, transform: Arc<dyn ViewTransform>) -> Self {
        self.transform = Some(transform);
        self
    }

    /// Height and width of the views of images of this size that are not turned.
    #[must_use]
    pub fn view_size(&self, image: (usize, usize)) -> (usize, usize) {
        self.config.view_size.unwrap_or(image)
    }

    /// Draws and makes a view of an image that is turned by `rotation` quarter turns: [`draw`](Self::draw),
    /// [`View::apply`], then the transform of one's own.
    ///
    /// # Errors
    /// [`DataError::Setting`] if the transform leaves a value outside [0, 1].
    pub fn view<R: Rng>(&self, image: &Image, rotation: usize, rng: &mut R) -> Result<Image, DataError> {
        let view = self.draw(image.size(), rotation, rng);
        let mut pixels = vec![0.0; 3 * view.size.0 * view.size.1];
        view.write(image.pixels(), image.size(), &mut Scratch::default(), &mut pixels);
        self.transform(&view, rng, &mut pixels);
        Image::new(pixels, view.size)
    }

    /// As [`view`](Self::view), of 8-bit pixels [3, size], into `out`.
    pub(crate) fn write<R: Rng>(
        &self,
        pixels: &[u8],
        size: (usize, usize),
        rotation: usize,
        rng: &mut R,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let view = self.draw(size, rotation, rng);
        view.write(pixels, size, scratch, out);
        self.transform(&view, rng, out);
    }

    fn transform(&self, view: &View, rng: &mut dyn Rng, pixels: &mut [f32]) {
        if let Some(transform) = &self.transform {
            transform.apply(pixels, view.size, rng);
        }
    }

    /// Draws a view of an image of this size (height, width) before it is turned by `rotation` quarter turns.
    #[must_use]
    pub fn draw<R: Rng + ?Sized>(&self, size: (usize, usize), rotation: usize, rng: &mut R) -> View {
        let config = &self.config;
        let rotation = rotation % 4;
        let turned = Walk::new(size, rotation).size();
        let flip = config.flip && rng.random_bool(0.5);
        let (crop, shift) = match config.shift {
            None => (CropBox::draw(turned, config.crop_scale, config.crop_ratio, rng), (0, 0)),
            Some(most) => {
                let mut draw = || rng.random_range(0..=2 * most) as isize - most as isize;
                let (down, right) = (draw(), draw());
                (CropBox { top: 0, left: 0, height: turned.0, width: turned.1 }, (down, right))
            }
        };
        let jitter = config.color_strength > 0.0 && rng.random_bool(config.jitter_probability);
        let jitter = jitter.then(|| ColorJitter::draw(config.color_strength as f32, rng));
        let gray = rng.random_bool(config.gray_probability);
        let blur = config.blur.as_ref().and_then(|blur| blur.draw(rng));
        View {
            rotation,
            flip,
            crop,
            size: self.config.view_size.unwrap_or(turned),
            shift,
            jitter,
            gray,
            blur,
        }
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
            let plain = View {
                rotation: 0,
                flip: false,
                crop,
                size: SIZE,
                shift: (0, 0),
                jitter: None,
                gray: false,
                blur: None,
            };
            assert_eq!(config.init().draw(SIZE, 0, &mut rng), plain);
        }
    }

    #[test]
    fn shifts_reach_every_place_alike_and_leave_the_rest_as_it_is() {
        let augment = SimClrAugmentConfig::new().with_shift(Some(2)).init();
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let mut counts = [[0; 5]; 5];
        for _ in 0..25_000 {
            let view = augment.draw((6, 8), 1, &mut rng);
            assert_eq!((view.crop, view.size), (CropBox { top: 0, left: 0, height: 8, width: 6 }, (8, 6)));
            counts[(view.shift.0 + 2) as usize][(view.shift.1 + 2) as usize] += 1;
        }
        assert!(counts.as_flattened().iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let (config, blur) = (SimClrAugmentConfig::new, GaussianBlurConfig::new);
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
            ("blur.probability", config().with_blur(Some(blur().with_probability(1.5)))),
            ("blur.sigma", config().with_blur(Some(blur().with_sigma((0.0, 1.0))))),
            ("blur.sigma", config().with_blur(Some(blur().with_sigma((2.0, 1.0))))),
            ("view_size", config().with_view_size(Some((0, 9)))),
            ("shift", config().with_shift(Some(usize::MAX))),
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
        let config = SimClrAugmentConfig::new()
            .with_flip(false)
            .with_crop_scale((0.2, 0.9))
            .with_blur(Some(GaussianBlurConfig::new().with_probability(0.3)))
            .with_view_size(Some((24, 28)));
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<SimClrAugmentConfig>(&json).unwrap(), config);
    }

    #[test]
    fn settings_saved_before_blur_and_view_size_are_read() {
        let saved = r#"{"crop_scale": [0.08, 1.0], "crop_ratio": [0.75, 1.3333333333333333], "flip": true,
            "color_strength": 0.5, "jitter_probability": 0.8, "gray_probability": 0.2}"#;
        assert_eq!(serde_json::from_str::<SimClrAugmentConfig>(saved).unwrap(), SimClrAugmentConfig::new());
    }

    #[test]
    fn blur_and_view_size_leave_the_other_draws_as_they_are() {
        let plain = SimClrAugmentConfig::new().init();
        let more = SimClrAugmentConfig::new()
            .with_blur(Some(GaussianBlurConfig::new().with_probability(1.0)))
            .with_view_size(Some((7, 5)))
            .init();
        for seed in 0..20 {
            let draw = |augment: &SimClrAugment| augment.draw(SIZE, 1, &mut ChaCha8Rng::seed_from_u64(seed));
            let (view, other) = (draw(&plain), draw(&more));
            assert!(other.blur.is_some() && other.size == (7, 5));
            assert_eq!(View { blur: None, size: view.size, ..other }, view);
        }
    }

    #[test]
    fn a_transform_of_ones_own_comes_last_and_draws_from_the_views_numbers() {
        let noise = |pixels: &mut [f32], size: (usize, usize), rng: &mut dyn Rng| {
            assert_eq!((pixels.len(), size), (3 * 6 * 4, (6, 4)));
            pixels.iter_mut().for_each(|value| *value = 0.5 * *value + rng.random_range(0.0..0.5));
        };
        let augment = SimClrAugmentConfig::new().with_view_size(Some((6, 4))).init();
        let own = augment.clone().with_transform(Arc::new(noise));
        let image = Image::from_u8(&[100; 3 * 144], SIZE).unwrap();
        let view = |augment: &SimClrAugment, seed| {
            augment.view(&image, 3, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()
        };
        assert_eq!(view(&own, 1), view(&own, 1));
        assert_ne!(view(&own, 1), view(&own, 2));
        for (own, plain) in view(&own, 1).pixels().iter().zip(view(&augment, 1).pixels()) {
            assert!((0.0..0.5).contains(&(own - 0.5 * plain)));
        }
        let too_bright = |pixels: &mut [f32], _: (usize, usize), _: &mut dyn Rng| pixels[0] = 2.0;
        let refused =
            augment.with_transform(Arc::new(too_bright)).view(&image, 0, &mut ChaCha8Rng::seed_from_u64(0));
        assert!(matches!(refused, Err(DataError::Setting { name: "pixels", .. })));
    }
}
