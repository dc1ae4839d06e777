//! Matrix products of a tile of rows, in registers.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Vectors that a strip is wide.
const ACROSS: usize = 2;

/// Rows of a tile: a multiple of those that fit in registers at once, on any machine.
pub(super) const ROWS: usize = 48;
/// Products that are summed at a time, and columns of a block.
pub(super) const DEPTH: usize = 128;

/// A matrix in strips of columns, `[strips, rows, width]`, zero beyond its last column.
#[derive(Debug)]
pub(super) struct Strips {
    rows: usize,
    /// Columns of a strip: as many as two vectors hold.
    pub(super) width: usize,
    values: Vec<f32>,
}

impl Strips {
    /// Of the matrix `[rows, columns]` with these values, for the vectors of `arch`.
    pub(super) fn new(
        arch: Arch,
        rows: usize,
        columns: usize,
        value: impl Fn(usize, usize) -> f32 + Send + Sync,
    ) -> Self {
        let width = ACROSS * arch.dispatch(Lanes);
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
        self.values
            .chunks_exact(self.rows * self.width)
            .map(move |strip| &strip[start * self.width..end * self.width])
    }

    /// All rows of the strips from column `start` on, at most `len` columns.
    pub(super) fn of_columns(&self, start: usize, len: usize) -> impl Iterator<Item = &[f32]> {
        let strips = self.values.chunks_exact(self.rows * self.width);
        strips.skip(start / self.width).take(len / self.width)
    }
}

/// Values in a vector.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// `target[r, strip] += sum over k of left[r, k] strip[k]` for [`ROWS`] rows and at most [`DEPTH`] `k`.
///
/// `target` has rows of the given stride, and begins at the first column of the strip.
#[inline(always)]
pub(super) fn add_product<S: Simd>(
    simd: S,
    left: &[[f32; DEPTH]],
    strip: &[f32],
    target: &mut [f32],
    stride: usize,
) {
    // As many rows as leave registers for a row of the strip and a broadcast value.
    if S::REGISTER_COUNT >= 32 {
        add_product_by::<S, 12>(simd, left, strip, target, stride);
    } else {
        add_product_by::<S, 6>(simd, left, strip, target, stride);
    }
}

#[inline(always)]
fn add_product_by<S: Simd, const DOWN: usize>(
    simd: S,
    left: &[[f32; DEPTH]],
    strip: &[f32],
    target: &mut [f32],
    stride: usize,
) {
    let (strip, _) = S::as_simd_f32s(strip);
    let (strip, _) = pulp::as_arrays::<ACROSS, _>(strip);
    let (groups, _) = left.as_chunks::<DOWN>();
    for (group, target) in groups.iter().zip(target.chunks_mut(DOWN * stride)) {
        let sums = tile(simd, group, strip);
        for (sums, target) in sums.iter().zip(target.chunks_mut(stride)) {
            let (target, _) = S::as_mut_simd_f32s(&mut target[..ACROSS * S::F32_LANES]);
            for (target, &sum) in target.iter_mut().zip(sums) {
                *target = simd.add_f32s(*target, sum);
            }
        }
    }
}

/// A row of the strip is multiplied by a value of each row on the left, for each `k`.
#[inline(always)]
fn tile<S: Simd, const DOWN: usize>(
    simd: S,
    left: &[[f32; DEPTH]; DOWN],
    strip: &[[S::f32s; ACROSS]],
) -> [[S::f32s; ACROSS]; DOWN] {
    let mut sums = [[simd.splat_f32s(0.0); ACROSS]; DOWN];
    for (k, vectors) in strip[..strip.len().min(DEPTH)].iter().enumerate() {
        for (row, sums) in left.iter().zip(&mut sums) {
            let value = simd.splat_f32s(row[k]);
            for (sum, &vector) in sums.iter_mut().zip(vectors) {
                *sum = simd.mul_add_e_f32s(value, vector, *sum);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A product of integers, which has one result in any order.
    struct Check {
        depth: usize,
    }

    impl WithSimd for Check {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            let width = ACROSS * S::F32_LANES;
            let stride = width + 3;
            let mut left = vec![[0.0; DEPTH]; ROWS];
            for (n, value) in left.as_flattened_mut().iter_mut().enumerate() {
                *value = (n * 7 % 13) as f32 - 6.0;
            }
            let strip: Vec<f32> = (0..self.depth * width).map(|n| (n * 5 % 11) as f32 - 5.0).collect();
            let mut target = vec![1.0; ROWS * stride];
            add_product(simd, &left, &strip, &mut target, stride);
            for (row, target) in left.iter().zip(target.chunks_exact(stride)) {
                for (column, &value) in target.iter().enumerate() {
                    let right = strip.chunks_exact(width).filter_map(|values| values.get(column));
                    let expected: f32 = row.iter().zip(right).map(|(left, right)| left * right).sum();
                    assert_eq!(value, 1.0 + expected, "{simd:?}, column {column}");
                }
            }
        }
    }

    #[test]
    fn products_are_exact_on_every_instruction_set() {
        for depth in [1, 5, DEPTH] {
            Simd::vectorize(pulp::Scalar::new(), Check { depth });
            #[cfg(target_arch = "x86_64")]
            if let Some(simd) = pulp::x86::V3::try_new() {
                Simd::vectorize(simd, Check { depth });
            }
            Arch::new().dispatch(Check { depth });
        }
    }

    #[test]
    fn strips_hold_the_matrix_and_zeros() {
        let arch = Arch::new();
        let (rows, columns) = (3, 2 * ACROSS * arch.dispatch(Lanes) + 1);
        let strips = Strips::new(arch, rows, columns, |row, column| (1 + row * columns + column) as f32);
        assert_eq!(strips.padded_columns(), 3 * strips.width);
        for (index, strip) in strips.of_columns(0, 3 * strips.width).enumerate() {
            for (place, &value) in strip.iter().enumerate() {
                let (row, column) = (place / strips.width, index * strips.width + place % strips.width);
                let expected = if column < columns { (1 + row * columns + column) as f32 } else { 0.0 };
                assert_eq!(value, expected);
            }
        }
        assert_eq!(strips.of_columns(2 * strips.width, strips.width).count(), 1);
        assert!(strips.of_rows(1, 9).all(|strip| strip.len() == 2 * strips.width));
    }
}
