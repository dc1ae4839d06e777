//! Hue: a turn around the colour circle of HSV, at constant saturation and value.

use super::Image;
use super::color::for_each_pixel;
use crate::DataError;

/// Turns the hue by `factor` of the full circle: -0.5 and 0.5 give the complementary colours, 0 the same image.
///
/// # Errors
/// [`DataError::Setting`] if `factor` is not in [-0.5, 0.5].
pub fn adjust_hue(image: &mut Image, factor: f32) -> Result<(), DataError> {
    if !(-0.5..=0.5).contains(&factor) {
        let value = factor.to_string();
        return Err(DataError::Setting { name: "hue factor", value, requirement: "must be in [-0.5, 0.5]" });
    }
    shift_hue(image.pixels_mut(), factor);
    Ok(())
}

/// HSV to RGB reads, with v the largest channel and c the chroma (largest minus smallest),
///
/// ```text
/// channel(n) = v - c * clamp(min(k, 4 - k), 0, 1),   k = (n + hue) mod 6,   n = 5, 3, 1 for R, G, B
/// ```
///
/// with the hue in sixths of the circle: saturation itself is never needed, and nothing branches.
#[inline(always)]
pub(in crate::augment) fn shift_hue(rgb: &mut [f32], factor: f32) {
    let turn = 6.0 * factor; // [-3, 3]
    for_each_pixel(rgb, |[r, g, b]| {
        let value = max(max(r, g), b);
        let chroma = value - min(min(r, g), b);
        let per_chroma = 1.0 / if chroma > 0.0 { chroma } else { 1.0 };
        let from_red = (g - b) * per_chroma; // [-1, 1]
        let from_green = 2.0 + (b - r) * per_chroma; // [1, 3]
        let from_blue = 4.0 + (r - g) * per_chroma; // [3, 5]
        let hue = if value == r { from_red } else { from_blue };
        // Green wins over blue, as red wins over both, when two are largest: the hue is the same.
        let hue = if value == g && value != r { from_green } else { hue };
        let hue = wrap(hue + turn); // [-4, 8] to [0, 6)
        let channel = |n: f32| {
            let k = wrap(n + hue);
            value - chroma * max(0.0, min(min(k, 4.0 - k), 1.0))
        };
        [channel(5.0), channel(3.0), channel(1.0)]
    });
}

/// From [-6, 12) to [0, 6).
#[inline(always)]
fn wrap(hue: f32) -> f32 {
    let hue = if hue < 0.0 { hue + 6.0 } else { hue };
    if hue >= 6.0 { hue - 6.0 } else { hue }
}

/// One instruction each; `f32::max` also treats NaN, which cannot occur.
#[inline(always)]
fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn min(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shifted(rgb: [f32; 3], factor: f32) -> [f32; 3] {
        let mut image = Image::new(rgb.to_vec(), (1, 1)).unwrap();
        adjust_hue(&mut image, factor).unwrap();
        image.pixels().try_into().unwrap()
    }

    fn assert_close(found: [f32; 3], expected: [f32; 3]) {
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-6, "{found:?} instead of {expected:?}");
        }
    }

    #[test]
    fn a_third_of_the_circle_moves_the_channels_round() {
        for rgb in [[1.0, 0.0, 0.0], [0.2, 0.7, 0.4], [0.9, 0.1, 0.5], [0.3, 0.3, 0.8], [0.6, 0.6, 0.1]] {
            let [r, g, b] = rgb;
            assert_close(shifted(rgb, 1.0 / 3.0), [b, r, g]);
            assert_close(shifted(rgb, -1.0 / 3.0), [g, b, r]);
            assert_close(shifted(rgb, 0.0), rgb);
        }
    }

    #[test]
    fn half_a_circle_gives_the_complement() {
        assert_close(shifted([0.8, 0.2, 0.2], 0.5), [0.2, 0.8, 0.8]);
        assert_close(shifted([0.8, 0.2, 0.2], -0.5), [0.2, 0.8, 0.8]);
    }

    #[test]
    fn grey_has_no_hue() {
        for level in [0.0, 0.3, 1.0] {
            assert_eq!(shifted([level; 3], 0.17), [level; 3]);
        }
    }

    #[test]
    fn more_than_half_a_circle_is_refused() {
        let mut image = Image::new(vec![0.5; 3], (1, 1)).unwrap();
        for factor in [-0.51, 0.51, f32::NAN] {
            assert!(matches!(adjust_hue(&mut image, factor), Err(DataError::Setting { .. })));
        }
    }
}
