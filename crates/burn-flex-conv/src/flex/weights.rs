//! Weights in the order in which the kernels read them, and back.

use rayon::prelude::*;

use super::geometry::{Geometry, Plan};
use super::lanes::Strip;

/// Length of packed weights.
pub(super) fn packed_len(plan: &Plan, strips: &[Strip], lanes: usize) -> usize {
    strips.iter().map(|strip| plan.rows() * strip.width(lanes)).sum()
}

/// `[channels_out, channels_in, kernel, kernel]` -> per strip of output channels
/// `[rows, channels of the strip]`, where rows are (tap, input channel).
pub(super) fn pack_forward(
    g: &Geometry,
    plan: &Plan,
    strips: &[Strip],
    lanes: usize,
    weight: &[f32],
) -> Vec<f32> {
    let area = g.kernel * g.kernel;
    pack(plan, strips, lanes, g.channels_in, weight, |tap, source, target| {
        (target * g.channels_in + source) * area + tap
    })
}

/// The same for the data gradient: rows are (tap, output channel), strips of input channels.
pub(super) fn pack_transposed(
    g: &Geometry,
    plan: &Plan,
    strips: &[Strip],
    lanes: usize,
    weight: &[f32],
) -> Vec<f32> {
    let area = g.kernel * g.kernel;
    pack(plan, strips, lanes, g.channels_out, weight, |tap, source, target| {
        (source * g.channels_in + target) * area + tap
    })
}

fn pack(
    plan: &Plan,
    strips: &[Strip],
    lanes: usize,
    sources: usize,
    weight: &[f32],
    position: impl Fn(usize, usize, usize) -> usize + Sync,
) -> Vec<f32> {
    let mut packed = vec![0.0; packed_len(plan, strips, lanes)];
    let mut rest = packed.as_mut_slice();
    let mut slices = Vec::with_capacity(strips.len());
    for strip in strips {
        let (slice, after) = rest.split_at_mut(plan.rows() * strip.width(lanes));
        slices.push((strip, slice));
        rest = after;
    }
    slices.into_par_iter().for_each(|(strip, slice)| {
        let mut rows = slice.chunks_exact_mut(strip.width(lanes));
        for &tap in plan.taps.iter().flatten() {
            for (source, row) in (0..sources).zip(&mut rows) {
                // Positions of neighbouring targets lie at a constant distance.
                let start = position(tap, source, strip.start);
                let step = position(tap, source, strip.start + 1) - start;
                for (value, &weight) in row[..strip.len].iter_mut().zip(weight[start..].iter().step_by(step))
                {
                    *value = weight;
                }
            }
        }
    });
    packed
}

/// The sum of packed weight gradients, in the layout of the weights. Each of `parts` is in chunks of
/// `strips_of_chunk` strips; the sum is taken in their order.
pub(super) fn unpack(
    g: &Geometry,
    plan: &Plan,
    strips: &[Strip],
    lanes: usize,
    strips_of_chunk: usize,
    parts: &[&[Vec<f32>]],
) -> Vec<f32> {
    let area = g.kernel * g.kernel;
    let full = strips.first().map_or(1, |strip| strip.len);
    let mut gradient = vec![0.0; g.weight_len()];
    let slices = gradient.par_chunks_mut(full * g.channels_in * area).zip(strips).enumerate();
    slices.for_each(|(index, (gradient, strip))| {
        let width = strip.width(lanes);
        // The strips before this one are all full.
        let begin = plan.rows() * full * (index % strips_of_chunk);
        let mut sum = vec![0.0; plan.rows() * width];
        for chunks in parts {
            for (sum, value) in
                sum.iter_mut().zip(&chunks[index / strips_of_chunk][begin..][..plan.rows() * width])
            {
                *sum += value;
            }
        }
        let rows =
            plan.taps.iter().flatten().flat_map(|&tap| (0..g.channels_in).map(move |source| (tap, source)));
        for (sum, (tap, source)) in sum.chunks_exact(width).zip(rows) {
            let slices = gradient[source * area + tap..].iter_mut().step_by(g.channels_in * area);
            for (slice, &value) in slices.zip(&sum[..strip.len]) {
                *slice = value;
            }
        }
    });
    gradient
}
