//! Convolutions and the gradients of their inputs over a batch: images in groups that stay in cache, groups
//! over threads.
//!
//! The partition depends on the sizes alone: results have the same bits whatever the number of threads.

use std::ops::Range;
use std::sync::Arc;

use pulp::Arch;
use rayon::prelude::*;

use super::context::Context;
use super::correlate::Correlate;
use super::geometry::{Geometry, Padded, Plan, data_gradient_plans, forward_plan};
use super::lanes::{Strip, lanes, strips};
use super::max_pool::MaxPool;
use super::rows::{InMemory, Rows};
use super::tiling::{self, Tiling};
use super::transform::transform_weights;
use super::weights::{pack_forward, pack_transposed};
use super::winograd::{CorrelateTiles, TileScratch};

/// Values of a group of images, source and target together: a good part of a second-level cache.
pub(super) const GROUP_VALUES: usize = 96 * 1024;

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

enum Method {
    /// Plans with their packed weights.
    Direct(Vec<(Plan, Arc<Vec<f32>>)>),
    Winograd(Tiling, Arc<Vec<f32>>),
}

impl<'a> Correlation<'a> {
    /// `packed` is from [`pack`], for the same sizes of the weights.
    fn forward(context: &'a Context, g: &Geometry, packed: Arc<Vec<f32>>) -> Self {
        let strips = strips(g.channels_out, lanes(context.arch));
        let (padded, method) = if tiling::applies(g) {
            let tiling = Tiling::forward(g);
            (tiling.source, Method::Winograd(tiling, packed))
        } else {
            let (padded, plan) = forward_plan(g);
            (padded, Method::Direct(vec![(plan, packed)]))
        };
        Self { context, padded, strips, target_image: g.image_out(), complete: true, method }
    }

    fn input_gradient(context: &'a Context, g: &Geometry, weight: &[f32]) -> Self {
        let lanes = lanes(context.arch);
        let strips = strips(g.channels_in, lanes);
        let (padded, plans) = data_gradient_plans(g);
        let mut packed: Vec<(Plan, Arc<Vec<f32>>)> = plans
            .into_iter()
            .map(|plan| {
                let packed = pack_transposed(g, &plan, &strips, lanes, weight);
                (plan, Arc::new(packed))
            })
            .collect();
        let (padded, method) = if tiling::applies(g) {
            let tiling = Tiling::input_gradient(g);
            let (_, packed) = packed.remove(0);
            let transformed = transform_weights(context.arch, &strips, g.channels_out, &packed);
            (tiling.source, Method::Winograd(tiling, Arc::new(transformed)))
        } else {
            (padded, Method::Direct(packed))
        };
        Self { context, padded, strips, target_image: g.image_in(), complete: g.stride <= g.kernel, method }
    }

    /// Of a group of padded images.
    fn run(&self, planes: &[f32], target: &mut [f32], scratch: &mut TileScratch) {
        match &self.method {
            Method::Direct(plans) => {
                // With a stride larger than the kernel there are inputs that no output sees.
                if !self.complete {
                    target.fill(0.0);
                }
                for (plan, weights) in plans {
                    let correlate = Correlate {
                        source: planes,
                        source_image: self.padded.len(),
                        plan,
                        strips: &self.strips,
                        weights,
                        target,
                        target_image: self.target_image,
                    };
                    correlate.run(self.context.arch);
                }
            }
            Method::Winograd(tiling, weights) => {
                CorrelateTiles { tiling, strips: &self.strips, planes, weights, target, scratch }
                    .run(self.context.arch);
            }
        }
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
        (GROUP_VALUES / (self.padded.len() + self.target_image)).clamp(1, 64)
    }

    /// Memory of a thread: the padded images of a group, and the tiles.
    fn scratch(&self) -> (Vec<f32>, TileScratch) {
        (vec![0.0; self.group() * self.padded.len()], TileScratch::default())
    }

    /// The images from `first` on, as many as `target` has.
    fn run_group(
        &self,
        first: usize,
        row: &impl Fn(usize, usize, &mut [f32]),
        target: &mut [f32],
        (planes, scratch): &mut (Vec<f32>, TileScratch),
    ) {
        let planes = &mut planes[..target.len() / self.target_image * self.padded.len()];
        self.padded.fill(planes, |image, y, to| row(first + image, y, to));
        self.run(planes, target, scratch);
    }
}

/// Returns the weights in the order in which the loop of [`forward`] reads them.
pub(super) fn pack(arch: Arch, g: &Geometry, weight: &[f32]) -> Vec<f32> {
    let lanes = lanes(arch);
    let strips = strips(g.channels_out, lanes);
    let (_, plan) = forward_plan(g);
    let packed = pack_forward(g, &plan, &strips, lanes, weight);
    if tiling::applies(g) { transform_weights(arch, &strips, g.channels_in, &packed) } else { packed }
}

/// `[n, h, w, channels_in] -> [n, oh, ow, channels_out]`, with weights of [`pack`].
///
/// `finish` sees each group of images, with the range of its values, while it is in cache; the results of
/// `finish` come back in order.
pub(super) fn forward<R: Send>(
    context: &Context,
    g: &Geometry,
    input: &[f32],
    packed: Arc<Vec<f32>>,
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
    packed: Arc<Vec<f32>>,
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
