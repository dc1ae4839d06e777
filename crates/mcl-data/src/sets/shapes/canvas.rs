//! A small picture in floating point, and the random numbers to fill it with.
//!
//! Only additions, multiplications, divisions and square roots: every platform gives the same bits, which sines and
//! powers would not.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Height and width of every image, in pixels.
pub const SIDE: usize = 32;

/// Red, green, blue, 0..=1.
pub(super) type Color = [f32; 3];

/// A stream of random numbers for one image.
pub(super) struct Random(ChaCha8Rng);

impl Random {
    /// The stream of image `index` of a set: independent of all other images.
    pub(super) fn new(seed: u64, stream: u64, index: usize) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&stream.to_le_bytes());
        key[16..24].copy_from_slice(&(index as u64).to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `low..high`.
    pub(super) fn within(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// Uniform in `low..=high`.
    pub(super) fn integer(&mut self, low: u32, high: u32) -> u32 {
        low + self.0.next_u32() % (high - low + 1)
    }

    pub(super) fn color(&mut self) -> Color {
        [self.within(0.0, 1.0), self.within(0.0, 1.0), self.within(0.0, 1.0)]
    }

    /// A color close to `color`.
    pub(super) fn near(&mut self, color: Color, spread: f32) -> Color {
        color.map(|channel| (channel + self.within(-spread, spread)).clamp(0.0, 1.0))
    }

    /// Cosine and sine of an angle whose half has a tangent of at most `limit` either way: 1 is a quarter turn.
    pub(super) fn direction(&mut self, limit: f32) -> (f32, f32) {
        let t = self.within(-limit, limit);
        ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t))
    }
}

/// How bright a color looks, 0..=1.
pub(super) fn luminance([r, g, b]: Color) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

pub(super) fn mix(a: Color, b: Color, share_of_b: f32) -> Color {
    [0, 1, 2].map(|c| a[c] + (b[c] - a[c]) * share_of_b)
}

/// Interpolated random values on a grid: smooth noise, -1..=1.
pub(super) struct SmoothNoise {
    cells: usize,
    values: Vec<f32>, // [cells + 1, cells + 1]
}

impl SmoothNoise {
    pub(super) fn new(cells: usize, random: &mut Random) -> Self {
        let values = (0..(cells + 1) * (cells + 1)).map(|_| random.within(-1.0, 1.0)).collect();
        Self { cells, values }
    }

    /// The value at a pixel.
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let place = |v: f32| {
            let scaled = (v / SIDE as f32).clamp(0.0, 0.999) * self.cells as f32;
            let t = scaled - scaled.floor();
            (scaled as usize, t * t * (3.0 - 2.0 * t))
        };
        let ((i, s), (j, t)) = (place(x), place(y));
        let value = |i: usize, j: usize| self.values[j * (self.cells + 1) + i];
        let top = value(i, j) + (value(i + 1, j) - value(i, j)) * s;
        let bottom = value(i, j + 1) + (value(i + 1, j + 1) - value(i, j + 1)) * s;
        top + (bottom - top) * t
    }
}

/// Row-major pixels, `[SIDE, SIDE]`.
pub(super) struct Canvas(Vec<Color>);

impl Canvas {
    /// Colors every pixel by its centre.
    pub(super) fn fill(mut color: impl FnMut(f32, f32) -> Color) -> Self {
        Self((0..SIDE * SIDE).map(|i| color((i % SIDE) as f32 + 0.5, (i / SIDE) as f32 + 0.5)).collect())
    }

    /// Lays `color` over every pixel with the opacity given for its centre.
    pub(super) fn paint(&mut self, color: Color, mut opacity: impl FnMut(f32, f32) -> f32) {
        for (i, pixel) in self.0.iter_mut().enumerate() {
            let opacity = opacity((i % SIDE) as f32 + 0.5, (i / SIDE) as f32 + 0.5);
            *pixel = mix(*pixel, color, opacity);
        }
    }

    pub(super) fn mean_luminance(&self) -> f32 {
        self.0.iter().map(|&color| luminance(color)).sum::<f32>() / self.0.len() as f32
    }

    /// Adds the noise of a camera: about normal, with this standard deviation.
    pub(super) fn add_grain(&mut self, deviation: f32, random: &mut Random) {
        for channel in self.0.as_flattened_mut() {
            let sum: f32 = (0..3).map(|_| random.within(-1.0, 1.0)).sum(); // variance 1
            *channel += deviation * sum;
        }
    }

    /// Planar bytes, `[3, SIDE, SIDE]`.
    pub(super) fn write(&self, planar: &mut [u8]) {
        for (c, plane) in planar.chunks_exact_mut(SIDE * SIDE).enumerate() {
            for (out, color) in plane.iter_mut().zip(&self.0) {
                *out = (color[c].clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
            }
        }
    }
}

/// Opacity of a pixel whose centre lies `distance` pixels outside an edge: the antialiasing.
pub(super) fn coverage(distance: f32) -> f32 {
    (0.5 - distance).clamp(0.0, 1.0)
}
