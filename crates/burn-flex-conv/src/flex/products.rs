//! What the loops multiply: values in f32, or pairs of values in bf16. Sums are in f32.

use pulp::Simd;

/// Products of operands, in vectors.
pub(super) trait Products: Copy {
    type Simd: Simd;
    /// A value, or some values whose products are summed at once.
    type Operand: Copy + Default + Send + Sync;
    type Vector: Copy;

    fn simd(self) -> Self::Simd;
    fn splat(self, operand: Self::Operand) -> Self::Vector;
    fn vectors(operands: &[Self::Operand]) -> &[Self::Vector];
    /// The operands that there are, then zeros.
    fn partial_load(self, operands: &[Self::Operand]) -> Self::Vector;
    /// `a * b + sum`
    fn mul_add(
        self,
        a: Self::Vector,
        b: Self::Vector,
        sum: <Self::Simd as Simd>::f32s,
    ) -> <Self::Simd as Simd>::f32s;
}

/// Products of values in f32.
#[derive(Clone, Copy)]
pub(super) struct InF32<S>(pub(super) S);

impl<S: Simd> Products for InF32<S> {
    type Simd = S;
    type Operand = f32;
    type Vector = S::f32s;

    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }

    #[inline(always)]
    fn splat(self, operand: f32) -> S::f32s {
        self.0.splat_f32s(operand)
    }

    #[inline(always)]
    fn vectors(operands: &[f32]) -> &[S::f32s] {
        S::as_simd_f32s(operands).0
    }

    #[inline(always)]
    fn partial_load(self, operands: &[f32]) -> S::f32s {
        self.0.partial_load_f32s(operands)
    }

    #[inline(always)]
    fn mul_add(self, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        self.0.mul_add_e_f32s(a, b, sum)
    }
}
