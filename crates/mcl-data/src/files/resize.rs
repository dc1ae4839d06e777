//! Antialiased bilinear resizing that gives Pillow's bytes.
//!
//! The Fix sets of OOD detection differ from the older "resize" sets in nothing but the filter: without antialiasing,
//! aliasing artefacts give the anomalies away. So the filter is part of the data set's definition, and this one is
//! Pillow's `Image.resize(.., BILINEAR)`: a triangle as wide as the scale, weights in 22-bit fixed point, rows first,
//! rounded to 8 bits between the two passes. Pillow 13 takes the columns first where that is cheaper, which moves some
//! bytes by one; the published sets were made before.

use std::borrow::Cow;

use image::RgbImage;
use pulp::{Simd, WithSimd};

/// Bits after the point of a weight: 8 bits of pixel and 2 of headroom fit beside them in 32.
const PRECISION: u32 = 22;

/// The weights that each output sample gives to a run of input samples.
struct Kernel {
    starts: Vec<usize>,
    weights: Vec<Vec<i32>>,
}

impl Kernel {
    fn new(input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let support = scale.max(1.0); // enlarging interpolates, it does not sharpen
        let (mut starts, mut weights) = (Vec::with_capacity(output), Vec::with_capacity(output));
        for i in 0..output {
            let center = (i as f64 + 0.5) * scale;
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(input);
            let triangle = |x: usize| (1.0 - ((x as f64 - center + 0.5) / support).abs()).max(0.0);
            let raw: Vec<f64> = (start..end).map(triangle).collect();
            let total: f64 = raw.iter().sum();
            let fixed = |w: f64| (0.5 + w / total * f64::from(1 << PRECISION)) as i32;
            starts.push(start);
            weights.push(raw.into_iter().map(fixed).collect());
        }
        Self { starts, weights }
    }
}

/// `image` at `size` (height, width): stretched, the aspect ratio is the caller's business.
pub(crate) fn resize(image: &RgbImage, (height, width): (usize, usize)) -> RgbImage {
    let (from_width, from_height) = (image.width() as usize, image.height() as usize);
    let mut bytes = Cow::Borrowed(image.as_raw()); // [height, width, 3]
    let arch = pulp::Arch::new();
    if from_width != width {
        let kernel = Kernel::new(from_width, width);
        let pass = Pass { bytes: &bytes, width: from_width, kernel: &kernel, of_rows: true };
        bytes = Cow::Owned(arch.dispatch(pass));
    }
    if from_height != height {
        let kernel = Kernel::new(from_height, height);
        bytes = Cow::Owned(arch.dispatch(Pass { bytes: &bytes, width, kernel: &kernel, of_rows: false }));
    }
    RgbImage::from_raw(width as u32, height as u32, bytes.into_owned())
        .expect("the passes made height * width * 3 bytes")
}

/// One of the two passes, for the widest vectors of this machine: whole numbers are the same on all.
struct Pass<'a> {
    bytes: &'a [u8],
    width: usize,
    kernel: &'a Kernel,
    of_rows: bool,
}

impl WithSimd for Pass<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Vec<u8> {
        let Self { bytes, width, kernel, of_rows } = self;
        if of_rows { resize_rows(bytes, width, kernel) } else { resize_columns(bytes, width, kernel) }
    }
}

/// Values of neighbouring pixels that are weighed together: a whole number of pixels and of vectors.
const TOGETHER: usize = 24;

/// `[rows, width, 3] -> [rows, kernel, 3]`
#[inline(always)]
fn resize_rows(bytes: &[u8], width: usize, kernel: &Kernel) -> Vec<u8> {
    let by_value: Vec<Vec<[i32; TOGETHER]>> =
        kernel.weights.iter().map(|weights| by_value(weights)).collect();
    let mut out = Vec::with_capacity(bytes.len() / width * kernel.starts.len());
    let mut row = vec![0; 3 * width + TOGETHER]; // the last weights reach over the end, and are zero there
    for from in bytes.chunks_exact(3 * width) {
        row[..3 * width].copy_from_slice(from);
        for (&start, weights) in kernel.starts.iter().zip(&by_value) {
            let mut products = [0; TOGETHER];
            for (values, weights) in row[3 * start..].as_chunks::<TOGETHER>().0.iter().zip(weights) {
                for ((product, &value), weight) in products.iter_mut().zip(values).zip(weights) {
                    *product += weight * i32::from(value);
                }
            }
            // The red, green and blue ones are three apart: halves onto halves.
            for half in [TOGETHER / 2, TOGETHER / 4, TOGETHER / 8] {
                let (sums, others) = products.split_at_mut(half);
                sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += *other);
            }
            let sums = [products[0], products[1], products[2]].map(|sum| sum + (1 << (PRECISION - 1)));
            out.extend(sums.map(to_u8));
        }
    }
    out
}

/// The weight of each value of each pixel: three times the pixel's.
fn by_value(weights: &[i32]) -> Vec<[i32; TOGETHER]> {
    let of_pixels = |pixels: &[i32]| std::array::from_fn(|i| pixels.get(i / 3).copied().unwrap_or(0));
    weights.chunks(TOGETHER / 3).map(of_pixels).collect()
}

/// `[height, width, 3] -> [kernel, width, 3]`
#[inline(always)]
fn resize_columns(bytes: &[u8], width: usize, kernel: &Kernel) -> Vec<u8> {
    let row_bytes = 3 * width;
    let mut out = Vec::with_capacity(row_bytes * kernel.starts.len());
    let mut sums = vec![0; row_bytes];
    for (&start, weights) in kernel.starts.iter().zip(&kernel.weights) {
        sums.fill(1 << (PRECISION - 1));
        for (row, &weight) in bytes[start * row_bytes..].chunks_exact(row_bytes).zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(value);
            }
        }
        out.extend(sums.iter().copied().map(to_u8));
    }
    out
}

#[inline(always)]
fn to_u8(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The same pseudo-random picture as tests/golden/make.py draws.
    pub(crate) fn noise(height: usize, width: usize) -> RgbImage {
        let mut state = 1u32;
        let bytes = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        RgbImage::from_raw(width as u32, height as u32, bytes.take(3 * height * width).collect()).unwrap()
    }

    /// Reference from Pillow 12: `Image.resize((w, h), Image.Resampling.BILINEAR)`, see tests/golden/make.py
    #[test]
    fn every_byte_is_pillows() {
        #[derive(serde::Deserialize)]
        struct Case {
            from: (usize, usize),
            to: (usize, usize),
            pixels: Vec<u8>,
        }
        let cases: Vec<Case> = serde_json::from_str(include_str!("../../tests/golden/resize.json")).unwrap();
        assert!(cases.len() >= 6);
        for Case { from, to, pixels } in cases {
            let resized = resize(&noise(from.0, from.1), to);
            assert_eq!(resized.dimensions(), (to.1 as u32, to.0 as u32));
            assert!(resized.as_raw() == &pixels, "{from:?} -> {to:?} differs from Pillow");
        }
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        for value in [0, 1, 127, 254, 255] {
            let flat = RgbImage::from_pixel(37, 91, image::Rgb([value; 3]));
            assert!(resize(&flat, (32, 200)).iter().all(|&v| v == value));
        }
    }
}
