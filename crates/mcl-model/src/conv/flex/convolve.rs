//! Forward, data gradient and weight gradient over a batch: images in groups that stay in cache, groups over threads.
//!
//! The partition depends on the sizes alone and sums are reduced in a fixed order: results have the same bits whatever the
//! number of threads.

use rayon::prelude::*;

use super::geometry::{Geometry, Padded, Plan, data_gradient_plans, forward_plan};
use super::kernel::{Accumulate, Correlate, Strip, lanes, strips};

/// Values of a group of images, source and target together: half a typical second-level cache.
const GROUP_VALUES: usize = 96 * 1024;
/// At most this many partial weight gradients.
const MAX_PARTS: usize = 16;
/// Images whose weight gradient is worth a partial sum of its own, for each 2^18 weights.
const IMAGES_PER_PART: usize = 8;

/// `[n, h, w, channels_in] -> [n, oh, ow, channels_out]`
pub(super) fn forward(g: &Geometry, input: &[f32], weight: &[f32]) -> Vec<f32> {
    let (padded, plan) = forward_plan(g);
    let strips = strips(g.channels_out, lanes());
    let packed = pack_forward(g, &plan, &strips, weight);
    let mut output = vec![0.0; g.images * g.image_out()];
    let group = group_len(padded.len() + g.image_out());
    output.par_chunks_mut(group * g.image_out()).zip(input.par_chunks(group * g.image_in())).for_each_init(
        || vec![0.0; group * padded.len()],
        |planes, (output, input)| {
            padded.fill(input, planes);
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
        },
    );
    output
}

/// `[n, oh, ow, channels_out] -> [n, h, w, channels_in]`
pub(super) fn data_gradient(g: &Geometry, d_output: &[f32], weight: &[f32]) -> Vec<f32> {
    let (padded, plans) = data_gradient_plans(g);
    let strips = strips(g.channels_in, lanes());
    let packed: Vec<_> = plans.iter().map(|plan| pack_transposed(g, plan, &strips, weight)).collect();
    let mut d_input = vec![0.0; g.images * g.image_in()];
    let group = group_len(padded.len() + g.image_in());
    d_input
        .par_chunks_mut(group * g.image_in())
        .zip(d_output.par_chunks(group * g.image_out()))
        .for_each_init(
            || vec![0.0; group * padded.len()],
            |planes, (d_input, d_output)| {
                padded.fill(d_output, planes);
                for (plan, packed) in plans.iter().zip(&packed) {
                    let correlate = Correlate {
                        source: planes,
                        source_image: padded.len(),
                        plan,
                        strips: &strips,
                        weights: packed,
                        target: d_input,
                        target_image: g.image_in(),
                    };
                    correlate.run();
                }
            },
        );
    d_input
}

/// `-> [channels_out, channels_in, kernel, kernel]`
pub(super) fn weight_gradient(g: &Geometry, input: &[f32], d_output: &[f32]) -> Vec<f32> {
    let (padded, plan) = forward_plan(g);
    let strips = strips(g.channels_out, lanes());
    let group = group_len(padded.len() + g.image_out());
    let part = part_len(g).next_multiple_of(group);
    let packed_len = packed_len(&plan, &strips);
    let parts: Vec<Vec<f32>> = input
        .par_chunks(part * g.image_in())
        .zip(d_output.par_chunks(part * g.image_out()))
        .map_init(
            || vec![0.0; group * padded.len()],
            |planes, (input, d_output)| {
                let mut gradient = vec![0.0; packed_len];
                let groups = input.chunks(group * g.image_in()).zip(d_output.chunks(group * g.image_out()));
                for (input, d_output) in groups {
                    padded.fill(input, planes);
                    let accumulate = Accumulate {
                        source: planes,
                        source_image: padded.len(),
                        plan: &plan,
                        strips: &strips,
                        d_target: d_output,
                        d_target_image: g.image_out(),
                        d_target_starts: &plan.target,
                        gradient: &mut gradient,
                    };
                    accumulate.run();
                }
                gradient
            },
        )
        .collect();
    unpack(g, &plan, &strips, &parts)
}

/// Images of a group, from the values that one image needs.
fn group_len(image: usize) -> usize {
    (GROUP_VALUES / image.max(1)).clamp(1, 64)
}

/// Images whose weight gradients are summed one after the other.
fn part_len(g: &Geometry) -> usize {
    let least = (IMAGES_PER_PART * g.weight_len()).div_ceil(1 << 18);
    g.images.div_ceil(MAX_PARTS).max(least).max(1)
}

fn packed_len(plan: &Plan, strips: &[Strip]) -> usize {
    strips.iter().map(|strip| plan.runs.len() * plan.run_len * strip.vectors * lanes()).sum()
}

/// Weights in the order in which [`Correlate`] reads them, channels out innermost.
fn pack_forward(g: &Geometry, plan: &Plan, strips: &[Strip], weight: &[f32]) -> Vec<f32> {
    let area = g.kernel * g.kernel;
    pack(plan, strips, g.channels_in, |[ky, kx], source, target| {
        weight[(target * g.channels_in + source) * area + ky * g.kernel + kx]
    })
}

/// The same for the data gradient: channels in innermost.
fn pack_transposed(g: &Geometry, plan: &Plan, strips: &[Strip], weight: &[f32]) -> Vec<f32> {
    let area = g.kernel * g.kernel;
    pack(plan, strips, g.channels_out, |[ky, kx], source, target| {
        weight[(source * g.channels_in + target) * area + ky * g.kernel + kx]
    })
}

fn pack(
    plan: &Plan,
    strips: &[Strip],
    sources: usize,
    weight: impl Fn([usize; 2], usize, usize) -> f32 + Sync,
) -> Vec<f32> {
    let lanes = lanes();
    let rows: Vec<([usize; 2], usize)> =
        plan.taps.iter().flatten().flat_map(|&tap| (0..sources).map(move |source| (tap, source))).collect();
    let of_strips: Vec<Vec<f32>> = strips
        .par_iter()
        .map(|strip| {
            let width = strip.vectors * lanes;
            let mut packed = vec![0.0; rows.len() * width];
            for (packed, &(tap, source)) in packed.chunks_exact_mut(width).zip(&rows) {
                for (c, packed) in packed[..strip.len].iter_mut().enumerate() {
                    *packed = weight(tap, source, strip.start + c);
                }
            }
            packed
        })
        .collect();
    of_strips.concat()
}

/// The sum of the partial weight gradients, in the layout of the weights.
fn unpack(g: &Geometry, plan: &Plan, strips: &[Strip], parts: &[Vec<f32>]) -> Vec<f32> {
    let lanes = lanes();
    let area = g.kernel * g.kernel;
    let rows = plan.runs.len() * plan.run_len;
    let mut gradient = vec![0.0; g.weight_len()];
    let full = strips.first().map_or(1, |strip| strip.len);
    gradient.par_chunks_mut(full * g.channels_in * area).zip(strips).for_each(|(gradient, strip)| {
        let width = strip.vectors * lanes;
        // Strips before this one are all full.
        let begin = rows * strip.start;
        let mut sum = vec![0.0; rows * width];
        for part in parts {
            for (sum, value) in sum.iter_mut().zip(&part[begin..][..rows * width]) {
                *sum += value;
            }
        }
        let order =
            plan.taps.iter().flatten().flat_map(|&tap| (0..g.channels_in).map(move |source| (tap, source)));
        for (sum, ([ky, kx], source)) in sum.chunks_exact(width).zip(order) {
            for (c, &value) in sum[..strip.len].iter().enumerate() {
                gradient[(c * g.channels_in + source) * area + ky * g.kernel + kx] = value;
            }
        }
    });
    gradient
}

#[allow(unused)]
fn padded_is_used(padded: &Padded) -> bool {
    padded.len() > 0
}
