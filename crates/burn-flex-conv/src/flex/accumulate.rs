//! The inner loop of weight gradients: outer products of source values and gradients, summed over pixels in
//! registers.

use pulp::{Arch, Simd, WithSimd};

use super::geometry::Plan;
use super::lanes::{ACROSS, Strip};
use super::products::{InF32, Products};

/// `gradient[k, c] += sum over p of source[p, k] * d_target[p, c]`, for a group of images.
/// Operands are values in f32, or pairs in bf16 of the values of two images.
pub(super) struct Accumulate<'a, O> {
    /// Padded images.
    pub(super) source: &'a [O],
    pub(super) source_image: usize,
    pub(super) plan: &'a Plan,
    pub(super) strips: &'a [Strip],
    /// Gradients of the output, in images of `d_target_image` values.
    pub(super) d_target: &'a [O],
    pub(super) d_target_image: usize,
    /// Packed as the weights of [`Correlate`](super::correlate::Correlate).
    pub(super) gradient: &'a mut [f32],
}

impl Accumulate<'_, f32> {
    pub(super) fn run(self, arch: Arch) {
        arch.dispatch(self);
    }
}

impl<O: Copy> Accumulate<'_, O> {
    #[inline(always)]
    pub(super) fn tiles<P: Products<Operand = O>, const DOWN: usize>(mut self, products: P) {
        let gradient = core::mem::take(&mut self.gradient);
        let (mut gradient, _) = P::Simd::as_mut_simd_f32s(gradient);
        let len = self.plan.run_len;
        for &strip in self.strips {
            for &run in &self.plan.runs {
                let (of_run, rest) = core::mem::take(&mut gradient).split_at_mut(len * strip.vectors);
                gradient = rest;
                if strip.vectors == ACROSS {
                    self.run_of_strip::<P, DOWN, ACROSS>(products, run, strip, of_run);
                } else {
                    self.run_of_strip::<P, DOWN, 1>(products, run, strip, of_run);
                }
            }
        }
    }

    #[inline(always)]
    fn run_of_strip<P: Products<Operand = O>, const DOWN: usize, const ACROSS: usize>(
        &self,
        products: P,
        run: usize,
        strip: Strip,
        gradient: &mut [<P::Simd as Simd>::f32s],
    ) {
        let (gradient, _) = pulp::as_arrays_mut::<ACROSS, _>(gradient);
        let len = gradient.len();
        if len < DOWN {
            for (k, row) in gradient.iter_mut().enumerate() {
                add(
                    products.simd(),
                    core::slice::from_mut(row),
                    &self.tile::<P, 1, ACROSS>(products, run + k, strip),
                );
            }
            return;
        }
        let mut k = 0;
        while k < len {
            // The last tile overlaps the one before; only its new rows are added.
            let start = k.min(len - DOWN);
            let sums = self.tile::<P, DOWN, ACROSS>(products, run + start, strip);
            add(products.simd(), &mut gradient[k..start + DOWN], &sums[k - start..]);
            k = start + DOWN;
        }
    }

    #[inline(always)]
    fn tile<P: Products<Operand = O>, const DOWN: usize, const ACROSS: usize>(
        &self,
        products: P,
        offset: usize,
        strip: Strip,
    ) -> [[<P::Simd as Simd>::f32s; ACROSS]; DOWN] {
        let mut sums = [[products.simd().splat_f32s(0.0); ACROSS]; DOWN];
        let images =
            self.source.chunks_exact(self.source_image).zip(self.d_target.chunks_exact(self.d_target_image));
        for (source, d_target) in images {
            for (&start, &d_start) in self.plan.source.iter().zip(&self.plan.target) {
                let values: &[O; DOWN] =
                    source[start + offset..].first_chunk().expect("a run lies within the image");
                let channels = &d_target[d_start + strip.start..][..strip.len];
                let d_target: [P::Vector; ACROSS] = if strip.len == ACROSS * P::Simd::F32_LANES {
                    *P::vectors(channels).first_chunk().expect("a full strip")
                } else {
                    core::array::from_fn(|v| {
                        let start = (v * P::Simd::F32_LANES).min(channels.len());
                        let end = (start + P::Simd::F32_LANES).min(channels.len());
                        products.partial_load(&channels[start..end])
                    })
                };
                for (&value, sums) in values.iter().zip(&mut sums) {
                    let value = products.splat(value);
                    for (sum, &d_target) in sums.iter_mut().zip(&d_target) {
                        *sum = products.mul_add(value, d_target, *sum);
                    }
                }
            }
        }
        sums
    }
}

impl WithSimd for Accumulate<'_, f32> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 {
            self.tiles::<_, 8>(InF32(simd));
        } else {
            self.tiles::<_, 4>(InF32(simd));
        }
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
