//! Weight gradients in bf16: images two by two, in blocks of channels that lie together in memory. A block
//! stays in a first-level cache; pixels of many channels would share few of that cache's sets.

use pulp::Arch;

use super::accumulate::Accumulate;
use super::bf16::Bf16;
use super::geometry::{Geometry, Padded, Plan};
use super::lanes::{ACROSS, Strip};
use super::pairs::{ImagePairs, pair_blocks};

/// Source channels of a block: the rows of a tile.
const SOURCES: usize = 8;

/// The loops of a weight gradient over blocks.
pub(super) struct Blocks {
    /// Per tap the plan over a block of source channels and a strip of output channels.
    taps: Vec<Plan>,
    channels_in: usize,
    channels_out: usize,
    lanes: usize,
    /// Pixels of a padded image, and of an image of the output.
    padded: usize,
    pixels: usize,
}

/// Memory of a thread.
#[derive(Default)]
pub(super) struct BlockScratch {
    source: Vec<u32>,
    d_target: Vec<u32>,
}

impl Blocks {
    /// Of the plan of a convolution; `None` where the source channels are not whole blocks.
    pub(super) fn new(g: &Geometry, padded: &Padded, plan: &Plan, lanes: usize) -> Option<Self> {
        if !g.channels_in.is_multiple_of(SOURCES) {
            return None;
        }
        let in_block = |offset: usize| offset / g.channels_in * SOURCES;
        let source: Vec<usize> = plan.source.iter().map(|&offset| in_block(offset)).collect();
        let target: Vec<usize> = (0..plan.target.len()).map(|pixel| pixel * ACROSS * lanes).collect();
        let taps = plan.runs.iter().flat_map(|&run| (0..g.kernel).map(move |kx| (run, kx)));
        let taps = taps.map(|(run, kx)| Plan {
            source: source.clone(),
            target: target.clone(),
            runs: vec![in_block(run) + kx * SOURCES],
            run_len: SOURCES,
            taps: Vec::new(),
        });
        Some(Self {
            taps: taps.collect(),
            channels_in: g.channels_in,
            channels_out: g.channels_out,
            lanes,
            padded: padded.len() / g.channels_in,
            pixels: plan.target.len(),
        })
    }

    /// Adds to the packed gradient of some strips, from padded images and the gradients of the output.
    pub(super) fn accumulate(
        &self,
        arch: Arch,
        bf16: Bf16,
        strips: &[Strip],
        [planes, d_target]: [&[f32]; 2],
        gradient: &mut [f32],
        scratch: &mut BlockScratch,
    ) {
        let width = ACROSS * self.lanes;
        let BlockScratch { source, d_target: d_pairs } = scratch;
        let (source_image, d_target_image) = (self.padded * SOURCES, self.pixels * width);
        let images = ImagePairs::new(planes, self.padded * self.channels_in);
        let pairs = images.count();
        source.resize(self.channels_in / SOURCES * pairs * source_image, 0);
        pair_blocks(arch, &images, [self.padded, self.channels_in, SOURCES], source);
        let images = ImagePairs::new(d_target, self.pixels * self.channels_out);
        d_pairs.resize(self.channels_out.div_ceil(width) * pairs * d_target_image, 0);
        pair_blocks(arch, &images, [self.pixels, self.channels_out, width], d_pairs);
        let mut rest = gradient;
        for strip in strips {
            let row = strip.width(self.lanes);
            let (of_strip, after) = rest.split_at_mut(self.taps.len() * self.channels_in * row);
            rest = after;
            let d_target = &d_pairs[strip.start / width * pairs * d_target_image..][..pairs * d_target_image];
            for (block, source) in source.chunks_exact(pairs * source_image).enumerate() {
                for (tap, plan) in self.taps.iter().enumerate() {
                    let start = (tap * self.channels_in + block * SOURCES) * row;
                    bf16.accumulate(Accumulate {
                        source,
                        source_image,
                        plan,
                        strips: &[Strip { start: 0, ..*strip }],
                        d_target,
                        d_target_image,
                        gradient: &mut of_strip[start..][..SOURCES * row],
                    });
                }
            }
        }
    }
}
