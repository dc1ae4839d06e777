//! The inner loop of convolutions and of the gradients of their inputs.
//!
//! Channels are innermost in memory: a vector holds neighbouring output channels, and every source value is
//! broadcast to all of its lanes. Borders, strides and image sizes do not matter to the arithmetic, and a
//! tile of pixels times channels stays in registers over the whole sum.

use pulp::{Arch, Simd, WithSimd};

use super::geometry::Plan;
use super::lanes::{ACROSS, Strip};

/// Steps of a sum between checks of bounds.
const UNROLLED: usize = 4;

/// `target[p, c] = sum over k of source[p, k] * weights[k, c]`, `k` and `p` by the plan, for a group of
/// images.
pub(super) struct Correlate<'a> {
    /// Padded images.
    pub(super) source: &'a [f32],
    pub(super) source_image: usize,
    pub(super) plan: &'a Plan,
    pub(super) strips: &'a [Strip],
    /// Per strip `[runs * run_len, vectors * lanes]`, zero beyond the last channel.
    pub(super) weights: &'a [f32],
    pub(super) target: &'a mut [f32],
    pub(super) target_image: usize,
}

impl Correlate<'_> {
    pub(super) fn run(self, arch: Arch) {
        arch.dispatch(self);
    }

    #[inline(always)]
    fn tiles<S: Simd, const DOWN: usize>(self, simd: S) {
        let Self { source, source_image, plan, strips, weights, target, target_image } = self;
        let (mut weights, _) = S::as_simd_f32s(weights);
        for &strip in strips {
            let (strip_weights, rest) = weights.split_at(plan.runs.len() * plan.run_len * strip.vectors);
            weights = rest;
            for (source, target) in
                source.chunks_exact(source_image).zip(target.chunks_exact_mut(target_image))
            {
                if strip.vectors == ACROSS {
                    strip_of_image::<S, DOWN, ACROSS>(simd, source, plan, strip, strip_weights, target);
                } else {
                    strip_of_image::<S, DOWN, 1>(simd, source, plan, strip, strip_weights, target);
                }
            }
        }
    }
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // As many pixels as leave registers for the weights and the broadcast value: AVX2 has 16, AVX-512 and
        // NEON 32.
        if S::REGISTER_COUNT >= 32 { self.tiles::<S, 8>(simd) } else { self.tiles::<S, 4>(simd) }
    }
}

#[inline(always)]
fn strip_of_image<S: Simd, const DOWN: usize, const ACROSS: usize>(
    simd: S,
    source: &[f32],
    plan: &Plan,
    strip: Strip,
    weights: &[S::f32s],
    target: &mut [f32],
) {
    let pixels = plan.source.len();
    if pixels < DOWN {
        for p in 0..pixels {
            let sums = tile::<S, 1, ACROSS>(simd, source, [plan.source[p]], plan, weights);
            store(simd, &sums, &plan.target[p..], strip, target);
        }
        return;
    }
    let mut p = 0;
    while p < pixels {
        // The last tile overlaps the one before rather than being cut: the same values are written twice.
        p = p.min(pixels - DOWN);
        let starts: &[usize; DOWN] = plan.source[p..].first_chunk().expect("tile within the image");
        let sums = tile::<S, DOWN, ACROSS>(simd, source, *starts, plan, weights);
        store(simd, &sums, &plan.target[p..], strip, target);
        p += DOWN;
    }
}

#[inline(always)]
fn tile<S: Simd, const DOWN: usize, const ACROSS: usize>(
    simd: S,
    source: &[f32],
    starts: [usize; DOWN],
    plan: &Plan,
    weights: &[S::f32s],
) -> [[S::f32s; ACROSS]; DOWN] {
    let mut sums = [[simd.splat_f32s(0.0); ACROSS]; DOWN];
    let (mut weights, _) = pulp::as_arrays::<ACROSS, _>(weights);
    let len = plan.run_len;
    for &run in &plan.runs {
        let mut rows = [&source[..0]; DOWN];
        for (row, start) in rows.iter_mut().zip(starts) {
            *row = &source[start + run..][..len];
        }
        let (run_weights, rest) = weights.split_at(len);
        weights = rest;
        // Several steps at a time: the bounds of each row are checked once for all of them.
        let (of_steps, of_rest) = pulp::as_arrays::<UNROLLED, _>(run_weights);
        for (index, [w0, w1, w2, w3]) in of_steps.iter().enumerate() {
            let mut values = [[0.0; UNROLLED]; DOWN];
            for (values, row) in values.iter_mut().zip(rows) {
                *values = *row[index * UNROLLED..].first_chunk().expect("a step within the row");
            }
            step(simd, values.map(|[value, _, _, _]| value), w0, &mut sums);
            step(simd, values.map(|[_, value, _, _]| value), w1, &mut sums);
            step(simd, values.map(|[_, _, value, _]| value), w2, &mut sums);
            step(simd, values.map(|[_, _, _, value]| value), w3, &mut sums);
        }
        for (k, weight) in (len - of_rest.len()..len).zip(of_rest) {
            step(simd, rows.map(|row| row[k]), weight, &mut sums);
        }
    }
    sums
}

/// Adds the products of a value per row with a vector of weights.
#[inline(always)]
fn step<S: Simd, const DOWN: usize, const ACROSS: usize>(
    simd: S,
    values: [f32; DOWN],
    weight: &[S::f32s; ACROSS],
    sums: &mut [[S::f32s; ACROSS]; DOWN],
) {
    for (value, sums) in values.into_iter().zip(sums) {
        let value = simd.splat_f32s(value);
        for (sum, &weight) in sums.iter_mut().zip(weight) {
            *sum = simd.mul_add_e_f32s(value, weight, *sum);
        }
    }
}

#[inline(always)]
fn store<S: Simd, const DOWN: usize, const ACROSS: usize>(
    simd: S,
    sums: &[[S::f32s; ACROSS]; DOWN],
    starts: &[usize],
    strip: Strip,
    target: &mut [f32],
) {
    for (sums, &start) in sums.iter().zip(starts) {
        let mut channels = &mut target[start + strip.start..][..strip.len];
        if channels.len() == ACROSS * S::F32_LANES {
            let (vectors, _) = S::as_mut_simd_f32s(channels);
            *vectors.first_chunk_mut().expect("a full strip") = *sums;
            continue;
        }
        for &sum in sums {
            let (vector, rest) = channels.split_at_mut(S::F32_LANES.min(channels.len()));
            simd.partial_store_f32s(vector, sum);
            channels = rest;
        }
    }
}
