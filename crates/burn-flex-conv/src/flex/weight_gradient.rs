//! Weight gradients over a batch: tasks for parts of the images and of the channels out, over threads.
//!
//! The partition depends on the sizes alone and sums are reduced in a fixed order: results have the same bits
//! whatever the number of threads.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use super::accumulate::Accumulate;
use super::amx::Amx;
use super::bf16::Bf16;
use super::blocks::{BlockScratch, Blocks};
use super::context::{Context, InBf16};
use super::correlation::GROUP_VALUES;
use super::geometry::{Geometry, Padded, Plan, forward_plan};
use super::lanes::{Strip, lanes, strips};
use super::pairs::{ImagePairs, pair_blocks};
use super::rows::{InMemory, Rows};
use super::tile_gradient::{TileGradient, TileGradientScratch};
use super::tiling::{self, Tiling};
use super::transform::gradient_of_weights;
use super::weights::{packed_len, unpack};
use super::winograd::{AccumulateTiles, TileScratch, transformed_len};

/// Pixels of a group whose weight gradient is summed in registers, at least.
const GROUP_PIXELS: usize = 256;
/// Partial weight gradients, at most.
const MAX_PARTS: usize = 32;
/// Weights whose partial gradient is worth the work of one image.
const WEIGHTS_PER_IMAGE: usize = 1 << 14;
/// Tasks of a weight gradient, about, where there are too few parts: channels out are then divided too.
const TASKS: usize = 16;

/// `-> [channels_out, channels_in, kernel, kernel]`
pub(super) fn weight_gradient(
    context: &Context,
    g: &Geometry,
    input: &[f32],
    d_output: &impl Rows,
) -> Vec<f32> {
    WeightGradient::new(context, g).run(input, d_output)
}

/// A weight gradient: tasks for parts of the images and of the channels out, then the sum over the parts.
struct WeightGradient<'a> {
    arch: Arch,
    method: Method,
    lanes: usize,
    g: &'a Geometry,
    padded: Padded,
    plan: Plan,
    strips: Vec<Strip>,
    /// Images that are in cache together, and those of a part.
    group: usize,
    part: usize,
    strips_of_task: usize,
}

enum Method {
    Direct,
    Winograd(Tiling),
    /// In bf16, over whole images.
    Pairs(Bf16),
    /// In bf16, over blocks of channels.
    Blocks(Bf16, Blocks),
    Tiles(Amx, TileGradient),
}

impl<'a> WeightGradient<'a> {
    fn new(context: &Context, g: &'a Geometry) -> Self {
        let Context { arch, bf16, .. } = *context;
        let lanes = lanes(arch);
        let strips = strips(g.channels_out, lanes);
        let (padded, plan) = forward_plan(g);
        let method = match bf16 {
            Some(InBf16::Tiles(amx)) => Method::Tiles(amx, TileGradient::new(g, &padded, &plan)),
            Some(InBf16::Vectors(bf16)) => match Blocks::new(g, &padded, &plan, lanes) {
                Some(blocks) => Method::Blocks(bf16, blocks),
                None => Method::Pairs(bf16),
            },
            None if tiling::applies(g) => Method::Winograd(Tiling::forward(g)),
            None => Method::Direct,
        };
        let padded = if let Method::Winograd(tiling) = method { tiling.source } else { padded };
        let least = match &method {
            Method::Tiles(_, tiles) => tiles.group(),
            _ => GROUP_PIXELS.div_ceil(plan.target.len()),
        };
        let group = (GROUP_VALUES / (padded.len() + g.image_out())).max(least).clamp(1, g.images.max(1));
        // Pairs are of two images.
        let group = if bf16.is_some() { group.next_multiple_of(2) } else { group };
        let part = g
            .images
            .div_ceil(MAX_PARTS)
            .max(g.weight_len() / WEIGHTS_PER_IMAGE)
            .max(1)
            .next_multiple_of(group);
        let parts = g.images.div_ceil(part).max(1);
        let strips_of_task = strips.len().div_ceil(TASKS.div_ceil(parts));
        Self { arch, method, lanes, g, padded, plan, strips, group, part, strips_of_task }
    }

    fn run(&self, input: &[f32], d_output: &impl Rows) -> Vec<f32> {
        let tasks: Vec<(Range<usize>, &[Strip])> = (0..self.g.images)
            .step_by(self.part)
            .map(|start| start..self.g.images.min(start + self.part))
            .flat_map(|images| {
                self.strips.chunks(self.strips_of_task).map(move |strips| (images.clone(), strips))
            })
            .collect();
        let gradients: Vec<Vec<f32>> = tasks
            .into_par_iter()
            .map_init(
                || {
                    (
                        vec![0.0; self.group * self.padded.len()],
                        vec![0.0; self.group * self.g.image_out()],
                        Scratch::default(),
                    )
                },
                |(planes, d_values, scratch), (images, strips)| {
                    let mut gradient = PartialGradient::new(self, strips);
                    for start in images.clone().step_by(self.group) {
                        let count = self.group.min(images.end - start);
                        let planes = &mut planes[..count * self.padded.len()];
                        let d_values = &mut d_values[..count * self.g.image_out()];
                        let input = InMemory(input);
                        let row = input.rows(self.g.size_in[0]);
                        self.padded.fill(planes, |image, y, to| row(start + image, y, to));
                        d_output.row(start * self.g.image_out(), d_values);
                        gradient.add(planes, d_values, scratch);
                    }
                    gradient.packed()
                },
            )
            .collect();
        // The tasks of a part follow each other.
        let parts: Vec<&[Vec<f32>]> =
            gradients.chunks(self.strips.len().div_ceil(self.strips_of_task)).collect();
        unpack(self.g, &self.plan, &self.strips, self.lanes, self.strips_of_task, &parts)
    }
}

/// Memory of a thread.
#[derive(Default)]
struct Scratch {
    tiles: TileScratch,
    blocks: BlockScratch,
    of_tiles: TileGradientScratch,
    /// In pairs.
    planes: Vec<u32>,
    d_target: Vec<u32>,
}

/// Images two by two, of `len` values each.
fn pairs_of_images<'a>(arch: Arch, images: &[f32], len: usize, to: &'a mut Vec<u32>) -> &'a [u32] {
    let images = ImagePairs::new(images, len);
    to.resize(images.count() * len, 0);
    pair_blocks(arch, &images, [1, len, len], to);
    to
}

/// The sum over the images of a task, for its channels out.
struct PartialGradient<'a> {
    of: &'a WeightGradient<'a>,
    strips: &'a [Strip],
    sum: Vec<f32>,
}

impl<'a> PartialGradient<'a> {
    fn new(of: &'a WeightGradient<'a>, strips: &'a [Strip]) -> Self {
        let len = match &of.method {
            Method::Tiles(_, tiles) => tiles.len(strips.len()),
            Method::Winograd(_) => transformed_len(strips, of.g.channels_in, of.lanes),
            Method::Direct | Method::Pairs(_) | Method::Blocks(..) => packed_len(&of.plan, strips, of.lanes),
        };
        Self { of, strips, sum: vec![0.0; len] }
    }

    fn add(&mut self, planes: &[f32], d_target: &[f32], scratch: &mut Scratch) {
        let Self { of, strips, sum: gradient } = self;
        let (source_image, d_target_image) = (of.padded.len(), of.g.image_out());
        let plan = &of.plan;
        match &of.method {
            Method::Direct => {
                let source = planes;
                Accumulate { source, source_image, plan, strips, d_target, d_target_image, gradient }
                    .run(of.arch);
            }
            Method::Winograd(tiling) => {
                let scratch = &mut scratch.tiles;
                AccumulateTiles { tiling, strips, planes, d_target, gradient, scratch }.run(of.arch);
            }
            Method::Pairs(bf16) => {
                let source = pairs_of_images(of.arch, planes, source_image, &mut scratch.planes);
                let d_target = pairs_of_images(of.arch, d_target, d_target_image, &mut scratch.d_target);
                bf16.accumulate(Accumulate {
                    source,
                    source_image,
                    plan,
                    strips,
                    d_target,
                    d_target_image,
                    gradient,
                });
            }
            Method::Blocks(bf16, blocks) => {
                let scratch = &mut scratch.blocks;
                blocks.accumulate(of.arch, *bf16, strips, [planes, d_target], gradient, scratch);
            }
            Method::Tiles(amx, tiles) => {
                let scratch = &mut scratch.of_tiles;
                tiles.accumulate((of.arch, *amx), strips, [planes, d_target], gradient, scratch);
            }
        }
    }

    /// As the weights are packed.
    fn packed(self) -> Vec<f32> {
        match &self.of.method {
            Method::Tiles(_, tiles) => tiles.packed(self.strips, self.of.lanes, &self.sum),
            Method::Winograd(_) => {
                gradient_of_weights(self.of.arch, self.strips, self.of.g.channels_in, &self.sum)
            }
            Method::Direct | Method::Pairs(_) | Method::Blocks(..) => self.sum,
        }
    }
}
