//! Brightness, contrast, saturation and grey: each a blend of the image with another one, clamped to [0, 1].
//!
//! ```text
//! brightness  factor * image                                 (blend with black)
//! contrast    factor * image + (1 - factor) * mean(grey)     (blend with one flat grey)
//! saturation  factor * image + (1 - factor) * grey
//! grey        0.2989 R + 0.587 G + 0.114 B
//! ```

use super::Image;
use crate::DataError;

const LUMA: [f32; 3] = [0.2989, 0.587, 0.114];

/// Multiplies the image by `factor`: 0 gives black, 1 the same image.
///
/// # Errors
/// [`DataError::Setting`] if `factor` is negative or not finite.
pub fn adjust_brightness(image: &mut Image, factor: f32) -> Result<(), DataError> {
    check_factor("brightness factor", factor)?;
    brightness(image.pixels_mut(), factor);
    Ok(())
}

/// Blends the image with the mean of its grey: 0 gives a flat grey, 1 the same image.
///
/// # Errors
/// [`DataError::Setting`] if `factor` is negative or not finite.
pub fn adjust_contrast(image: &mut Image, factor: f32) -> Result<(), DataError> {
    check_factor("contrast factor", factor)?;
    contrast(image.pixels_mut(), factor);
    Ok(())
}

/// Blends the image with its grey: 0 gives a grey image, 1 the same image.
///
/// # Errors
/// [`DataError::Setting`] if `factor` is negative or not finite.
pub fn adjust_saturation(image: &mut Image, factor: f32) -> Result<(), DataError> {
    check_factor("saturation factor", factor)?;
    saturation(image.pixels_mut(), factor);
    Ok(())
}

/// Replaces each channel by the grey of the image.
pub fn grayscale(image: &mut Image) {
    gray(image.pixels_mut());
}

fn check_factor(name: &'static str, factor: f32) -> Result<(), DataError> {
    if factor.is_finite() && factor >= 0.0 {
        return Ok(());
    }
    Err(DataError::Setting { name, value: factor.to_string(), requirement: "must be finite and at least 0" })
}

#[inline(always)]
pub(in crate::augment) fn brightness(rgb: &mut [f32], factor: f32) {
    for value in rgb {
        *value = clamp(*value * factor);
    }
}

#[inline(always)]
pub(in crate::augment) fn contrast(rgb: &mut [f32], factor: f32) {
    let flat = (1.0 - factor) * mean_gray(rgb);
    for value in rgb {
        *value = clamp(*value * factor + flat);
    }
}

#[inline(always)]
pub(in crate::augment) fn saturation(rgb: &mut [f32], factor: f32) {
    let rest = 1.0 - factor;
    for_each_pixel(rgb, |[r, g, b]| {
        let flat = rest * luma(r, g, b);
        [clamp(r * factor + flat), clamp(g * factor + flat), clamp(b * factor + flat)]
    });
}

#[inline(always)]
pub(in crate::augment) fn gray(rgb: &mut [f32]) {
    for_each_pixel(rgb, |[r, g, b]| [luma(r, g, b); 3]);
}

/// Applies `f` to each pixel's (red, green, blue). The planes are cut into blocks of a fixed length so that the compiler
/// turns `f` into vector instructions.
#[inline(always)]
pub(super) fn for_each_pixel(rgb: &mut [f32], f: impl Fn([f32; 3]) -> [f32; 3]) {
    const BLOCK: usize = 16;
    let plane = rgb.len() / 3;
    let (red, rest) = rgb.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    let (red, red_tail) = red.as_chunks_mut::<BLOCK>();
    let (green, green_tail) = green.as_chunks_mut::<BLOCK>();
    let (blue, blue_tail) = blue.as_chunks_mut::<BLOCK>();
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let (r, g, b) = (*red, *green, *blue);
        for i in 0..BLOCK {
            [red[i], green[i], blue[i]] = f([r[i], g[i], b[i]]);
        }
    }
    for ((red, green), blue) in red_tail.iter_mut().zip(green_tail).zip(blue_tail) {
        [*red, *green, *blue] = f([*red, *green, *blue]);
    }
}

#[inline(always)]
fn luma(r: f32, g: f32, b: f32) -> f32 {
    LUMA[0] * r + LUMA[1] * g + LUMA[2] * b
}

/// The mean of the grey image is the grey of the channel means.
#[inline(always)]
fn mean_gray(rgb: &[f32]) -> f32 {
    let plane = rgb.len() / 3;
    let (red, rest) = rgb.split_at(plane);
    let (green, blue) = rest.split_at(plane);
    luma(sum(red) / plane as f32, sum(green) / plane as f32, sum(blue) / plane as f32)
}

/// A sum in sixteen lanes: fast, always in the same order, and more exact than one running sum.
#[inline(always)]
fn sum(values: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0f32; LANES];
    let (blocks, tail) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane += value;
        }
    }
    lanes.iter().chain(tail).sum()
}

/// To [0, 1]. Two comparisons that map to one instruction each; `f32::clamp` also treats NaN, which cannot occur.
#[inline(always)]
fn clamp(value: f32) -> f32 {
    let value = if value > 0.0 { value } else { 0.0 };
    if value < 1.0 { value } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(size: (usize, usize)) -> Image {
        let n = 3 * size.0 * size.1;
        Image::new((0..n).map(|i| ((i * 37) % n) as f32 / n as f32).collect(), size).unwrap()
    }

    #[test]
    fn blocks_and_tail_agree_with_a_plain_loop() {
        for size in [(1, 1), (3, 5), (4, 4), (5, 7), (8, 16)] {
            let plane = size.0 * size.1;
            let image = ramp(size);
            let source = image.pixels();
            let grays: Vec<f32> =
                (0..plane).map(|i| luma(source[i], source[plane + i], source[2 * plane + i])).collect();
            let mean = grays.iter().sum::<f32>() / plane as f32;
            let (mut saturated, mut contrasted) = (image.clone(), image.clone());
            adjust_saturation(&mut saturated, 1.7).unwrap();
            adjust_contrast(&mut contrasted, 0.3).unwrap();
            for (i, value) in source.iter().enumerate() {
                let expected = (value * 1.7 - 0.7 * grays[i % plane]).clamp(0.0, 1.0);
                assert!((saturated.pixels()[i] - expected).abs() < 1e-6);
                assert!((contrasted.pixels()[i] - (0.3 * value + 0.7 * mean)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn factor_one_changes_nothing() {
        let image = ramp((5, 6));
        let mut same = image.clone();
        adjust_brightness(&mut same, 1.0).unwrap();
        adjust_contrast(&mut same, 1.0).unwrap();
        adjust_saturation(&mut same, 1.0).unwrap();
        assert_eq!(same, image);
    }

    #[test]
    fn bad_factors_are_refused() {
        for factor in [-0.1, f32::NAN, f32::INFINITY] {
            let mut image = ramp((2, 2));
            assert!(adjust_brightness(&mut image, factor).is_err());
            assert!(adjust_contrast(&mut image, factor).is_err());
            assert!(adjust_saturation(&mut image, factor).is_err());
            assert_eq!(image, ramp((2, 2)));
        }
    }
}
