//! Gaussian blur, as torchvision's `gaussian_blur`.
//!
//! ```text
//! weight(i) = exp(-i^2 / (2 sigma^2)) / sum     for |i| <= radius, along rows, then along columns
//! ```
//!
//! Beyond the border the image is mirrored, without repeating the pixels of the border.

use super::Image;
use crate::DataError;

/// Blurs the image with a Gaussian of standard deviation `sigma`, in pixels, cut off at `radius` pixels from its centre.
///
/// torchvision's `kernel_size` is `2 * radius + 1`.
///
/// # Errors
/// [`DataError::Setting`] if `sigma` is not positive and finite, or `radius` is not shorter than both sides.
pub fn gaussian_blur(image: &mut Image, radius: usize, sigma: f32) -> Result<(), DataError> {
    if !(sigma > 0.0 && sigma.is_finite()) {
        let (value, requirement) = (sigma.to_string(), "must be positive and finite");
        return Err(DataError::Setting { name: "blur sigma", value, requirement });
    }
    let size = image.size();
    if radius >= size.0.min(size.1) {
        let value = format!("{radius} pixels for {} x {}", size.0, size.1);
        let requirement = "must be less than the shorter side: beyond the border the image is mirrored";
        return Err(DataError::Setting { name: "blur radius", value, requirement });
    }
    Blur::default().apply(image.pixels_mut(), size, radius, sigma);
    Ok(())
}

/// Blurs images, keeping its buffers between calls.
#[derive(Debug, Default)]
pub(in crate::augment) struct Blur {
    weights: Vec<f32>, // [2 * radius + 1]
    line: Vec<f32>,    // [radius + width + radius]
    rows: Vec<f32>,    // [height, width], blurred along the rows
}

impl Blur {
    /// Blurs planar RGB [3, height, width]. `radius` must be less than both sides.
    pub(in crate::augment) fn apply(
        &mut self,
        rgb: &mut [f32],
        (height, width): (usize, usize),
        radius: usize,
        sigma: f32,
    ) {
        self.set_weights(radius, sigma);
        for plane in rgb.chunks_exact_mut(height * width) {
            self.rows.clear();
            for row in plane.chunks_exact(width) {
                self.line.clear();
                self.line.extend((0..width + 2 * radius).map(|i| row[mirrored(i, radius, width)]));
                for at in self.line.windows(2 * radius + 1) {
                    self.rows.push(at.iter().zip(&self.weights).map(|(value, weight)| value * weight).sum());
                }
            }
            for (y, row) in plane.chunks_exact_mut(width).enumerate() {
                row.fill(0.0);
                for (tap, weight) in self.weights.iter().enumerate() {
                    let from = &self.rows[mirrored(y + tap, radius, height) * width..][..width];
                    for (to, value) in row.iter_mut().zip(from) {
                        *to += weight * value;
                    }
                }
                // Rounding may lead an ulp over one.
                row.iter_mut().for_each(|value| *value = value.min(1.0));
            }
        }
    }

    fn set_weights(&mut self, radius: usize, sigma: f32) {
        let weight = |i: usize| {
            let distance = (i as f32 - radius as f32) / sigma;
            (-0.5 * distance * distance).exp()
        };
        self.weights.clear();
        self.weights.extend((0..=2 * radius).map(weight));
        let total: f32 = self.weights.iter().sum();
        self.weights.iter_mut().for_each(|weight| *weight /= total);
    }
}

/// The pixel at place `i` of a line of `len` pixels with `radius` mirrored ones before and after.
fn mirrored(i: usize, radius: usize, len: usize) -> usize {
    let at = i.abs_diff(radius);
    if at < len { at } else { 2 * (len - 1) - at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image((height, width): (usize, usize)) -> Image {
        let n = 3 * height * width;
        Image::new((0..n).map(|i| ((i * 61) % n) as f32 / n as f32).collect(), (height, width)).unwrap()
    }

    /// The definition in two dimensions, in f64.
    fn by_definition(image: &Image, radius: i64, sigma: f64) -> Vec<f64> {
        let (height, width) = image.size();
        let reflect = |at: i64, len: usize| {
            let last = len as i64 - 1;
            let at = at.abs();
            (if at > last { 2 * last - at } else { at }) as usize
        };
        let weight = |dy: i64, dx: i64| (-((dy * dy + dx * dx) as f64) / (2.0 * sigma * sigma)).exp();
        let taps = || (-radius..=radius).flat_map(|dy| (-radius..=radius).map(move |dx| (dy, dx)));
        let total: f64 = taps().map(|(dy, dx)| weight(dy, dx)).sum();
        let pixels = (0..3).flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))));
        let value = |c: usize, y: usize, x: usize| f64::from(image.pixels()[(c * height + y) * width + x]);
        let blurred = |(c, y, x): (usize, usize, usize)| {
            let at = |(dy, dx)| (reflect(y as i64 + dy, height), reflect(x as i64 + dx, width));
            let tap = |(dy, dx)| weight(dy, dx) * value(c, at((dy, dx)).0, at((dy, dx)).1);
            taps().map(tap).sum::<f64>() / total
        };
        pixels.map(blurred).collect()
    }

    #[test]
    fn a_blur_is_the_gaussian_of_the_mirrored_image() {
        for (size, radius, sigma) in
            [((5, 7), 1, 0.5), ((5, 7), 2, 1.3), ((5, 7), 4, 2.0), ((9, 3), 2, 0.1), ((4, 4), 0, 1.0)]
        {
            let mut blurred = image(size);
            gaussian_blur(&mut blurred, radius, sigma).unwrap();
            let expected = by_definition(&image(size), radius as i64, f64::from(sigma));
            for (found, expected) in blurred.pixels().iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-6, "{size:?} {radius} {sigma}");
            }
        }
    }

    #[test]
    fn flat_images_stay_flat_and_in_range() {
        for value in [0.0, 0.3, 1.0] {
            let mut flat = Image::new(vec![value; 3 * 64], (8, 8)).unwrap();
            gaussian_blur(&mut flat, 3, 1.7).unwrap();
            assert!(flat.pixels().iter().all(|v| (v - value).abs() < 1e-6 && *v <= 1.0));
        }
    }

    #[test]
    fn impossible_blurs_are_refused() {
        for (radius, sigma) in [(4, 1.0), (1, 0.0), (1, -1.0), (1, f32::NAN), (1, f32::INFINITY)] {
            let refused = gaussian_blur(&mut image((9, 4)), radius, sigma);
            assert!(matches!(refused, Err(DataError::Setting { .. })), "{radius} {sigma}");
        }
    }
}
