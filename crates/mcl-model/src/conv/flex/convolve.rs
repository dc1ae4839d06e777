//! Forward and gradients over a batch: images in groups that stay in cache, groups over threads.
//!
//! The partition depends on the sizes alone and sums are reduced in a fixed order: results have the same bits whatever the
//! number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::buffers;
use super::geometry::{Geometry, Padded, Plan, data_gradient_plans, forward_plan};
use super::kernel::{Accumulate, Correlate, Strip, lanes, strips};
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
            (
                tiling.source,
                Method::Winograd(tiling, winograd::transform_weights(&strips, g.channels_in, &packed)),
            )
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
            (
                tiling.source,
                Method::Winograd(tiling, winograd::transform_weights(&strips, g.channels_out, &packed)),
            )
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

/// Rows of activations, `[width, channels]` each.
pub(super) trait Rows: Sync {
    /// Writes the row of values that starts at `start` of `[n, height, width, channels]`.
    fn row(&self, start: usize, to: &mut [f32]);

    /// The same by image and row.
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
    let strips = strips(g.channels_out, lanes());
    let (padded, plan) = forward_plan(g);
    let d_padded = Padded::new(g.size_out, g.channels_out, 0, [0; 2]);
    let d_pixels: Vec<usize> = d_padded.pixels().collect();
    let tiling = winograd::applies(g).then(|| Tiling::forward(g));
    let padded = tiling.map_or(padded, |tiling| tiling.source);

    let group = (GROUP_VALUES / (padded.len() + d_padded.len())).clamp(1, 64);
    let group = group.max(GROUP_PIXELS.div_ceil(g.size_out[0] * g.size_out[1]));
    let part = g.images.div_ceil(MAX_PARTS).max(g.weight_len() / WEIGHTS_PER_IMAGE).next_multiple_of(group);
    let parts = g.images.div_ceil(part);
    let strips_of_task = strips.len().div_ceil(TASKS.div_ceil(parts));
    let tasks: Vec<(usize, &[Strip])> =
        (0..parts).flat_map(|part| strips.chunks(strips_of_task).map(move |strips| (part, strips))).collect();

    let gradients: Vec<Vec<f32>> = tasks
        .par_iter()
        .map_init(
            || (vec![0.0; group * padded.len()], vec![0.0; group * d_padded.len()], Scratch::default()),
            |(planes, d_planes, scratch), &(index, strips)| {
                let len = match tiling {
                    Some(_) => winograd::transformed_len(strips, g.channels_in),
                    None => packed_len(&plan, strips),
                };
                let mut gradient = vec![0.0; len];
                let images = index * part..g.images.min((index + 1) * part);
                for start in images.clone().step_by(group) {
                    let count = group.min(images.end - start);
                    let planes = &mut planes[..count * padded.len()];
                    let d_planes = &mut d_planes[..count * d_padded.len()];
                    let (rows, d_rows) = (Given(input), d_output);
                    padded.fill(planes, |image, y, to| rows.rows(g.size_in[0])(start + image, y, to));
                    d_padded.fill(d_planes, |image, y, to| d_rows.rows(g.size_out[0])(start + image, y, to));
                    if let Some(tiling) = &tiling {
                        let d_target = &*d_planes;
                        AccumulateTiles {
                            tiling,
                            strips,
                            planes,
                            d_target,
                            gradient: &mut gradient,
                            scratch,
                        }
                        .run();
                    } else {
                        let accumulate = Accumulate {
                            source: planes,
                            source_image: padded.len(),
                            plan: &plan,
                            strips,
                            d_target: d_planes,
                            d_target_image: d_padded.len(),
                            d_target_starts: &d_pixels,
                            gradient: &mut gradient,
                        };
                        accumulate.run();
                    }
                }
                match tiling {
                    Some(_) => winograd::gradient_of_weights(strips, g.channels_in, &gradient),
                    None => gradient,
                }
            },
        )
        .collect();
    // The tasks of a part, one after the other, are the packed gradient.
    let of_part = gradients.len() / parts.max(1);
    let parts: Vec<&[Vec<f32>]> = gradients.chunks(of_part.max(1)).collect();
    unpack(g, &plan, &strips, strips_of_task, &parts)
}
