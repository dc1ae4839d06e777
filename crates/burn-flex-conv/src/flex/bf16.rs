//! Products in bf16 on CPUs with AVX512-BF16: two values of bf16 in each operand, sums in f32.

#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Bf16;

/// Evidence that this CPU multiplies in bf16. No such CPU is known for this architecture.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bf16 {}

#[cfg(not(target_arch = "x86_64"))]
impl Bf16 {
    pub(crate) fn try_new() -> Option<Self> {
        None
    }

    pub(super) fn correlate(self, _: super::correlate::Correlate<'_, u32>) {
        match self {}
    }

    pub(super) fn accumulate(self, _: super::accumulate::Accumulate<'_, u32>) {
        match self {}
    }
}

/// Rounds to the nearest value in bf16, to the even one of two.
#[inline(always)]
pub(super) fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // Rounding may turn the bits of NaN to those of infinity.
    if value.is_nan() { bits >> 16 | 0x40 } else { rounded }
}

/// Two values in bf16, the first one in the low half.
#[inline(always)]
pub(super) fn pair(first: f32, second: f32) -> u32 {
    round(first) | round(second) << 16
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use core::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps};
    use core::mem::transmute;

    use pulp::x86::V4;
    use pulp::{NullaryFnOnce, Simd, f32x16, u32x16};

    use super::super::accumulate::Accumulate;
    use super::super::correlate::Correlate;
    use super::super::products::Products;

    pulp::simd_type!({
        /// Evidence that this CPU multiplies in bf16: the features of [`V4`], and AVX512-BF16.
        pub(crate) struct Features {
            sse: target_feature!("sse"),
            sse2: target_feature!("sse2"),
            fxsr: target_feature!("fxsr"),
            sse3: target_feature!("sse3"),
            ssse3: target_feature!("ssse3"),
            sse4_1: target_feature!("sse4.1"),
            sse4_2: target_feature!("sse4.2"),
            popcnt: target_feature!("popcnt"),
            avx: target_feature!("avx"),
            avx2: target_feature!("avx2"),
            bmi1: target_feature!("bmi1"),
            bmi2: target_feature!("bmi2"),
            fma: target_feature!("fma"),
            lzcnt: target_feature!("lzcnt"),
            avx512f: target_feature!("avx512f"),
            avx512bw: target_feature!("avx512bw"),
            avx512cd: target_feature!("avx512cd"),
            avx512dq: target_feature!("avx512dq"),
            avx512vl: target_feature!("avx512vl"),
            avx512bf16: target_feature!("avx512bf16"),
        }
    });

    /// Evidence that this CPU multiplies in bf16.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Bf16 {
        features: Features,
        simd: V4,
    }

    impl Bf16 {
        /// Returns `None` on a CPU without AVX512-BF16.
        pub(crate) fn try_new() -> Option<Self> {
            Some(Self { features: Features::try_new()?, simd: V4::try_new()? })
        }

        pub(in super::super) fn correlate(self, correlate: Correlate<'_, u32>) {
            self.features.vectorize(Run(self, correlate));
        }

        pub(in super::super) fn accumulate(self, accumulate: Accumulate<'_, u32>) {
            self.features.vectorize(Run(self, accumulate));
        }
    }

    /// A loop with all features of the CPU.
    struct Run<T>(Bf16, T);

    impl NullaryFnOnce for Run<Correlate<'_, u32>> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            self.1.tiles::<_, 8>(self.0);
        }
    }

    impl NullaryFnOnce for Run<Accumulate<'_, u32>> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            self.1.tiles::<_, 8>(self.0);
        }
    }

    impl Products for Bf16 {
        type Simd = V4;
        type Operand = u32;
        type Vector = u32x16;

        #[inline(always)]
        fn simd(self) -> V4 {
            self.simd
        }

        #[inline(always)]
        fn splat(self, operand: u32) -> u32x16 {
            self.simd.splat_u32s(operand)
        }

        #[inline(always)]
        fn vectors(operands: &[u32]) -> &[u32x16] {
            V4::as_simd_u32s(operands).0
        }

        #[inline(always)]
        fn partial_load(self, operands: &[u32]) -> u32x16 {
            self.simd.partial_load_u32s(operands)
        }

        /// Adds the products of both values of each pair.
        #[inline(always)]
        #[allow(unsafe_code)]
        fn mul_add(self, a: u32x16, b: u32x16, sum: f32x16) -> f32x16 {
            // Safety: `self` exists only where `Features::try_new` has found AVX512F and AVX512-BF16, which the
            // instruction needs. The types that are converted are plain 64 bytes each, valid for any bits.
            unsafe {
                let (a, b) = (transmute::<u32x16, __m512bh>(a), transmute::<u32x16, __m512bh>(b));
                transmute::<__m512, f32x16>(_mm512_dpbf16_ps(transmute::<f32x16, __m512>(sum), a, b))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_to_the_nearest_even() {
        let cases = [
            (1.0, 0x3f80),
            (f32::from_bits(0x3f80_8000), 0x3f80),
            (f32::from_bits(0x3f81_8000), 0x3f82),
            (f32::from_bits(0x3f80_8001), 0x3f81),
            (-0.0, 0x8000),
            (f32::MAX, 0x7f80),
            (f32::NEG_INFINITY, 0xff80),
        ];
        for (value, bits) in cases {
            assert_eq!(round(value), bits, "{value}");
        }
        for bits in [0x7f80_0001, 0x7fff_ffff, 0xffff_ffff, 0xffc0_0000] {
            let rounded = f32::from_bits(round(f32::from_bits(bits)) << 16);
            assert!(rounded.is_nan(), "{bits:x}");
        }
    }
}
