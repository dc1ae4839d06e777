//! Crop and resize: bilinear, antialiased, as torchvision's `resized_crop` with a float tensor (and Pillow's resampling).

use super::Image;
use super::geometry::Walk;
use super::image::Channel;
use crate::DataError;
use crate::augment::CropBox;
use crate::image_set::check_size;

/// Cuts out the box of `height` x `width` pixels whose upper left corner is (`top`, `left`), and resizes it to `size`.
///
/// # Shapes
/// - size: (height, width) of the result
///
/// # Errors
/// [`DataError::Setting`] if a side of the result is zero, or the box is empty or leaves the image.
pub fn resized_crop(
    image: &Image,
    top: usize,
    left: usize,
    height: usize,
    width: usize,
    size: (usize, usize),
) -> Result<Image, DataError> {
    let crop = CropBox { top, left, height, width };
    crop.check(image.size())?;
    check_size("size", size)?;
    let mut pixels = vec![0.0; 3 * size.0 * size.1];
    Resizer::default().resized_crop(image.pixels(), Walk::new(image.size(), 0), crop, size, &mut pixels);
    Ok(Image::from_parts(pixels, size))
}

/// Resizes crops, keeping its buffers between calls.
#[derive(Debug, Default)]
pub(in crate::augment) struct Resizer {
    across: Taps,
    down: Taps,
    row: Vec<f32>,  // [crop width]
    wide: Vec<f32>, // [crop height, width of the result]
}

impl Resizer {
    /// Reads the source [3, ..] as `walk` says, cuts `crop` out of what that gives and resizes it into `out`, [3, size].
    pub(in crate::augment) fn resized_crop<T: Channel>(
        &mut self,
        source: &[T],
        walk: Walk,
        crop: CropBox,
        (height, width): (usize, usize),
        out: &mut [f32],
    ) {
        self.across.set(crop.width, width);
        self.down.set(crop.height, height);
        self.row.resize(crop.width, 0.0);
        self.wide.resize(crop.height * width, 0.0);
        let planes = source.chunks_exact(source.len() / 3).zip(out.chunks_exact_mut(height * width));
        for (from, to) in planes {
            for (y, wide) in self.wide.chunks_exact_mut(width).enumerate() {
                walk.read_row(from, crop.top + y, crop.left, &mut self.row);
                self.across.gather(&self.row, wide);
            }
            self.down.blend_rows(&self.wide, to, width);
        }
    }
}

/// Which inputs make up each output along one axis, and with which weights: a triangle whose half width is one input
/// pixel, or one output pixel where that is wider (antialiasing).
#[derive(Debug, Default)]
struct Taps {
    first: Vec<usize>, // [outputs]
    weight: Vec<f32>,  // [outputs, per_output]; trailing zeros where the triangle meets the border
    per_output: usize,
}

impl Taps {
    fn set(&mut self, inputs: usize, outputs: usize) {
        let scale = inputs as f32 / outputs as f32;
        let support = scale.max(1.0);
        let per_output = (support.ceil() as usize * 2 + 1).min(inputs);
        // Enlarging needs two taps: the third of the general bound would always weigh nothing.
        let per_output = if scale <= 1.0 { per_output.min(2) } else { per_output };
        self.per_output = per_output;
        self.first.clear();
        self.weight.clear();
        self.weight.resize(outputs * per_output, 0.0);
        for (output, weights) in self.weight.chunks_exact_mut(per_output).enumerate() {
            let center = scale * (output as f32 + 0.5);
            // A window that would reach over the end is moved back: it then starts with pixels of weight zero.
            let first = ((center - support + 0.5).max(0.0) as usize).min(inputs - per_output);
            self.first.push(first);
            let mut total = 0.0;
            for (tap, weight) in weights.iter_mut().enumerate() {
                let distance = ((first + tap) as f32 + 0.5 - center).abs() / support;
                *weight = (1.0 - distance).max(0.0);
                total += *weight;
            }
            for weight in weights {
                *weight /= total;
            }
        }
    }

    /// One row, resized.
    fn gather(&self, row: &[f32], out: &mut [f32]) {
        if self.per_output == 2 {
            let (pairs, _) = self.weight.as_chunks::<2>();
            for ((to, [near, far]), &first) in out.iter_mut().zip(pairs).zip(&self.first) {
                *to = near * row[first] + far * row[first + 1];
            }
            return;
        }
        for ((to, weights), &first) in
            out.iter_mut().zip(self.weight.chunks_exact(self.per_output)).zip(&self.first)
        {
            *to = weights.iter().zip(&row[first..]).map(|(weight, value)| weight * value).sum();
        }
    }

    /// All columns at once, resized: each row of the result is a blend of some rows. Rounding may lead an ulp over one.
    fn blend_rows(&self, rows: &[f32], out: &mut [f32], width: usize) {
        let row = |y: usize| &rows[y * width..][..width];
        let outputs =
            out.chunks_exact_mut(width).zip(self.weight.chunks_exact(self.per_output)).zip(&self.first);
        for ((to, weights), &first) in outputs {
            if let [near, far] = weights {
                for ((to, above), below) in to.iter_mut().zip(row(first)).zip(row(first + 1)) {
                    *to = at_most_one(near * above + far * below);
                }
                continue;
            }
            to.fill(0.0);
            for (tap, weight) in weights.iter().enumerate() {
                for (to, value) in to.iter_mut().zip(row(first + tap)) {
                    *to = at_most_one(*to + weight * value);
                }
            }
        }
    }
}

#[inline(always)]
fn at_most_one(value: f32) -> f32 {
    if value < 1.0 { value } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(size: (usize, usize)) -> Image {
        let n = 3 * size.0 * size.1;
        Image::new((0..n).map(|i| ((i * 61) % n) as f32 / n as f32).collect(), size).unwrap()
    }

    #[test]
    fn the_whole_image_at_its_size_is_itself() {
        for size in [(1, 1), (1, 7), (6, 4), (32, 32)] {
            let image = image(size);
            assert_eq!(resized_crop(&image, 0, 0, size.0, size.1, size).unwrap(), image);
        }
    }

    #[test]
    fn a_crop_at_its_size_is_cut_out() {
        let image = image((6, 5));
        let cut = resized_crop(&image, 2, 1, 3, 4, (3, 4)).unwrap();
        for (channel, y, x) in (0..3).flat_map(|c| (0..3).flat_map(move |y| (0..4).map(move |x| (c, y, x)))) {
            let expected = image.pixels()[(channel * 6 + y + 2) * 5 + x + 1];
            assert_eq!(cut.pixels()[(channel * 3 + y) * 4 + x], expected);
        }
    }

    /// The definition, in f64: every input pixel weighed by the triangle around the output's centre.
    fn by_definition(inputs: usize, outputs: usize, output: usize) -> Vec<f64> {
        let scale = inputs as f64 / outputs as f64;
        let center = scale * (output as f64 + 0.5);
        let triangle = |i| (1.0 - (f64::from(i as u32) + 0.5 - center).abs() / scale.max(1.0)).max(0.0);
        let weights: Vec<f64> = (0..inputs).map(triangle).collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect()
    }

    #[test]
    fn taps_are_the_triangle_at_every_scale() {
        let mut taps = Taps::default();
        for (inputs, outputs) in (1..40).flat_map(|i| [1, 2, 3, 7, 16, 31, 32, 33, 64].map(|o| (i, o))) {
            taps.set(inputs, outputs);
            for output in 0..outputs {
                let mut dense = vec![0.0; inputs];
                let first = taps.first[output];
                let weights = &taps.weight[output * taps.per_output..][..taps.per_output];
                for (to, &weight) in dense[first..].iter_mut().zip(weights) {
                    *to = f64::from(weight);
                }
                for (found, expected) in dense.iter().zip(by_definition(inputs, outputs, output)) {
                    assert!((found - expected).abs() < 1e-5, "{inputs} to {outputs}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn shrinking_averages() {
        let checker = (0..3 * 16).map(|i| ((i / 4 + i) % 2) as f32).collect();
        let small = resized_crop(&Image::new(checker, (4, 4)).unwrap(), 0, 0, 4, 4, (1, 1)).unwrap();
        assert!(small.pixels().iter().all(|value| (value - 0.5).abs() < 1e-6));
    }

    #[test]
    fn boxes_outside_the_image_are_refused() {
        let image = image((4, 6));
        for (top, left, height, width) in [
            (0, 0, 5, 1),
            (0, 0, 1, 7),
            (4, 0, 1, 1),
            (0, 6, 1, 1),
            (0, 0, 0, 1),
            (0, 0, 1, 0),
            (usize::MAX, 0, 2, 1),
        ] {
            let result = resized_crop(&image, top, left, height, width, (4, 4));
            assert!(matches!(result, Err(DataError::Setting { .. })));
        }
        assert!(resized_crop(&image, 0, 0, 4, 6, (0, 4)).is_err());
    }
}
