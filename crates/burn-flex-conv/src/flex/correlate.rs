//! The inner loop of convolutions and of the gradients of their inputs.
//!
//! Channels are innermost in memory: a vector holds neighbouring output channels, and every source value is
//! broadcast to all of its lanes. Borders, strides and image sizes do not matter to the arithmetic, and a
//! tile of pixels times channels stays in registers over the whole sum.

use pulp::{Arch, Simd, WithSimd};

use super::geometry::Plan;
use super::lanes::{ACROSS, Strip};
use super::products::{InF32, Products};

/// Steps of a sum between checks of bounds.
const UNROLLED: usize = 4;

/// `target[p, c] = sum over k of source[p, k] * weights[k, c]`, `k` and `p` by the plan, for a group of
/// images. Operands are values in f32, or pairs in bf16 of neighbours in `k`.
pub(super) struct Correlate<'a, O> {
    /// Padded images.
    pub(super) source: &'a [O],
    pub(super) source_image: usize,
    pub(super) plan: &'a Plan,
    pub(super) strips: &'a [Strip],
    /// Per strip `[runs * run_len, vectors * lanes]`, zero beyond the last channel.
    pub(super) weights: &'a [O],
    pub(super) target: &'a mut [f32],
    pub(super) target_image: usize,
}

impl Correlate<'_, f32> {
    pub(super) fn run(self, arch: Arch) {
        arch.dispatch(self);
    }
}

impl<O: Copy> Correlate<'_, O> {
    #[inline(always)]
    pub(super) fn tiles<P: Products<Operand = O>, const DOWN: usize>(self, products: P) {
        let Self { source, source_image, plan, strips, weights, target, target_image } = self;
        let mut weights = P::vectors(weights);
        for &strip in strips {
            let (strip_weights, rest) = weights.split_at(plan.runs.len() * plan.run_len * strip.vectors);
            weights = rest;
            for (source, target) in
                source.chunks_exact(source_image).zip(target.chunks_exact_mut(target_image))
            {
                if strip.vectors == ACROSS {
                    strip_of_image::<P, DOWN, ACROSS>(products, source, plan, strip, strip_weights, target);
                } else {
                    strip_of_image::<P, DOWN, 1>(products, source, plan, strip, strip_weights, target);
                }
            }
        }
    }
}

impl WithSimd for Correlate<'_, f32> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // As many pixels as leave registers for the weights and the broadcast value: AVX2 has 16, AVX-512 and
        // NEON 32.
        if S::REGISTER_COUNT >= 32 {
            self.tiles::<_, 8>(InF32(simd));
        } else {
            self.tiles::<_, 4>(InF32(simd));
        }
    }
}

#[inline(always)]
fn strip_of_image<P: Products, const DOWN: usize, const ACROSS: usize>(
    products: P,
    source: &[P::Operand],
    plan: &Plan,
    strip: Strip,
    weights: &[P::Vector],
    target: &mut [f32],
) {
    let pixels = plan.source.len();
    if pixels < DOWN {
        for p in 0..pixels {
            let sums = tile::<P, 1, ACROSS>(products, source, [plan.source[p]], plan, weights);
            store(products.simd(), &sums, &plan.target[p..], strip, target);
        }
        return;
    }
    let mut p = 0;
    while p < pixels {
        // The last tile overlaps the one before rather than being cut: the same values are written twice.
        p = p.min(pixels - DOWN);
        let starts: &[usize; DOWN] = plan.source[p..].first_chunk().expect("tile within the image");
        let sums = tile::<P, DOWN, ACROSS>(products, source, *starts, plan, weights);
        store(products.simd(), &sums, &plan.target[p..], strip, target);
        p += DOWN;
    }
}

#[inline(always)]
fn tile<P: Products, const DOWN: usize, const ACROSS: usize>(
    products: P,
    source: &[P::Operand],
    starts: [usize; DOWN],
    plan: &Plan,
    weights: &[P::Vector],
) -> [[<P::Simd as Simd>::f32s; ACROSS]; DOWN] {
    let mut sums = [[products.simd().splat_f32s(0.0); ACROSS]; DOWN];
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
            let mut values = [[P::Operand::default(); UNROLLED]; DOWN];
            for (values, row) in values.iter_mut().zip(rows) {
                *values = *row[index * UNROLLED..].first_chunk().expect("a step within the row");
            }
            step(products, values.map(|[value, _, _, _]| value), w0, &mut sums);
            step(products, values.map(|[_, value, _, _]| value), w1, &mut sums);
            step(products, values.map(|[_, _, value, _]| value), w2, &mut sums);
            step(products, values.map(|[_, _, _, value]| value), w3, &mut sums);
        }
        for (k, weight) in (len - of_rest.len()..len).zip(of_rest) {
            step(products, rows.map(|row| row[k]), weight, &mut sums);
        }
    }
    sums
}

/// Adds the products of a value per row with a vector of weights.
#[inline(always)]
fn step<P: Products, const DOWN: usize, const ACROSS: usize>(
    products: P,
    values: [P::Operand; DOWN],
    weight: &[P::Vector; ACROSS],
    sums: &mut [[<P::Simd as Simd>::f32s; ACROSS]; DOWN],
) {
    for (value, sums) in values.into_iter().zip(sums) {
        let value = products.splat(value);
        for (sum, &weight) in sums.iter_mut().zip(weight) {
            *sum = products.mul_add(value, weight, *sum);
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
