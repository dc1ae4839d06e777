//! Convolutions and the gradients of their inputs over a batch: images in groups that stay in cache, groups
//! over threads.
//!
//! The partition depends on the sizes alone: results have the same bits whatever the number of threads.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::amx::{Aligned, Amx};
use super::bf16::Bf16;
use super::context::{Context, InBf16};
use super::correlate::Correlate;
use super::geometry::{Geometry, Padded, Plan, data_gradient_plans, forward_plan};
use super::lanes::{Strip, lanes, strips};
use super::max_pool::MaxPool;
use super::packed::{Order, Packed, Packing};
use super::pairs::{pair_channels, pair_rows};
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
    /// Images that are in cache together.
    group: usize,
    method: Method,
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

/// What multiplies source values of so many channels in bf16, if anything: pairs lie within pixels.
fn products(context: &Context, channels: usize) -> Option<InBf16> {
    context.bf16.filter(|_| channels.is_multiple_of(2))
}

fn order(context: &Context, g: &Geometry, channels: usize) -> Order {
    match products(context, channels) {
        Some(InBf16::Tiles(_)) => Order::Tiles,
        Some(InBf16::Vectors(_)) => Order::Pairs,
        None if tiling::applies(g) => Order::Winograd,
        None => Order::Direct,
    }
}

/// Packed weights of a plan, as the loops of an order read them.
fn ordered(
    context: &Context,
    order: Order,
    plan: &Plan,
    strips: &[Strip],
    channels: usize,
    packed: Vec<f32>,
) -> Packed {
    let lanes = lanes(context.arch);
    let widths = strips.iter().map(|strip| strip.width(lanes));
    match order {
        Order::Direct => Packed::F32(packed),
        Order::Winograd => Packed::F32(transform_weights(context.arch, strips, channels, &packed)),
        Order::Pairs => Packed::Bf16(pair_rows(&packed, widths, plan.rows())),
        Order::Tiles => Packed::Tiles(pack_tiles(&packed, widths, plan.rows(), channels)),
    }
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
        let (padded, plan) = forward_plan(g);
        let tiling = (order(context, g, g.channels_in) == Order::Winograd).then(|| Tiling::forward(g));
        Self::new(context, strips, padded, (g.image_out(), true), vec![(plan, packed)], tiling)
    }

    fn input_gradient(context: &'a Context, g: &Geometry, weight: &[f32]) -> Self {
        let lanes = lanes(context.arch);
        let strips = strips(g.channels_in, lanes);
        let order = order(context, g, g.channels_out);
        let (padded, plans) = data_gradient_plans(g);
        let packed = plans.into_iter().map(|plan| {
            let packed = pack_transposed(g, &plan, &strips, lanes, weight);
            let packed = ordered(context, order, &plan, &strips, g.channels_out, packed);
            (plan, Arc::new(packed))
        });
        let packed = packed.collect();
        let tiling = (order == Order::Winograd).then(|| Tiling::input_gradient(g));
        Self::new(context, strips, padded, (g.image_in(), g.stride <= g.kernel), packed, tiling)
    }

    /// Of plans for one image with their weights; by Winograd's method, where there is a tiling.
    fn new(
        context: &'a Context,
        strips: Vec<Strip>,
        padded: Padded,
        (target_image, complete): (usize, bool),
        plans: Vec<(Plan, Arc<Packed>)>,
        tiling: Option<Tiling>,
    ) -> Self {
        let padded = tiling.map_or(padded, |tiling| tiling.source);
        let (source, channels) = (padded.len(), padded.channels());
        let group = |values: usize| (values / (source + target_image)).clamp(1, 64);
        let of_images = |group: usize, source: usize, plans: Vec<(Plan, Arc<Packed>)>| {
            let plans = plans.into_iter();
            plans.map(move |(plan, packed)| (plan.of_images(group, source, target_image), packed))
        };
        let in_pairs = |pairs: usize, plans: Vec<(Plan, Arc<Packed>)>| {
            plans.into_iter().map(|(plan, packed)| (plan.of_pairs(channels, pairs), packed)).collect()
        };
        let (group, method) = match (tiling, products(context, channels)) {
            (Some(tiling), _) => {
                let (_, packed) = plans.into_iter().next().expect("one plan where the stride is 1");
                (group(GROUP_VALUES), Method::Winograd(tiling, packed))
            }
            (None, None) => {
                let group = group(GROUP_VALUES);
                (group, Method::Direct(of_images(group, source, plans).collect()))
            }
            (None, Some(InBf16::Vectors(bf16))) => {
                let (group, pairs) = (group(GROUP_VALUES), channels / 2);
                let plans = of_images(group, source / channels * pairs, in_pairs(pairs, plans));
                (group, Method::Bf16(bf16, plans.collect()))
            }
            (None, Some(InBf16::Tiles(amx))) => {
                let (group, pairs) = (group(GROUP_VALUES_OF_TILES), pairs_of(channels));
                let plans = of_images(group, source / channels * pairs, in_pairs(pairs, plans));
                let plans = plans.map(|(plan, packed)| {
                    let tiles = PixelTiles::new(&plan);
                    (plan, tiles, packed)
                });
                (group, Method::Amx(amx, plans.collect()))
            }
        };
        Self { context, padded, strips, target_image, complete, group, method }
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
                let channels = self.padded.channels();
                scratch.pairs.resize(planes.len() / 2, 0);
                pair_channels(self.context.arch, planes, channels, &mut scratch.pairs, channels / 2);
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
        let (images, group) = (target.len() / self.target_image, self.group);
        if images == group {
            return Cow::Borrowed(plan);
        }
        let mut plan = plan.clone();
        plan.truncate(plan.source.len() / group * images);
        Cow::Owned(plan)
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
        let group = self.group;
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
        let (group, image) = (self.group, maxima.image_out());
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

    /// Memory of a thread: the padded images of a group, and the tiles.
    fn scratch(&self) -> Scratch {
        Scratch { planes: vec![0.0; self.group * self.padded.len()], ..Scratch::default() }
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
    Packing { lanes: lanes(context.arch), order: order(context, g, g.channels_in) }
}

/// Returns the weights in the order in which the loop of [`forward`] reads them.
pub(super) fn pack(context: &Context, g: &Geometry, weight: &[f32]) -> Packed {
    let Packing { lanes, order } = packing(context, g);
    let strips = strips(g.channels_out, lanes);
    let (_, plan) = forward_plan(g);
    let packed = pack_forward(g, &plan, &strips, lanes, weight);
    ordered(context, order, &plan, &strips, g.channels_in, packed)
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
