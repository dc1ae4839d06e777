//! Weight gradients with AMX, images two by two.
//!
//! ```text
//! gradient[c, k] += sum over positions l of d_target[c, l] * source[l + tap, k]
//! ```
//!
//! Positions are those of the padded source, one behind the other. The gradient of the output lies at the positions where the
//! receptive fields start, with zeros between; a tap is then a shift of the source.

use pulp::{Arch, Simd, WithSimd};

use super::amx::{Aligned, Amx, Runs, SIDE, Shape, Sums, TILE};
use super::geometry::{Geometry, Padded, Plan};
use super::lanes::Strip;
use super::pairs::{ImagePairs, pair_blocks, pair_up};

/// Steps of a sum in registers, at least: sums are read and written once for each group of images.
const GROUP_STEPS: usize = 64;

/// The loops of a weight gradient in tiles.
pub(super) struct TileGradient {
    /// Per tap the shift, in positions.
    taps: Vec<usize>,
    /// Position of each pixel of the output.
    pixels: Vec<usize>,
    channels_in: usize,
    channels_out: usize,
    /// Positions of a padded image.
    positions: usize,
    /// Steps over the positions of an image.
    steps: usize,
}

/// Memory of a thread.
#[derive(Default)]
pub(super) struct TileGradientScratch {
    source: Aligned,
    d_target: Aligned,
}

impl TileGradient {
    /// Of the plan of a convolution.
    pub(super) fn new(g: &Geometry, padded: &Padded, plan: &Plan) -> Self {
        let position = |offset: usize| offset / g.channels_in;
        let pixels: Vec<usize> = plan.source.iter().map(|&offset| position(offset)).collect();
        let taps = plan.runs.iter().flat_map(|&run| (0..g.kernel).map(move |kx| position(run) + kx));
        Self {
            taps: taps.collect(),
            steps: pixels.last().map_or(1, |&last| (last + 1).div_ceil(TILE)),
            pixels,
            channels_in: g.channels_in,
            channels_out: g.channels_out,
            positions: padded.len() / g.channels_in,
        }
    }

    /// Images whose gradient is summed in registers.
    pub(super) fn group(&self) -> usize {
        2 * GROUP_STEPS.div_ceil(self.steps)
    }

    fn blocks(&self) -> usize {
        self.channels_in.div_ceil(SIDE)
    }

    /// Length of the sums of so many strips: `[strips, taps, blocks of channels in, SIDE out, SIDE in]`.
    pub(super) fn len(&self, strips: usize) -> usize {
        strips * self.taps.len() * self.blocks() * SIDE * SIDE
    }

    /// Adds to the sums of some strips, from padded images and the gradients of the output.
    pub(super) fn accumulate(
        &self,
        (arch, amx): (Arch, Amx),
        strips: &[Strip],
        [planes, d_target]: [&[f32]; 2],
        gradient: &mut [f32],
        scratch: &mut TileGradientScratch,
    ) {
        let TileGradientScratch { source, d_target: d_tiles } = scratch;
        let images = ImagePairs::new(planes, self.positions * self.channels_in);
        let pairs = images.count();
        let (source_pair, d_pair) = (self.positions * SIDE, self.steps * SIDE * TILE);
        let of_block = pairs * source_pair;
        let reach = self.taps.iter().max().map_or(0, |last| last + self.steps * TILE) * SIDE;
        let source = source.at_least(self.blocks() * of_block + reach);
        pair_blocks(arch, &images, [self.positions, self.channels_in, SIDE], source);
        let d_tiles = d_tiles.at_least(strips.len() * pairs * d_pair);
        let d_tiles = &mut d_tiles[..strips.len() * pairs * d_pair];
        arch.dispatch(PairTransposed { of: self, strips, d_target, to: d_tiles });

        let shape = Shape { row: TILE, step: SIDE * TILE, steps: self.steps };
        let mut products = Runs::new(shape);
        let mut sums = Sums::ZERO;
        let of_strip = self.taps.len() * self.blocks() * SIDE * SIDE;
        let of_strips = d_tiles.chunks_exact(pairs * d_pair).zip(gradient.chunks_exact_mut(of_strip));
        for (d_target, gradient) in of_strips {
            for block in 0..self.blocks() {
                for (tap, &shift) in self.taps.iter().enumerate() {
                    products.clear();
                    for (index, d_target) in d_target.chunks_exact(d_pair).enumerate() {
                        let start = block * of_block + index * source_pair + shift * SIDE;
                        products.push([d_target, &d_target[TILE * TILE..]], &source[start..]);
                    }
                    let start = (tap * self.blocks() + block) * SIDE * SIDE;
                    let gradient = &mut gradient[start..][..SIDE * SIDE];
                    amx.multiply(&products, &mut sums);
                    gradient.iter_mut().zip(&sums.0).for_each(|(to, &sum)| *to += sum);
                }
            }
        }
    }

    /// The sums as weights are packed: per strip `[taps * channels in, width]`.
    pub(super) fn packed(&self, strips: &[Strip], lanes: usize, gradient: &[f32]) -> Vec<f32> {
        let rows = self.taps.len() * self.channels_in;
        let widths = strips.iter().map(|strip| strip.width(lanes));
        let mut packed = vec![0.0; widths.map(|width| rows * width).sum()];
        let mut rest = packed.as_mut_slice();
        let of_tap = self.blocks() * SIDE * SIDE;
        for (strip, gradient) in strips.iter().zip(gradient.chunks_exact(self.taps.len() * of_tap)) {
            let width = strip.width(lanes);
            let (of_strip, after) = rest.split_at_mut(rows * width);
            rest = after;
            let taps = of_strip.chunks_exact_mut(self.channels_in * width);
            for (to, gradient) in taps.zip(gradient.chunks_exact(of_tap)) {
                for (channel, row) in to.chunks_exact_mut(width).enumerate() {
                    let block = &gradient[channel / SIDE * SIDE * SIDE..][..SIDE * SIDE];
                    let values = block[channel % SIDE..].iter().step_by(SIDE);
                    row.iter_mut().zip(values).for_each(|(to, &value)| *to = value);
                }
            }
        }
        packed
    }
}

/// `[images, pixels, channels out] -> [strips, images / 2, steps, SIDE channels, TILE positions]`. The positions where no receptive
/// field starts are the same for each strip and each pair: they are zero from the beginning, and stay so.
struct PairTransposed<'a> {
    of: &'a TileGradient,
    strips: &'a [Strip],
    d_target: &'a [f32],
    to: &'a mut [u32],
}

impl WithSimd for PairTransposed<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let TileGradient { channels_out: channels, steps, pixels, .. } = self.of;
        let image = pixels.len() * channels;
        let images = ImagePairs::new(self.d_target, image);
        let of_strip = self.to.len() / self.strips.len();
        for (strip, to) in self.strips.iter().zip(self.to.chunks_exact_mut(of_strip)) {
            let range = strip.start..strip.start + strip.len;
            for ((first, second), to) in images.iter().zip(to.chunks_exact_mut(steps * SIDE * TILE)) {
                let values = first.chunks_exact(*channels).zip(second.chunks_exact(*channels));
                for (&position, (first, second)) in pixels.iter().zip(values) {
                    let mut pairs = [0; SIDE];
                    pair_up(&first[range.clone()], &second[range.clone()], &mut pairs[..strip.len]);
                    let column = &mut to[position / TILE * SIDE * TILE..][..SIDE * TILE];
                    for (row, pair) in column.chunks_exact_mut(TILE).zip(pairs) {
                        row[position % TILE] = pair;
                    }
                }
            }
        }
    }
}
