//! Maxima: over 2 x 2 pixels, and over all positions of an image.
//!
//! The first of equal values is the maximum, and NaN is above all numbers, as in Burn.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::context::Context;
use super::rows::{InMemory, Rows};

/// Maximum over 2 x 2 pixels with stride 2, of images `[h, w, channels]`. An odd size leaves the last row or
/// column out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MaxPool {
    /// `[h, w]`, at least 2 each
    size: [usize; 2],
    channels: usize,
}

impl MaxPool {
    pub(super) fn new(size: [usize; 2], channels: usize) -> Self {
        Self { size, channels }
    }

    pub(super) fn size_out(&self) -> [usize; 2] {
        self.size.map(|size| size / 2)
    }

    /// Values of one image before the maximum.
    pub(super) fn image_in(&self) -> usize {
        self.size[0] * self.row_in()
    }

    /// Values of one image after the maximum.
    pub(super) fn image_out(&self) -> usize {
        self.size_out()[0] * self.row_out()
    }

    fn row_in(&self) -> usize {
        self.size[1] * self.channels
    }

    fn row_out(&self) -> usize {
        self.size_out()[1] * self.channels
    }

    /// The maxima of some images, and which of the four pixels each is: 0 to 3, row by row.
    pub(super) fn apply(&self, arch: Arch, values: &[f32], to: &mut [f32], positions: &mut [u8]) {
        arch.dispatch(Maxima { pool: self, values, to, positions });
    }

    /// The maxima of a batch, on all threads.
    pub(super) fn forward(&self, context: &Context, values: &[f32]) -> (Vec<f32>, Vec<u8>) {
        let len = values.len() / self.image_in() * self.image_out();
        let (mut to, mut positions) = (context.pool.take(len), vec![0; len]);
        to.par_chunks_mut(self.image_out())
            .zip(positions.par_chunks_mut(self.image_out()))
            .zip(values.par_chunks(self.image_in()))
            .for_each(|((to, positions), values)| self.apply(context.arch, values, to, positions));
        (to, positions)
    }

    /// The gradient of the values of a batch.
    pub(super) fn backward(&self, context: &Context, positions: &[u8], gradient: &[f32]) -> Vec<f32> {
        let images = gradient.len() / self.image_out();
        let mut to = context.pool.take(images * self.image_in());
        let rows = Unpooled { arch: context.arch, pool: *self, positions, gradient: &InMemory(gradient) };
        let images = to.par_chunks_mut(self.image_in()).enumerate();
        images.for_each(|(image, to)| rows.row(image * self.image_in(), to));
        to
    }
}

/// Whether `value` replaces `best`.
#[inline(always)]
fn exceeds(value: f32, best: f32) -> bool {
    (value > best) | value.is_nan()
}

struct Maxima<'a> {
    pool: &'a MaxPool,
    values: &'a [f32],
    to: &'a mut [f32],
    positions: &'a mut [u8],
}

impl WithSimd for Maxima<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { pool, values, to, positions } = self;
        let len = pool.channels;
        let images = values
            .chunks_exact(pool.image_in())
            .zip(to.chunks_exact_mut(pool.image_out()))
            .zip(positions.chunks_exact_mut(pool.image_out()));
        for ((values, to), positions) in images {
            let rows = values
                .chunks_exact(2 * pool.row_in())
                .zip(to.chunks_exact_mut(pool.row_out()))
                .zip(positions.chunks_exact_mut(pool.row_out()));
            for ((values, to), positions) in rows {
                let (top, bottom) = values.split_at(pool.row_in());
                let pixels = to
                    .chunks_exact_mut(len)
                    .zip(positions.chunks_exact_mut(len))
                    .zip(top.chunks_exact(2 * len))
                    .zip(bottom.chunks_exact(2 * len));
                for (((to, positions), top), bottom) in pixels {
                    let ([a, b], [c, d]) = (halves(top), halves(bottom));
                    let (a, b, c, d) = (&a[..len], &b[..len], &c[..len], &d[..len]);
                    let (to, positions) = (&mut to[..len], &mut positions[..len]);
                    for i in 0..len {
                        let (mut best, mut at) = (a[i], 0);
                        for (value, position) in [(b[i], 1), (c[i], 2), (d[i], 3)] {
                            at = if exceeds(value, best) { position } else { at };
                            best = if exceeds(value, best) { value } else { best };
                        }
                        to[i] = best;
                        positions[i] = at;
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn halves(values: &[f32]) -> [&[f32]; 2] {
    let (first, second) = values.split_at(values.len() / 2);
    [first, second]
}

/// The gradient before the maximum: that of each maximum where the maximum was, zero elsewhere.
pub(super) struct Unpooled<'a, R> {
    pub(super) arch: Arch,
    pub(super) pool: MaxPool,
    pub(super) positions: &'a [u8],
    /// Of the maxima.
    pub(super) gradient: &'a R,
}

impl<R: Rows> Rows for Unpooled<'_, R> {
    fn row(&self, start: usize, to: &mut [f32]) {
        let pool = &self.pool;
        let (len, [height, _]) = (pool.row_out(), pool.size_out());
        let mut gradient = vec![0.0; len];
        let mut row_of_gradient = None;
        let first = start / pool.row_in();
        for (row, to) in (first..).zip(to.chunks_exact_mut(pool.row_in())) {
            let (image, y) = (row / pool.size[0], row % pool.size[0]);
            if y / 2 == height {
                to.fill(0.0);
                continue;
            }
            let from = image * height + y / 2;
            if row_of_gradient != Some(from) {
                self.gradient.row(from * len, &mut gradient);
                row_of_gradient = Some(from);
            }
            let positions = &self.positions[from * len..][..len];
            let first = if y % 2 == 0 { 0 } else { 2 };
            let spread = Spread { channels: pool.channels, gradient: &gradient, positions, first, to };
            self.arch.dispatch(spread);
        }
    }
}

struct Spread<'a> {
    channels: usize,
    gradient: &'a [f32],
    positions: &'a [u8],
    /// The position that belongs to the left one of two pixels.
    first: u8,
    to: &'a mut [f32],
}

impl WithSimd for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { channels: len, gradient, positions, first, to } = self;
        let mut pixels = to.chunks_exact_mut(2 * len);
        let maxima = gradient.chunks_exact(len).zip(positions.chunks_exact(len));
        for (to, (gradient, positions)) in (&mut pixels).zip(maxima) {
            let (left, right) = to.split_at_mut(len);
            let (left, right) = (&mut left[..len], &mut right[..len]);
            let (gradient, positions) = (&gradient[..len], &positions[..len]);
            for i in 0..len {
                left[i] = if positions[i] == first { gradient[i] } else { 0.0 };
                right[i] = if positions[i] == first + 1 { gradient[i] } else { 0.0 };
            }
        }
        pixels.into_remainder().fill(0.0);
    }
}

/// The maximum over the positions of each image: `[n, positions, channels] -> [n, channels]`, and where it
/// is.
pub(super) fn maximum(arch: Arch, values: &[f32], positions: usize, channels: usize) -> (Vec<f32>, Vec<u32>) {
    let len = values.len() / positions;
    let (mut to, mut at) = (vec![0.0; len], vec![0; len]);
    to.par_chunks_mut(channels)
        .zip(at.par_chunks_mut(channels))
        .zip(values.par_chunks(positions * channels))
        .for_each(|((to, at), values)| arch.dispatch(Maximum { values, to, at }));
    (to, at)
}

/// The gradient of the values of [`maximum`].
pub(super) fn maximum_gradient(
    context: &Context,
    gradient: &[f32],
    at: &[u32],
    positions: usize,
    channels: usize,
) -> Vec<f32> {
    let mut to = context.pool.take(gradient.len() * positions);
    to.par_chunks_mut(positions * channels)
        .zip(gradient.par_chunks(channels))
        .zip(at.par_chunks(channels))
        .for_each(|((to, gradient), at)| context.arch.dispatch(MaximumGradient { gradient, at, to }));
    to
}

struct Maximum<'a> {
    values: &'a [f32],
    to: &'a mut [f32],
    at: &'a mut [u32],
}

impl WithSimd for Maximum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { values, to, at } = self;
        let len = to.len();
        to.copy_from_slice(&values[..len]);
        let at = &mut at[..len];
        for (position, values) in (0..).zip(values.chunks_exact(len)).skip(1) {
            let values = &values[..len];
            for i in 0..len {
                let (value, best) = (values[i], to[i]);
                let better = !best.is_nan() & exceeds(value, best);
                to[i] = if better { value } else { best };
                at[i] = if better { position } else { at[i] };
            }
        }
    }
}

struct MaximumGradient<'a> {
    gradient: &'a [f32],
    at: &'a [u32],
    to: &'a mut [f32],
}

impl WithSimd for MaximumGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { gradient, at, to } = self;
        let len = gradient.len();
        let at = &at[..len];
        for (position, to) in (0..).zip(to.chunks_exact_mut(len)) {
            let to = &mut to[..len];
            for i in 0..len {
                to[i] = if at[i] == position { gradient[i] } else { 0.0 };
            }
        }
    }
}
