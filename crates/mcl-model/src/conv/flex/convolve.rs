//! Forward and gradients over a batch: images in groups that stay in cache, groups over threads.
//!
//! The partition depends on the sizes alone and sums are reduced in a fixed order: results have the same bits whatever the
//! number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::accumulate::Accumulate;
use super::buffers;
use super::correlate::Correlate;
use super::geometry::{Geometry, Padded, Plan, data_gradient_plans, forward_plan};
use super::simd::{Strip, lanes, strips};
use super::transform::{gradient_of_weights, transform_weights};
use super::weights::{pack_forward, pack_transposed, packed_len, unpack};
use super::winograd::{self, AccumulateTiles, CorrelateTiles, Scratch, Tiling};

/// Values of a group of images, source and target together: a good part of a second-level cache.
const GROUP_VALUES: usize = 96 * 1024;
/// Pixels of a group whose weight gradient is summed in registers, at least.
const GROUP_PIXELS: usize = 256;
/// Partial weight gradients, at most.
const MAX_PARTS: usize = 32;
/// Weights whose partial gradient is worth the work of one image.
const WEIGHTS_PER_IMAGE: usize = 1 << 14;
/// Tasks of a weight gradient, about, where there are too few parts: channels out are then divided too.
const TASKS: usize = 16;

/// A correlation of images with weights, ready to run: a convolution, or the gradient of its input.
struct Correlation {
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
    Direct(Vec<(Plan, Vec<f32>)>),
    Winograd(Tiling, Vec<f32>),
}

impl Correlation {
    fn forward(g: &Geometry, weight: &[f32]) -> Self {
        let strips = strips(g.channels_out, lanes());
        let (padded, plan) = forward_plan(g);
        let packed = pack_forward(g, &plan, &strips, weight);
        let (padded, method) = if winograd::applies(g) {
            let tiling = Tiling::forward(g);
            (tiling.source, Method::Winograd(tiling, transform_weights(&strips, g.channels_in, &packed)))
        } else {
            (padded, Method::Direct(vec![(plan, packed)]))
        };
        Self { padded, strips, target_image: g.image_out(), complete: true, method }
    }

    fn input_gradient(g: &Geometry, weight: &[f32]) -> Self {
        let strips = strips(g.channels_in, lanes());
        let (padded, plans) = data_gradient_plans(g);
        let mut packed: Vec<(Plan, Vec<f32>)> = plans
            .into_iter()
            .map(|plan| {
                let packed = pack_transposed(g, &plan, &strips, weight);
                (plan, packed)
            })
            .collect();
        let (padded, method) = if winograd::applies(g) {
            let tiling = Tiling::input_gradient(g);
            let (_, packed) = packed.remove(0);
            (tiling.source, Method::Winograd(tiling, transform_weights(&strips, g.channels_out, &packed)))
        } else {
            (padded, Method::Direct(packed))
        };
        Self { padded, strips, target_image: g.image_in(), complete: g.stride <= g.kernel, method }
    }

    /// Of a group of padded images.
    fn run(&self, planes: &[f32], target: &mut [f32], scratch: &mut Scratch) {
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
                    correlate.run();
                }
            }
            Method::Winograd(tiling, weights) => {
                CorrelateTiles { tiling, strips: &self.strips, planes, weights, target, scratch }.run();
            }
        }
    }

    /// Of a batch, over all threads. `row` writes a row of source values, given the image, the row and its place; `finish`
    /// sees the target values of each group, with their range, while they are in cache.
    fn run_batch<R: Send>(
        &self,
        images: usize,
        row: impl Fn(usize, usize, &mut [f32]) + Sync,
        finish: impl Fn(Range<usize>, &mut [f32]) -> R + Sync,
    ) -> (Vec<f32>, Vec<R>) {
        let mut target = buffers::take(images * self.target_image);
        let group = (GROUP_VALUES / (self.padded.len() + self.target_image)).clamp(1, 64);
        let finished = target
            .par_chunks_mut(group * self.target_image)
            .enumerate()
            .map_init(
                || (vec![0.0; group * self.padded.len()], Scratch::default()),
                |(planes, scratch), (index, target)| {
                    let planes = &mut planes[..target.len() / self.target_image * self.padded.len()];
                    self.padded.fill(planes, |image, y, to| row(index * group + image, y, to));
                    self.run(planes, target, scratch);
                    let start = index * group * self.target_image;
                    finish(start..start + target.len(), target)
                },
            )
            .collect();
        (target, finished)
    }
}

/// `[n, h, w, channels_in] -> [n, oh, ow, channels_out]`. `finish` sees each group of images, with the range of its values,
/// while it is in cache; what it returns comes back in order.
pub(super) fn forward<R: Send>(
    g: &Geometry,
    input: &[f32],
    weight: &[f32],
    finish: impl Fn(Range<usize>, &mut [f32]) -> R + Sync,
) -> (Vec<f32>, Vec<R>) {
    Correlation::forward(g, weight).run_batch(g.images, Given(input).rows(g.size_in[0]), finish)
}

/// Activations that can be had in pieces.
pub(super) trait Rows: Sync {
    /// Writes the values from `start` of `[n, height, width, channels]`, the first ones of a row, on.
    fn row(&self, start: usize, to: &mut [f32]);

    /// The same for a row, by image and number.
    fn rows(&self, height: usize) -> impl Fn(usize, usize, &mut [f32]) + Sync {
        move |image, y, to| self.row((image * height + y) * to.len(), to)
    }
}

/// As they are.
pub(super) struct Given<'a>(pub(super) &'a [f32]);

impl Rows for Given<'_> {
    fn row(&self, start: usize, to: &mut [f32]) {
        to.copy_from_slice(&self.0[start..][..to.len()]);
    }
}

/// `[n, oh, ow, channels_out] -> [n, h, w, channels_in]`
pub(super) fn input_gradient(g: &Geometry, weight: &[f32], d_output: &impl Rows) -> Vec<f32> {
    Correlation::input_gradient(g, weight).run_batch(g.images, d_output.rows(g.size_out[0]), |_, _| ()).0
}

/// `-> [channels_out, channels_in, kernel, kernel]`
pub(super) fn weight_gradient(g: &Geometry, input: &[f32], d_output: &impl Rows) -> Vec<f32> {
    WeightGradient::new(g).run(input, d_output)
}

/// A weight gradient: tasks for parts of the images and of the channels out, then the sum over the parts.
struct WeightGradient<'a> {
    g: &'a Geometry,
    padded: Padded,
    plan: Plan,
    /// Where it is done by Winograd's method.
    tiling: Option<Tiling>,
    strips: Vec<Strip>,
    /// Images that are in cache together, and those of a part.
    group: usize,
    part: usize,
    strips_of_task: usize,
}

impl<'a> WeightGradient<'a> {
    fn new(g: &'a Geometry) -> Self {
        let strips = strips(g.channels_out, lanes());
        let (padded, plan) = forward_plan(g);
        let tiling = winograd::applies(g).then(|| Tiling::forward(g));
        let padded = tiling.map_or(padded, |tiling| tiling.source);
        let group = GROUP_VALUES / (padded.len() + g.image_out());
        let group = group.max(GROUP_PIXELS.div_ceil(plan.target.len())).clamp(1, g.images.max(1));
        let part = g
            .images
            .div_ceil(MAX_PARTS)
            .max(g.weight_len() / WEIGHTS_PER_IMAGE)
            .max(1)
            .next_multiple_of(group);
        let parts = g.images.div_ceil(part).max(1);
        let strips_of_task = strips.len().div_ceil(TASKS.div_ceil(parts));
        Self { g, padded, plan, tiling, strips, group, part, strips_of_task }
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
                    let mut gradient = Gradient::new(self, strips);
                    for start in images.clone().step_by(self.group) {
                        let count = self.group.min(images.end - start);
                        let planes = &mut planes[..count * self.padded.len()];
                        let d_values = &mut d_values[..count * self.g.image_out()];
                        let input = Given(input);
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
        unpack(self.g, &self.plan, &self.strips, self.strips_of_task, &parts)
    }
}

/// The sum of a task.
struct Gradient<'a> {
    of: &'a WeightGradient<'a>,
    strips: &'a [Strip],
    sum: Vec<f32>,
}

impl<'a> Gradient<'a> {
    fn new(of: &'a WeightGradient<'a>, strips: &'a [Strip]) -> Self {
        let len = match of.tiling {
            Some(_) => winograd::transformed_len(strips, of.g.channels_in),
            None => packed_len(&of.plan, strips),
        };
        Self { of, strips, sum: vec![0.0; len] }
    }

    fn add(&mut self, planes: &[f32], d_target: &[f32], scratch: &mut Scratch) {
        let Self { of, strips, sum: gradient } = self;
        if let Some(tiling) = &of.tiling {
            AccumulateTiles { tiling, strips, planes, d_target, gradient, scratch }.run();
        } else {
            let accumulate = Accumulate {
                source: planes,
                source_image: of.padded.len(),
                plan: &of.plan,
                strips,
                d_target,
                d_target_image: of.g.image_out(),
                gradient,
            };
            accumulate.run();
        }
    }

    /// As the weights are packed.
    fn packed(self) -> Vec<f32> {
        match self.of.tiling {
            Some(_) => gradient_of_weights(self.strips, self.of.g.channels_in, &self.sum),
            None => self.sum,
        }
    }
}
