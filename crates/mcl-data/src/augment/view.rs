//! One random view: what was drawn for it, and how it is made of the image.

use pulp::{Simd, WithSimd};

use super::blur::radius;
use super::ops::{self, Blur, Image, Resizer, Shift, Walk};
use super::{ColorJitter, CropBox};
use crate::DataError;
use crate::image_set::check_size;

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
    /// Height and width of the view: the crop is resized to them.
    pub size: (usize, usize),
    /// Pixels by which the view is then moved, down and to the right ([`ops::shift`]).
    pub shift: (isize, isize),
    /// The colour operations, if any.
    pub jitter: Option<ColorJitter>,
    /// Whether the view is grey.
    pub gray: bool,
    /// Standard deviation of the Gaussian blur in pixels, if any. The blur is cut off at a twentieth of the shorter side,
    /// but not below one pixel.
    pub blur: Option<f32>,
}

/// Buffers for making views, to be kept between calls.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    resizer: Resizer,
    shift: Shift,
    blur: Blur,
}

impl View {
    /// Makes the view of an image.
    ///
    /// # Errors
    /// [`DataError::Setting`] if the crop does not lie within the turned image, a side of the view is zero, or the blur is
    /// not positive and finite.
    pub fn apply(&self, image: &Image) -> Result<Image, DataError> {
        self.crop.check(Walk::new(image.size(), self.rotation).size())?;
        check_size("size", self.size)?;
        if let Some(sigma) = self.blur.filter(|sigma| !(*sigma > 0.0 && sigma.is_finite())) {
            let (value, requirement) = (sigma.to_string(), "must be positive and finite");
            return Err(DataError::Setting { name: "blur", value, requirement });
        }
        let mut pixels = vec![0.0; 3 * self.size.0 * self.size.1];
        self.write(image.pixels(), image.size(), &mut Scratch::default(), &mut pixels);
        Ok(Image::from_parts(pixels, self.size))
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
        let walk = match (self.flip, self.rotation.is_multiple_of(2)) {
            (false, _) => turned,
            (true, true) => turned.flip_horizontally(),
            (true, false) => turned.flip_vertically(),
        };
        scratch.resizer.resized_crop(image, walk, self.crop, self.size, out);
        scratch.shift.apply(out, self.size, self.shift);
        pulp::Arch::new().dispatch(Colors { view: self, rgb: out });
        if let Some(sigma) = self.blur {
            scratch.blur.apply(out, self.size, radius(self.size), sigma);
        }
    }
}

/// The colour operations, for the widest vectors of this machine. Every machine computes the same bits.
struct Colors<'a> {
    view: &'a View,
    rgb: &'a mut [f32],
}

impl WithSimd for Colors<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        if let Some(jitter) = &self.view.jitter {
            jitter.apply(self.rgb);
        }
        if self.view.gray {
            ops::gray(self.rgb);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::{ColorOp, GaussianBlurConfig, SimClrAugmentConfig};
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
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
        View { rotation: 0, flip: false, crop, size, shift: (0, 0), jitter: None, gray: false, blur: None }
    }

    /// The same steps one after the other, by the public operations.
    fn step_by_step(view: &View, image: &Image) -> Image {
        let mut image = if view.flip { ops::horizontal_flip(image) } else { image.clone() };
        image = ops::rotate90(&image, view.rotation);
        let CropBox { top, left, height, width } = view.crop;
        image = ops::resized_crop(&image, top, left, height, width, view.size).unwrap();
        image = ops::shift(&image, view.shift.0, view.shift.1);
        for (op, factor) in view.jitter.iter().flat_map(|jitter| jitter.steps) {
            match op {
                ColorOp::Brightness => ops::adjust_brightness(&mut image, factor).unwrap(),
                ColorOp::Contrast => ops::adjust_contrast(&mut image, factor).unwrap(),
                ColorOp::Saturation => ops::adjust_saturation(&mut image, factor).unwrap(),
                ColorOp::Hue => ops::adjust_hue(&mut image, factor).unwrap(),
            }
        }
        if view.gray {
            ops::grayscale(&mut image);
        }
        if let Some(sigma) = view.blur {
            ops::gaussian_blur(&mut image, radius(view.size), sigma).unwrap();
        }
        image
    }

    proptest! {
        #[test]
        fn a_view_is_its_steps_and_stays_in_range(
            seed: u64, height in 1usize..14, width in 1usize..14, rotation in 0usize..4, strength in 0.0f64..2.5,
            blurs: bool, shift in proptest::option::of(0usize..20), view_size in proptest::option::of((1usize..20, 1usize..20)),
        ) {
            let image = noise(seed, (height, width));
            let blur = blurs.then(GaussianBlurConfig::new);
            let config = SimClrAugmentConfig::new().with_color_strength(strength);
            let augment = config.with_blur(blur).with_view_size(view_size).with_shift(shift).init();
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
    fn impossible_views_are_refused() {
        let refused = |view: View| matches!(view.apply(&noise(0, SIZE)), Err(DataError::Setting { .. }));
        let outside = CropBox { top: 5, ..plain(SIZE).crop };
        assert!(refused(View { crop: outside, ..plain(SIZE) }));
        assert!(refused(View { size: (0, 4), ..plain(SIZE) }));
        for sigma in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(refused(View { blur: Some(sigma), ..plain(SIZE) }));
        }
    }

    #[test]
    fn buffers_carry_nothing_from_one_view_to_the_next() {
        let augment = SimClrAugmentConfig::new().with_blur(Some(GaussianBlurConfig::new())).init();
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
}
