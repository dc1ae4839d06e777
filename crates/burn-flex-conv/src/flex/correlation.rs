//! Convolutions and the gradients of their inputs over a batch: images in groups that stay in cache, groups
//! over threads.
//!
//! The partition depends on the sizes alone: results have the same bits whatever the number of threads.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::amx::{Aligned, Amx};
use super::bf16::{Bf16, pair_neighbors, pair_rows};
use super::context::Context;
use super::correlate::Correlate;
use super::geometry::{Geometry, Padded, Plan, data_gradient_plans, forward_plan};
use super::lanes::{Strip, lanes, strips};
use super::max_pool::MaxPool;
use super::packed::{Packed, Packing};
use super::pixel_tiles::{PixelTiles, pack_tiles, pairs_of};
use super::rows::{InMemory, Rows};
use super::tiling::{self, Tiling};
use super::transform::transform_weights;
use super::weights::{pack_forward, pack_transposed};
use super::winograd::{CorrelateTiles, TileScratch};

/// Values of a group of images, source and target together: a good part of a second-level cache.
pub(super) const GROUP_VALUES: usize = 96 * 1024;
/// The same where products are of tiles: weights that are used up fast come back from memory for each group.
const GROUP_VALUES_OF_TILES: usize = 4 * GROUP_VALUES;

/// A correlation of images with weights, ready to run: a convolution, or the gradient of its input.
struct Correlation<'a> {
    context: &'a Context,
    padded: Padded,
    strips: Vec<Strip>,
    /// Values of a target image.
    target_image: usize,
    /// Whether each target pixel gets a value.
    complete: bool,
    method: Method,
}

fn of_images(
    plans: Vec<(Plan, Arc<Packed>)>,
    images: usize,
    source_image: usize,
    target_image: usize,
) -> Vec<(Plan, Arc<Packed>)> {
    let of_images = |plan: Plan| plan.of_images(images, source_image, target_image);
    plans.into_iter().map(|(plan, packed)| (of_images(plan), packed)).collect()
}

/// Memory of a thread.
#[derive(Default)]
struct Scratch {
    /// The padded images of a group.
    planes: Vec<f32>,
    /// The same in pairs.
    pairs: Vec<u32>,
    aligned: Aligned,
    tiles: TileScratch,
}

/// Whether products with source values of so many channels are of operands in bf16: pairs lie within pixels.
fn bf16_of(context: &Context, channels: usize) -> Option<Bf16> {
    context.bf16.filter(|_| channels.is_multiple_of(2))
}

/// Whether these products are of tiles.
fn amx_of(context: &Context, channels: usize) -> Option<Amx> {
    context.amx.filter(|_| bf16_of(context, channels).is_some())
}

/// Of plans over values.
fn of_tiles(amx: Amx, plans: impl IntoIterator<Item = (Plan, Arc<Packed>)>, channels: usize) -> Method {
    let in_tiles = plans.into_iter().map(|(plan, packed)| {
        let plan = plan.of_filled_pairs(channels, pairs_of(channels));
        let tiles = PixelTiles::new(&plan);
        (plan, tiles, packed)
    });
    Method::Amx(amx, in_tiles.collect())
}

enum Method {
    /// Plans for a group of images, with their packed weights: tiles may span images.
    Direct(Vec<(Plan, Arc<Packed>)>),
    Winograd(Tiling, Arc<Packed>),
    /// Plans over pairs.
    Bf16(Bf16, Vec<(Plan, Arc<Packed>)>),
    /// Plans over pairs, and where the tiles of a whole group lie.
    Amx(Amx, Vec<(Plan, PixelTiles, Arc<Packed>)>),
}

impl<'a> Correlation<'a> {
    /// `packed` is from [`pack`], for the same sizes of the weights.
    fn forward(context: &'a Context, g: &Geometry, packed: Arc<Packed>) -> Self {
        let strips = strips(g.channels_out, lanes(context.arch));
        let (padded, method) = if let Some(amx) = amx_of(context, g.channels_in) {
            let (padded, plan) = forward_plan(g);
            (padded, of_tiles(amx, [(plan, packed)], g.channels_in))
        } else if let Some(bf16) = bf16_of(context, g.channels_in) {
            let (padded, plan) = forward_plan(g);
            (padded, Method::Bf16(bf16, vec![(plan.of_pairs(), packed)]))
        } else if tiling::applies(g) {
            let tiling = Tiling::forward(g);
            (tiling.source, Method::Winograd(tiling, packed))
        } else {
            let (padded, plan) = forward_plan(g);
            (padded, Method::Direct(vec![(plan, packed)]))
        };
        Self { context, padded, strips, target_image: g.image_out(), complete: true, method }.grouped()
    }

    fn input_gradient(context: &'a Context, g: &Geometry, weight: &[f32]) -> Self {
        let lanes = lanes(context.arch);
        let strips = strips(g.channels_in, lanes);
        let (padded, plans) = data_gradient_plans(g);
        let mut packed: Vec<(Plan, Vec<f32>)> = plans
            .into_iter()
            .map(|plan| {
                let packed = pack_transposed(g, &plan, &strips, lanes, weight);
                (plan, packed)
            })
            .collect();
        let (padded, method) = if let Some(amx) = amx_of(context, g.channels_out) {
            let in_tiles = packed.into_iter().map(|(plan, packed)| {
                let widths = strips.iter().map(|strip| strip.width(lanes));
                let packed = pack_tiles(&packed, widths, plan.rows(), g.channels_out);
                (plan, Arc::new(Packed::Tiles(packed)))
            });
            (padded, of_tiles(amx, in_tiles, g.channels_out))
        } else if let Some(bf16) = bf16_of(context, g.channels_out) {
            let in_pairs = packed.into_iter().map(|(plan, packed)| {
                let widths = strips.iter().map(|strip| strip.width(lanes));
                let packed = Packed::Bf16(pair_rows(&packed, widths, plan.rows()));
                (plan.of_pairs(), Arc::new(packed))
            });
            (padded, Method::Bf16(bf16, in_pairs.collect()))
        } else if tiling::applies(g) {
            let tiling = Tiling::input_gradient(g);
            let (_, packed) = packed.remove(0);
            let transformed = transform_weights(context.arch, &strips, g.channels_out, &packed);
            (tiling.source, Method::Winograd(tiling, Arc::new(Packed::F32(transformed))))
        } else {
            let packed = packed.into_iter().map(|(plan, packed)| (plan, Arc::new(Packed::F32(packed))));
            (padded, Method::Direct(packed.collect()))
        };
        let (target_image, complete) = (g.image_in(), g.stride <= g.kernel);
        Self { context, padded, strips, target_image, complete, method }.grouped()
    }

    /// Of a group of padded images.
    fn run(&self, planes: &[f32], target: &mut [f32], scratch: &mut Scratch) {
        match &self.method {
            Method::Direct(plans) => {
                self.clear(target);
                for (plan, weights) in plans {
                    let plan = &self.of_group(plan, target);
                    let Packed::F32(weights) = &**weights else { unreachable!("packed by the method") };
                    self.correlate(planes, plan, weights, target).run(self.context.arch);
                }
            }
            Method::Bf16(bf16, plans) => {
                self.clear(target);
                scratch.pairs.resize(planes.len() / 2, 0);
                pair_neighbors(self.context.arch, planes, &mut scratch.pairs);
                for (plan, weights) in plans {
                    let plan = &self.of_group(plan, target);
                    let Packed::Bf16(weights) = &**weights else { unreachable!("packed by the method") };
                    bf16.correlate(self.correlate(&scratch.pairs, plan, weights, target));
                }
            }
            Method::Amx(amx, plans) => {
                self.clear(target);
                let loops = (self.context.arch, *amx);
                let source = (planes, self.padded.channels());
                for (plan, tiles, weights) in plans {
                    let Packed::Tiles(weights) = &**weights else { unreachable!("packed by the method") };
                    let tiles = match self.of_group(plan, target) {
                        Cow::Borrowed(_) => Cow::Borrowed(tiles),
                        Cow::Owned(plan) => Cow::Owned(PixelTiles::new(&plan)),
                    };
                    tiles.correlate(loops, source, &self.strips, weights, target, &mut scratch.aligned);
                }
            }
            Method::Winograd(tiling, weights) => {
                let Packed::F32(weights) = &**weights else { unreachable!("packed by the method") };
                let scratch = &mut scratch.tiles;
                CorrelateTiles { tiling, strips: &self.strips, planes, weights, target, scratch }
                    .run(self.context.arch);
            }
        }
    }

    /// The plan for as many images as the target has: the last group may have fewer than the others.
    fn of_group<'b>(&self, plan: &'b Plan, target: &[f32]) -> Cow<'b, Plan> {
        let (images, group) = (target.len() / self.target_image, self.group());
        if images == group {
            return Cow::Borrowed(plan);
        }
        let mut plan = plan.clone();
        plan.truncate(plan.source.len() / group * images);
        Cow::Owned(plan)
    }

    /// Of plans for one image.
    fn grouped(mut self) -> Self {
        let (group, source, target) = (self.group(), self.padded.len(), self.target_image);
        self.method = match self.method {
            Method::Direct(plans) => Method::Direct(of_images(plans, group, source, target)),
            Method::Bf16(bf16, plans) => Method::Bf16(bf16, of_images(plans, group, source / 2, target)),
            Method::Amx(amx, plans) => {
                let source = source / self.padded.channels() * pairs_of(self.padded.channels());
                let of_images = |(plan, _, packed): (Plan, PixelTiles, Arc<Packed>)| {
                    let plan = plan.of_images(group, source, target);
                    let tiles = PixelTiles::new(&plan);
                    (plan, tiles, packed)
                };
                Method::Amx(amx, plans.into_iter().map(of_images).collect())
            }
            method @ Method::Winograd(..) => method,
        };
        self
    }

    /// With a stride larger than the kernel there are inputs that no output sees.
    fn clear(&self, target: &mut [f32]) {
        if !self.complete {
            target.fill(0.0);
        }
    }

    fn correlate<'b, O>(
        &'b self,
        source: &'b [O],
        plan: &'b Plan,
        weights: &'b [O],
        target: &'b mut [f32],
    ) -> Correlate<'b, O> {
        let (source_image, target_image) = (source.len(), target.len());
        Correlate { source, source_image, plan, strips: &self.strips, weights, target, target_image }
    }

    /// Of a batch, over all threads. `row` writes a row of source values, given the image, the row and where
    /// its values go; `finish` sees the target values of each group, with their range, while they are in
    /// cache.
    fn run_batch<R: Send>(
        &self,
        images: usize,
        row: impl Fn(usize, usize, &mut [f32]) + Sync,
        finish: impl Fn(Range<usize>, &mut [f32]) -> R + Sync,
    ) -> (Vec<f32>, Vec<R>) {
        let mut target = self.context.pool.take(images * self.target_image);
        let group = self.group();
        let finished = target
            .par_chunks_mut(group * self.target_image)
            .enumerate()
            .map_init(
                || self.scratch(),
                |scratch, (index, target)| {
                    self.run_group(index * group, &row, target, scratch);
                    let start = index * group * self.target_image;
                    finish(start..start + target.len(), target)
                },
            )
            .collect();
        (target, finished)
    }

    /// As [`run_batch`](Self::run_batch), but only the maxima are kept, and `finish` sees them. Returns the
    /// positions of the maxima too.
    fn run_batch_pooled<R: Send>(
        &self,
        images: usize,
        row: impl Fn(usize, usize, &mut [f32]) + Sync,
        maxima: &MaxPool,
        finish: impl Fn(Range<usize>, &mut [f32]) -> R + Sync,
    ) -> (Vec<f32>, Vec<u8>, Vec<R>) {
        let (group, image) = (self.group(), maxima.image_out());
        let mut output = self.context.pool.take(images * image);
        let mut positions = vec![0; output.len()];
        let finished = output
            .par_chunks_mut(group * image)
            .zip(positions.par_chunks_mut(group * image))
            .enumerate()
            .map_init(
                || (vec![0.0; group * self.target_image], self.scratch()),
                |(target, scratch), (index, (output, positions))| {
                    let target = &mut target[..output.len() / image * self.target_image];
                    self.run_group(index * group, &row, target, scratch);
                    maxima.apply(self.context.arch, target, output, positions);
                    let start = index * group * image;
                    finish(start..start + output.len(), output)
                },
            )
            .collect();
        (output, positions, finished)
    }

    /// Images that are in cache together.
    fn group(&self) -> usize {
        let values = match self.method {
            Method::Amx(..) => GROUP_VALUES_OF_TILES,
            _ => GROUP_VALUES,
        };
        (values / (self.padded.len() + self.target_image)).clamp(1, 64)
    }

    /// Memory of a thread: the padded images of a group, and the tiles.
    fn scratch(&self) -> Scratch {
        Scratch { planes: vec![0.0; self.group() * self.padded.len()], ..Scratch::default() }
    }

    /// The images from `first` on, as many as `target` has.
    fn run_group(
        &self,
        first: usize,
        row: &impl Fn(usize, usize, &mut [f32]),
        target: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let mut planes = std::mem::take(&mut scratch.planes);
        let part = &mut planes[..target.len() / self.target_image * self.padded.len()];
        self.padded.fill(part, |image, y, to| row(first + image, y, to));
        self.run(part, target, scratch);
        scratch.planes = planes;
    }
}

/// How the weights of a convolution are packed.
pub(super) fn packing(context: &Context, g: &Geometry) -> Packing {
    let bf16 = bf16_of(context, g.channels_in).is_some();
    let amx = amx_of(context, g.channels_in).is_some();
    Packing { lanes: lanes(context.arch), winograd: !bf16 && tiling::applies(g), bf16, amx }
}

/// Returns the weights in the order in which the loop of [`forward`] reads them.
pub(super) fn pack(context: &Context, g: &Geometry, weight: &[f32]) -> Packed {
    let Packing { lanes, winograd, bf16, amx } = packing(context, g);
    let strips = strips(g.channels_out, lanes);
    let (_, plan) = forward_plan(g);
    let packed = pack_forward(g, &plan, &strips, lanes, weight);
    let widths = strips.iter().map(|strip| strip.width(lanes));
    if amx {
        Packed::Tiles(pack_tiles(&packed, widths, plan.rows(), g.channels_in))
    } else if bf16 {
        Packed::Bf16(pair_rows(&packed, widths, plan.rows()))
    } else if winograd {
        Packed::F32(transform_weights(context.arch, &strips, g.channels_in, &packed))
    } else {
        Packed::F32(packed)
    }
}

/// `[n, h, w, channels_in] -> [n, oh, ow, channels_out]`, with weights of [`pack`].
///
/// `finish` sees each group of images, with the range of its values, while it is in cache; the results of
/// `finish` come back in order.
pub(super) fn forward<R: Send>(
    context: &Context,
    g: &Geometry,
    input: &[f32],
    packed: Arc<Packed>,
    finish: impl Fn(Range<usize>, &mut [f32]) -> R + Sync,
) -> (Vec<f32>, Vec<R>) {
    Correlation::forward(context, g, packed).run_batch(g.images, InMemory(input).rows(g.size_in[0]), finish)
}

/// The same with the maximum over 2 x 2 pixels: `[n, oh / 2, ow / 2, channels_out]`. Returns the positions of
/// the maxima too.
pub(super) fn forward_pooled<R: Send>(
    context: &Context,
    g: &Geometry,
    input: &[f32],
    packed: Arc<Packed>,
    finish: impl Fn(Range<usize>, &mut [f32]) -> R + Sync,
) -> (Vec<f32>, Vec<u8>, Vec<R>) {
    let correlation = Correlation::forward(context, g, packed);
    let (input, pool) = (InMemory(input), MaxPool::new(g.size_out, g.channels_out));
    correlation.run_batch_pooled(g.images, input.rows(g.size_in[0]), &pool, finish)
}

/// `[n, oh, ow, channels_out] -> [n, h, w, channels_in]`
pub(super) fn input_gradient(
    context: &Context,
    g: &Geometry,
    weight: &[f32],
    d_output: &impl Rows,
) -> Vec<f32> {
    let correlation = Correlation::input_gradient(context, g, weight);
    correlation.run_batch(g.images, d_output.rows(g.size_out[0]), |_, _| ()).0
}
