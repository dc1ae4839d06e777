//! Operands of products in bf16: two values in each, neighbours in the sum.

use pulp::{Arch, Simd, WithSimd};

use super::bf16::pair;

/// Pairs of neighbouring channels: `[pixels, channels] -> [pixels, pairs]`, the pairs beyond the last channel zero.
pub(super) fn pair_channels(arch: Arch, values: &[f32], channels: usize, to: &mut [u32], pairs: usize) {
    arch.dispatch(PairChannels { values, channels, to, pairs });
}

struct PairChannels<'a> {
    values: &'a [f32],
    channels: usize,
    to: &'a mut [u32],
    pairs: usize,
}

impl WithSimd for PairChannels<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { values, channels, to, pairs } = self;
        if 2 * pairs == channels {
            return pair_neighbors(values, to);
        }
        for (to, values) in to.chunks_exact_mut(pairs).zip(values.chunks_exact(channels)) {
            let (to, none) = to.split_at_mut(channels / 2);
            pair_neighbors(values, to);
            none.fill(0);
        }
    }
}

/// `[a, b, c, d] -> [ab, cd]`
#[inline(always)]
fn pair_neighbors(values: &[f32], to: &mut [u32]) {
    for (to, values) in to.iter_mut().zip(values.chunks_exact(2)) {
        *to = pair(values[0], values[1]);
    }
}

/// Each value with the value of the other image at its place.
#[inline(always)]
pub(super) fn pair_up(first: &[f32], second: &[f32], to: &mut [u32]) {
    for ((to, &first), &second) in to.iter_mut().zip(first).zip(second) {
        *to = pair(first, second);
    }
}

/// Images two by two. A last image without a partner is paired with zeros.
pub(super) struct ImagePairs<'a> {
    images: &'a [f32],
    len: usize,
    zeros: Vec<f32>,
}

impl<'a> ImagePairs<'a> {
    /// Of images of `len` values.
    pub(super) fn new(images: &'a [f32], len: usize) -> Self {
        let zeros = vec![0.0; if (images.len() / len).is_multiple_of(2) { 0 } else { len }];
        Self { images, len, zeros }
    }

    pub(super) fn count(&self) -> usize {
        self.images.len().div_ceil(2 * self.len)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[f32], &[f32])> {
        self.images.chunks(2 * self.len).map(|images| {
            let (first, second) = images.split_at(self.len);
            (first, if second.is_empty() { &self.zeros } else { second })
        })
    }
}

/// `[images, pixels, channels] -> [blocks, images / 2, pixels, width]`, each value a pair of two images. Values beyond the last
/// channel are zero.
pub(super) fn pair_blocks(
    arch: Arch,
    images: &ImagePairs,
    [pixels, channels, width]: [usize; 3],
    to: &mut [u32],
) {
    let of_block = images.count() * pixels * width;
    for (block, to) in to.chunks_exact_mut(of_block).take(channels.div_ceil(width)).enumerate() {
        for ((first, second), to) in images.iter().zip(to.chunks_exact_mut(pixels * width)) {
            arch.dispatch(PairBlock { first, second, channels, start: block * width, width, to });
        }
    }
}

struct PairBlock<'a> {
    first: &'a [f32],
    second: &'a [f32],
    channels: usize,
    start: usize,
    width: usize,
    to: &'a mut [u32],
}

impl WithSimd for PairBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { first, second, channels, start, width, to } = self;
        let end = channels.min(start + width);
        let pixels = first.chunks_exact(channels).zip(second.chunks_exact(channels));
        for (to, (first, second)) in to.chunks_exact_mut(width).zip(pixels) {
            let (to, none) = to.split_at_mut(end - start);
            pair_up(&first[start..end], &second[start..end], to);
            none.fill(0);
        }
    }
}

/// Packed weights, per strip `[rows, width]`, as pairs of rows: `[rows / 2, width]`.
pub(super) fn pair_rows(packed: &[f32], widths: impl Iterator<Item = usize>, rows: usize) -> Vec<u32> {
    let mut to = vec![0; packed.len() / 2];
    let (mut packed, mut rest) = (packed, to.as_mut_slice());
    for width in widths {
        let (strip, after) = packed.split_at(rows * width);
        let (of_strip, after_pairs) = rest.split_at_mut(rows / 2 * width);
        (packed, rest) = (after, after_pairs);
        pair_rows_of_strip(strip, width, of_strip, width);
    }
    to
}

/// `[rows, width] -> [rows / 2, side]`; values beyond the width stay as they are.
pub(super) fn pair_rows_of_strip(rows: &[f32], width: usize, to: &mut [u32], side: usize) {
    for (rows, to) in rows.chunks_exact(2 * width).zip(to.chunks_exact_mut(side)) {
        let (first, second) = rows.split_at(width);
        pair_up(first, second, to);
    }
}
