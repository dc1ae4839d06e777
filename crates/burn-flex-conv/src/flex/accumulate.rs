//! The inner loop of weight gradients: outer products of source values and gradients, summed over pixels in
//! registers.

use pulp::{Arch, Simd, WithSimd};

use super::geometry::Plan;
use super::lanes::{ACROSS, Strip};

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
    /// Packed as the weights of [`Correlate`](super::correlate::Correlate).
    pub(super) gradient: &'a mut [f32],
}

impl Accumulate<'_> {
    pub(super) fn run(self, arch: Arch) {
        arch.dispatch(self);
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
            for (&start, &d_start) in self.plan.source.iter().zip(&self.plan.target) {
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
                        *sum = simd.mul_add_e_f32s(value, d_target, *sum);
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
        if S::REGISTER_COUNT >= 32 { self.tiles::<S, 8>(simd) } else { self.tiles::<S, 4>(simd) }
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
