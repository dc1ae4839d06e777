//! Convolutions and gradients of their inputs with AMX: tiles of neighbouring source pixels times tiles of weights.
//!
//! The rows of a tile lie at one distance in memory. So a tile takes pixels of the padded source as they follow each other,
//! those of the border among them; the products of pixels that belong to no target are dropped.

use pulp::Arch;

use super::amx::{Aligned, Amx, Runs, SIDE, Shape, Sums, TILE};
use super::geometry::Plan;
use super::lanes::Strip;
use super::pairs::{pair_channels, pair_rows_of_strip};

/// Pairs of a pixel: whole steps, the last ones zero.
pub(super) fn pairs_of(channels: usize) -> usize {
    channels.div_ceil(2).next_multiple_of(TILE)
}

/// A correlation's source pixels in tiles.
#[derive(Debug, Clone)]
pub(super) struct PixelTiles {
    tiles: Vec<PixelTile>,
    /// The row in its tile and the start in the target of every target pixel, tile by tile.
    pixels: Vec<(usize, usize)>,
    /// Distance of neighbouring rows.
    row: usize,
    runs: Vec<usize>,
    steps: usize,
}

#[derive(Debug, Clone)]
struct PixelTile {
    /// Where the first row starts in the source.
    start: usize,
    /// Number of target pixels in this tile.
    count: usize,
}

impl PixelTiles {
    /// Of a plan over pairs ([`Plan::of_pairs`]).
    pub(super) fn new(plan: &Plan) -> Self {
        let row = match plan.source[..] {
            [first, second, ..] if second > first => second - first,
            _ => TILE,
        };
        let (mut tiles, mut pixels) = (Vec::<PixelTile>::new(), Vec::with_capacity(plan.source.len()));
        for (&source, &target) in plan.source.iter().zip(&plan.target) {
            let row_of = |tile: &PixelTile| {
                let distance = source.checked_sub(tile.start)?;
                (distance.is_multiple_of(row) && distance / row < TILE).then_some(distance / row)
            };
            match tiles.last_mut().and_then(|tile| row_of(tile).map(|row| (tile, row))) {
                Some((tile, row)) => {
                    tile.count += 1;
                    pixels.push((row, target));
                }
                None => {
                    tiles.push(PixelTile { start: source, count: 1 });
                    pixels.push((0, target));
                }
            }
        }
        Self { tiles, pixels, row, runs: plan.runs.clone(), steps: plan.run_len / TILE }
    }

    /// Pairs that the tiles read from the source: more than the source has, where the last tile reaches beyond.
    fn reach(&self) -> usize {
        let last = |offsets: &mut dyn Iterator<Item = usize>| offsets.max().unwrap_or(0);
        let start = last(&mut self.tiles.iter().map(|tile| tile.start));
        let run = last(&mut self.runs.iter().copied());
        start + run + (TILE - 1) * self.row + self.steps * TILE
    }

    /// Writes the values of all target pixels. `planes` are padded images of `channels`, and `weights` those of
    /// [`pack_tiles`].
    pub(super) fn correlate(
        &self,
        (arch, amx): (Arch, Amx),
        (planes, channels): (&[f32], usize),
        strips: &[Strip],
        weights: &[u32],
        target: &mut [f32],
        scratch: &mut Aligned,
    ) {
        let pairs = planes.len() / channels * pairs_of(channels);
        let source = scratch.at_least(pairs.max(self.reach()));
        pair_channels(arch, planes, channels, &mut source[..pairs], pairs_of(channels));
        let source = &*source;
        let of_strip = self.runs.len() * self.steps * TILE * SIDE;
        let shape = Shape { row: self.row, step: TILE, steps: self.steps };
        let mut products = Runs::new(shape);
        let mut sums = Sums::ZERO;
        for (strip, weights) in strips.iter().zip(weights.chunks_exact(of_strip)) {
            let mut pixels = self.pixels.iter();
            for tiles in self.tiles.chunks(2) {
                let (first, last) = (&tiles[0], &tiles[tiles.len() - 1]);
                products.clear();
                for (&run, weights) in self.runs.iter().zip(weights.chunks_exact(self.steps * TILE * SIDE)) {
                    products.push([&source[first.start + run..], &source[last.start + run..]], weights);
                }
                amx.multiply(&products, &mut sums);
                for (tile, sums) in tiles.iter().zip(sums.0.chunks_exact(TILE * SIDE)) {
                    for &(row, start) in pixels.by_ref().take(tile.count) {
                        let values = &sums[row * SIDE..][..strip.len];
                        target[start + strip.start..][..strip.len].copy_from_slice(values);
                    }
                }
            }
        }
    }
}

/// Packed weights, per strip `[taps * channels, width]`, as pairs of rows: `[taps * pairs_of(channels), SIDE]`.
pub(super) fn pack_tiles(
    packed: &[f32],
    widths: impl Iterator<Item = usize>,
    rows: usize,
    channels: usize,
) -> Aligned {
    let widths: Vec<usize> = widths.collect();
    let of_tap = pairs_of(channels) * SIDE;
    let mut to = Aligned::zeros(widths.len() * (rows / channels) * of_tap);
    let mut taps = to.chunks_exact_mut(of_tap);
    let mut rest = packed;
    for width in widths {
        let (strip, after) = rest.split_at(rows * width);
        rest = after;
        for (values, to) in strip.chunks_exact(channels * width).zip(&mut taps) {
            pair_rows_of_strip(values, width, to, SIDE);
        }
    }
    to
}
