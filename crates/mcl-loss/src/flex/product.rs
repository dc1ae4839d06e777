//! Matrix products of a tile of rows, in registers.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Vectors that a strip is wide.
const ACROSS: usize = 2;
/// Steps of a sum between checks of bounds.
const UNROLLED: usize = 4;

/// Rows of a tile: a multiple of those that fit in registers at once, on any machine.
pub(super) const ROWS: usize = 48;

/// A matrix in strips of columns, `[strips, rows, width]`, zero beyond its last column.
#[derive(Debug)]
pub(super) struct Strips {
    rows: usize,
    /// Columns of a strip: as many as two vectors hold.
    pub(super) width: usize,
    values: Vec<f32>,
}

impl Strips {
    /// Of the matrix `[rows, columns]` with these values.
    pub(super) fn new(
        rows: usize,
        columns: usize,
        value: impl Fn(usize, usize) -> f32 + Send + Sync,
    ) -> Self {
        let width = ACROSS * lanes();
        let mut values = vec![0.0; columns.div_ceil(width) * rows * width];
        values.par_chunks_mut(rows * width).enumerate().for_each(|(strip, values)| {
            let start = strip * width;
            let columns = start..columns.min(start + width);
            for (row, values) in values.chunks_exact_mut(width).enumerate() {
                for (column, place) in columns.clone().zip(values) {
                    *place = value(row, column);
                }
            }
        });
        Self { rows, width, values }
    }

    /// Columns with those that fill up the last strip.
    pub(super) fn padded_columns(&self) -> usize {
        self.values.len() / self.rows
    }

    /// The rows from `start` on, at most `len`, of each strip.
    pub(super) fn of_rows(&self, start: usize, len: usize) -> impl Iterator<Item = &[f32]> {
        let end = self.rows.min(start + len);
        self.values.chunks_exact(self.rows * self.width).map(move |strip| &strip[start * self.width..end * self.width])
    }

    /// All rows of the strips from column `start` on, at most `len` columns.
    pub(super) fn of_columns(&self, start: usize, len: usize) -> impl Iterator<Item = &[f32]> {
        let strips = self.values.chunks_exact(self.rows * self.width);
        strips.skip(start / self.width).take(len / self.width)
    }
}

/// Runs `op` compiled for the widest vectors of this machine.
pub(super) fn dispatch<Op: WithSimd>(op: Op) -> Op::Output {
    pulp::Arch::new().dispatch(op)
}

/// A vector holds this many values on this machine.
fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    dispatch(Lanes)
}

/// `target[r, strip] += sum over k of left[r, k] strip[k]` for [`ROWS`] rows.
///
/// `left` and `target` have rows of the given strides, `target` begins at the first column of the strip.
#[inline(always)]
pub(super) fn add_product<S: Simd>(
    simd: S,
    (left, left_stride): (&[f32], usize),
    strip: &[f32],
    (target, target_stride): (&mut [f32], usize),
) {
    // As many rows as leave registers for a row of the strip and a broadcast value.
    if S::REGISTER_COUNT >= 32 {
        add_product_by::<S, 12>(simd, (left, left_stride), strip, (target, target_stride));
    } else {
        add_product_by::<S, 6>(simd, (left, left_stride), strip, (target, target_stride));
    }
}

#[inline(always)]
fn add_product_by<S: Simd, const DOWN: usize>(
    simd: S,
    (left, left_stride): (&[f32], usize),
    strip: &[f32],
    (target, target_stride): (&mut [f32], usize),
) {
    let (strip, _) = S::as_simd_f32s(strip);
    let (strip, _) = pulp::as_arrays::<ACROSS, _>(strip);
    for start in (0..ROWS).step_by(DOWN) {
        let sums = tile::<S, DOWN>(simd, &left[start * left_stride..], left_stride, strip);
        for (row, sums) in sums.iter().enumerate() {
            let place = &mut target[(start + row) * target_stride..][..ACROSS * S::F32_LANES];
            let (place, _) = S::as_mut_simd_f32s(place);
            for (place, &sum) in place.iter_mut().zip(sums) {
                *place = simd.add_f32s(*place, sum);
            }
        }
    }
}

#[inline(always)]
fn tile<S: Simd, const DOWN: usize>(
    simd: S,
    left: &[f32],
    stride: usize,
    strip: &[[S::f32s; ACROSS]],
) -> [[S::f32s; ACROSS]; DOWN] {
    let mut sums = [[simd.splat_f32s(0.0); ACROSS]; DOWN];
    let mut rows = [&left[..0]; DOWN];
    for (index, row) in rows.iter_mut().enumerate() {
        *row = &left[index * stride..][..strip.len()];
    }
    // Several steps at a time: the bounds of each row are checked once for all of them.
    let (of_steps, of_rest) = pulp::as_arrays::<UNROLLED, _>(strip);
    for (index, [v0, v1, v2, v3]) in of_steps.iter().enumerate() {
        let mut values = [[0.0; UNROLLED]; DOWN];
        for (values, row) in values.iter_mut().zip(rows) {
            *values = *row[index * UNROLLED..].first_chunk().expect("a step within the row");
        }
        step(simd, values.map(|[value, _, _, _]| value), v0, &mut sums);
        step(simd, values.map(|[_, value, _, _]| value), v1, &mut sums);
        step(simd, values.map(|[_, _, value, _]| value), v2, &mut sums);
        step(simd, values.map(|[_, _, _, value]| value), v3, &mut sums);
    }
    for (k, vectors) in (strip.len() - of_rest.len()..).zip(of_rest) {
        step(simd, rows.map(|row| row[k]), vectors, &mut sums);
    }
    sums
}

/// Adds the products of a value per row with a row of the strip.
#[inline(always)]
fn step<S: Simd, const DOWN: usize>(
    simd: S,
    values: [f32; DOWN],
    vectors: &[S::f32s; ACROSS],
    sums: &mut [[S::f32s; ACROSS]; DOWN],
) {
    for (value, sums) in values.into_iter().zip(sums) {
        let value = simd.splat_f32s(value);
        for (sum, &vector) in sums.iter_mut().zip(vectors) {
            *sum = simd.mul_add_e_f32s(value, vector, *sum);
        }
    }
}
