//! The two inner loops, on registers: correlation, and its outer-product counterpart for the weight gradient.
//!
//! Channels are innermost in memory, so a vector register holds neighbouring output channels, and every source value is
//! broadcast to all lanes: borders, strides and image sizes do not matter to the arithmetic. A tile of pixels times channels
//! stays in registers over the whole sum.

use pulp::{Simd, WithSimd};

use super::geometry::Plan;

/// Vector registers across, in channels, of a tile.
const ACROSS: usize = 2;

/// Steps of a sum between checks of bounds.
const UNROLLED: usize = 4;

/// Runs `op` compiled for the widest vectors of this machine.
pub(super) fn dispatch<Op: WithSimd>(op: Op) -> Op::Output {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        if let Some(simd) = pulp::x86::V4::try_new() {
            return Simd::vectorize(simd, op);
        }
        if let Some(simd) = pulp::x86::V3::try_new() {
            return Simd::vectorize(simd, op);
        }
    }
    pulp::Arch::new().dispatch(op)
}

/// A vector holds this many values on this machine.
pub(super) fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _simd: S) -> usize {
            S::F32_LANES
        }
    }
    dispatch(Lanes)
}

/// Output channels in strips of one or two vectors, the order in which weights are packed.
pub(super) fn strips(channels: usize, lanes: usize) -> Vec<Strip> {
    let width = ACROSS * lanes;
    (0..channels)
        .step_by(width)
        .map(|start| {
            let len = width.min(channels - start);
            Strip { start, len, vectors: len.div_ceil(lanes) }
        })
        .collect()
}

/// Some neighbouring output channels, and how many vectors hold them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strip {
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) vectors: usize,
}

/// `target[p, c] = sum over k of source[p, k] * weights[k, c]`, `k` and `p` by the plan, for a group of images.
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
    pub(super) fn run(self) {
        dispatch(self);
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
        // As many pixels as leave registers for the weights and the broadcast value: AVX2 has 16, AVX-512 and NEON 32.
        if S::F32_LANES == 8 { self.tiles::<S, 4>(simd) } else { self.tiles::<S, 8>(simd) }
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
            *sum = simd.mul_add_f32s(value, weight, *sum);
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

/// `gradient[k, c] += sum over p of source[p, k] * d_target[p, c]`, for a group of images.
pub(super) struct Accumulate<'a> {
    /// Padded images.
    pub(super) source: &'a [f32],
    pub(super) source_image: usize,
    pub(super) plan: &'a Plan,
    pub(super) strips: &'a [Strip],
    /// Gradients of the output, in images of `d_target_image` values.
    pub(super) d_target: &'a [f32],
    pub(super) d_target_image: usize,
    /// Per target pixel, where its channels start in `d_target`.
    pub(super) d_target_starts: &'a [usize],
    /// Packed as the weights of [`Correlate`].
    pub(super) gradient: &'a mut [f32],
}

impl Accumulate<'_> {
    pub(super) fn run(self) {
        dispatch(self);
    }

    #[inline(always)]
    fn tiles<S: Simd, const DOWN: usize>(mut self, simd: S) {
        let gradient = core::mem::take(&mut self.gradient);
        let (mut gradient, _) = S::as_mut_simd_f32s(gradient);
        let len = self.plan.run_len;
        for &strip in self.strips {
            for &run in &self.plan.runs {
                let (of_run, rest) = core::mem::take(&mut gradient).split_at_mut(len * strip.vectors);
                gradient = rest;
                if strip.vectors == ACROSS {
                    self.run_of_strip::<S, DOWN, ACROSS>(simd, run, strip, of_run);
                } else {
                    self.run_of_strip::<S, DOWN, 1>(simd, run, strip, of_run);
                }
            }
        }
    }

    #[inline(always)]
    fn run_of_strip<S: Simd, const DOWN: usize, const ACROSS: usize>(
        &self,
        simd: S,
        run: usize,
        strip: Strip,
        gradient: &mut [S::f32s],
    ) {
        let (gradient, _) = pulp::as_arrays_mut::<ACROSS, _>(gradient);
        let len = gradient.len();
        if len < DOWN {
            for (k, row) in gradient.iter_mut().enumerate() {
                add(simd, core::slice::from_mut(row), &self.tile::<S, 1, ACROSS>(simd, run + k, strip));
            }
            return;
        }
        let mut k = 0;
        while k < len {
            // The last tile overlaps the one before; only its new rows are added.
            let start = k.min(len - DOWN);
            let sums = self.tile::<S, DOWN, ACROSS>(simd, run + start, strip);
            add(simd, &mut gradient[k..start + DOWN], &sums[k - start..]);
            k = start + DOWN;
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const DOWN: usize, const ACROSS: usize>(
        &self,
        simd: S,
        offset: usize,
        strip: Strip,
    ) -> [[S::f32s; ACROSS]; DOWN] {
        let mut sums = [[simd.splat_f32s(0.0); ACROSS]; DOWN];
        let images =
            self.source.chunks_exact(self.source_image).zip(self.d_target.chunks_exact(self.d_target_image));
        for (source, d_target) in images {
            for (&start, &d_start) in self.plan.source.iter().zip(self.d_target_starts) {
                let values: &[f32; DOWN] =
                    source[start + offset..].first_chunk().expect("a run lies within the image");
                let channels = &d_target[d_start + strip.start..][..strip.len];
                let d_target: [S::f32s; ACROSS] = if strip.len == ACROSS * S::F32_LANES {
                    let (vectors, _) = S::as_simd_f32s(channels);
                    *vectors.first_chunk().expect("a full strip")
                } else {
                    core::array::from_fn(|v| {
                        let start = (v * S::F32_LANES).min(channels.len());
                        let end = (start + S::F32_LANES).min(channels.len());
                        simd.partial_load_f32s(&channels[start..end])
                    })
                };
                for (&value, sums) in values.iter().zip(&mut sums) {
                    let value = simd.splat_f32s(value);
                    for (sum, &d_target) in sums.iter_mut().zip(&d_target) {
                        *sum = simd.mul_add_f32s(value, d_target, *sum);
                    }
                }
            }
        }
        sums
    }
}

impl WithSimd for Accumulate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::F32_LANES == 8 { self.tiles::<S, 4>(simd) } else { self.tiles::<S, 8>(simd) }
    }
}

#[inline(always)]
fn add<S: Simd, const ACROSS: usize>(simd: S, to: &mut [[S::f32s; ACROSS]], sums: &[[S::f32s; ACROSS]]) {
    for (to, sums) in to.iter_mut().zip(sums) {
        for (to, &sum) in to.iter_mut().zip(sums) {
            *to = simd.add_f32s(*to, sum);
        }
    }
}
