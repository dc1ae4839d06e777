//! Forward and gradients over a batch: images in groups that stay in cache, groups over threads.
//!
//! The partition depends on the sizes alone and sums are reduced in a fixed order: results have the same bits whatever the
//! number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::{Geometry, data_gradient_plans, forward_plan};
use super::kernel::{Accumulate, Correlate, lanes, strips};
use super::weights::{pack_forward, pack_transposed, packed_len, unpack};

/// Values of a group of images, source and target together: a good part of a second-level cache.
const GROUP_VALUES: usize = 96 * 1024;
/// Partial weight gradients, at most, and the threads that can work on one convolution's gradients.
const MAX_PARTS: usize = 32;
/// Weights whose partial gradient is worth the work of one image.
const WEIGHTS_PER_IMAGE: usize = 1 << 15;

/// `[n, h, w, channels_in] -> [n, oh, ow, channels_out]`. `finish` sees each group of images, with the range of its values,
/// while it is in cache; what it returns comes back in order.
pub(super) fn forward<R: Send>(
    g: &Geometry,
    input: &[f32],
    weight: &[f32],
    finish: impl Fn(Range<usize>, &mut [f32]) -> R + Sync,
) -> (Vec<f32>, Vec<R>) {
    let (padded, plan) = forward_plan(g);
    let strips = strips(g.channels_out, lanes());
    let packed = pack_forward(g, &plan, &strips, weight);
    let mut output = vec![0.0; g.images * g.image_out()];
    let group = group_len(padded.len() + g.image_out());
    let finished = output
        .par_chunks_mut(group * g.image_out())
        .zip(input.par_chunks(group * g.image_in()))
        .enumerate()
        .map_init(
            || vec![0.0; group * padded.len()],
            |planes, (index, (output, input))| {
                let row = g.size_in[1] * g.channels_in;
                let planes = &mut planes[..input.len() / g.image_in() * padded.len()];
                padded.fill(planes, |image, y, to| {
                    to.copy_from_slice(&input[(image * g.size_in[0] + y) * row..][..row]);
                });
                let correlate = Correlate {
                    source: planes,
                    source_image: padded.len(),
                    plan: &plan,
                    strips: &strips,
                    weights: &packed,
                    target: output,
                    target_image: g.image_out(),
                };
                correlate.run();
                let start = index * group * g.image_out();
                finish(start..start + output.len(), output)
            },
        )
        .collect();
    (output, finished)
}

/// Rows of the gradient of the output, `[ow, channels_out]` each.
pub(super) trait OutputGradient: Sync {
    /// Writes the row of values that starts at `start` of `[n, oh, ow, channels_out]`.
    fn row(&self, start: usize, to: &mut [f32]);
}

/// As it is.
pub(super) struct Given<'a>(pub(super) &'a [f32]);

impl OutputGradient for Given<'_> {
    fn row(&self, start: usize, to: &mut [f32]) {
        to.copy_from_slice(&self.0[start..][..to.len()]);
    }
}

/// Gradients of the input and of the weight, those that are asked for.
pub(super) fn backward(
    g: &Geometry,
    input: &[f32],
    weight: &[f32],
    d_output: &impl OutputGradient,
    of_input: bool,
    of_weight: bool,
) -> [Option<Vec<f32>>; 2] {
    let (padded_in, plan_in) = forward_plan(g);
    let (padded_out, plans_out) = data_gradient_plans(g);
    let (strips_in, strips_out) = (strips(g.channels_in, lanes()), strips(g.channels_out, lanes()));
    let packed: Vec<Vec<f32>> = if of_input {
        plans_out.iter().map(|plan| pack_transposed(g, plan, &strips_in, weight)).collect()
    } else {
        Vec::new()
    };
    let out_pixels: Vec<usize> = padded_out.pixels().collect();
    let group = group_len(padded_in.len() + padded_out.len());
    let part =
        (g.images.div_ceil(MAX_PARTS)).max(g.weight_len() / WEIGHTS_PER_IMAGE).max(1).next_multiple_of(group);

    let mut d_input = if of_input { vec![0.0; g.images * g.image_in()] } else { Vec::new() };
    // Without a gradient of the input the parts get empty slices of it.
    let mut d_input_parts: Vec<&mut [f32]> = if of_input {
        d_input.chunks_mut(part * g.image_in()).collect()
    } else {
        (0..g.images.div_ceil(part)).map(|_| <&mut [f32]>::default()).collect()
    };
    let parts: Vec<Vec<f32>> = d_input_parts
        .par_iter_mut()
        .enumerate()
        .map_init(
            || (vec![0.0; group * padded_in.len()], vec![0.0; group * padded_out.len()]),
            |(planes_in, planes_out), (index, d_input)| {
                let mut gradient = vec![0.0; if of_weight { packed_len(&plan_in, &strips_out) } else { 0 }];
                let end = g.images.min((index + 1) * part);
                for start in (index * part..end).step_by(group) {
                    let images = group.min(end - start);
                    let planes_out = &mut planes_out[..images * padded_out.len()];
                    padded_out.fill(planes_out, |image, y, to| {
                        let row = (start + image) * g.size_out[0] + y;
                        d_output.row(row * g.size_out[1] * g.channels_out, to);
                    });
                    if of_input {
                        let first = (start - index * part) * g.image_in();
                        for (plan, packed) in plans_out.iter().zip(&packed) {
                            let correlate = Correlate {
                                source: planes_out,
                                source_image: padded_out.len(),
                                plan,
                                strips: &strips_in,
                                weights: packed,
                                target: &mut d_input[first..][..images * g.image_in()],
                                target_image: g.image_in(),
                            };
                            correlate.run();
                        }
                    }
                    if of_weight {
                        let planes_in = &mut planes_in[..images * padded_in.len()];
                        padded_in.fill(planes_in, |image, y, to| {
                            let row = (start + image) * g.size_in[0] + y;
                            to.copy_from_slice(&input[row * g.size_in[1] * g.channels_in..][..to.len()]);
                        });
                        let accumulate = Accumulate {
                            source: planes_in,
                            source_image: padded_in.len(),
                            plan: &plan_in,
                            strips: &strips_out,
                            d_target: planes_out,
                            d_target_image: padded_out.len(),
                            d_target_starts: &out_pixels,
                            gradient: &mut gradient,
                        };
                        accumulate.run();
                    }
                }
                gradient
            },
        )
        .collect();
    let d_weight = of_weight.then(|| unpack(g, &plan_in, &strips_out, &parts));
    [of_input.then_some(d_input), d_weight]
}

/// Images of a group, from the values that one image needs.
fn group_len(image: usize) -> usize {
    (GROUP_VALUES / image.max(1)).clamp(1, 64)
}
