//! Rows to unit length, as [`Views`](crate::similarity::Views) has them, in one pass each way.

use burn::backend::TensorMetadata;
use rayon::prelude::*;

use super::flat::{Flat, dense, tensor, values};
use super::product::ROWS;

/// Sums in turn.
const LANES: usize = 16;

/// The unit rows and what their gradient needs.
#[derive(Debug, Clone)]
pub(super) struct UnitRows {
    /// `[views, dim]`
    pub(super) unit: Flat,
    lengths: Vec<Length>,
}

/// The length of a row in two factors, whose product may overflow.
#[derive(Debug, Clone, Copy)]
struct Length {
    /// Its largest magnitude.
    magnitude: f32,
    /// The length of the row divided by that; infinite for a row that has vanished.
    norm: f32,
}

impl UnitRows {
    pub(super) fn new(rows: &Flat) -> Self {
        let [views, dim] = rows.shape().dims();
        let rows = dense(rows);
        let mut unit = vec![0.0; views * dim];
        let mut lengths = vec![Length { magnitude: 1.0, norm: f32::INFINITY }; views];
        let tiles = unit.par_chunks_mut(ROWS * dim).zip(lengths.par_chunks_mut(ROWS));
        tiles.zip(values(&rows).par_chunks(ROWS * dim)).for_each(|((unit, lengths), rows)| {
            let of_tile = unit.chunks_exact_mut(dim).zip(lengths).zip(rows.chunks_exact(dim));
            for ((unit, length), row) in of_tile {
                *length = normalize(row, unit);
            }
        });
        Self { unit: tensor(unit, [views, dim]), lengths }
    }

    /// `d row = (d unit - (d unit . unit) unit) / |row|`
    pub(super) fn backward(&self, d_unit: &Flat) -> Flat {
        let [views, dim] = self.unit.shape().dims();
        let d_unit = dense(d_unit);
        let mut d_rows = vec![0.0; views * dim];
        let tiles = d_rows.par_chunks_mut(ROWS * dim).zip(values(&self.unit).par_chunks(ROWS * dim));
        tiles.zip(values(&d_unit).par_chunks(ROWS * dim)).zip(self.lengths.par_chunks(ROWS)).for_each(
            |(((d_rows, unit), d_unit), lengths)| {
                let rows = d_rows.chunks_exact_mut(dim).zip(unit.chunks_exact(dim));
                for (((d_row, unit), d_unit), length) in rows.zip(d_unit.chunks_exact(dim)).zip(lengths) {
                    let along = dot(unit, d_unit);
                    for ((d_row, unit), d_unit) in d_row.iter_mut().zip(unit).zip(d_unit) {
                        *d_row = (d_unit - along * unit) / length.norm / length.magnitude;
                    }
                }
            },
        );
        tensor(d_rows, [views, dim])
    }
}

fn normalize(row: &[f32], unit: &mut [f32]) -> Length {
    // Of a row of NaN this is 0; its norm is NaN then.
    let magnitude = row.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let vanished = magnitude < f32::MIN_POSITIVE && row.iter().all(|value| !value.is_nan());
    let magnitude = if magnitude < f32::MIN_POSITIVE { 1.0 } else { magnitude };
    for (unit, value) in unit.iter_mut().zip(row) {
        *unit = value / magnitude;
    }
    let norm = if vanished { f32::INFINITY } else { dot(unit, unit).sqrt() };
    for unit in unit {
        *unit /= norm;
    }
    Length { magnitude, norm }
}

pub(super) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let (left, last_left) = left.as_chunks::<LANES>();
    let (right, last_right) = right.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    let last = last_left.iter().zip(last_right).map(|(left, right)| left * right);
    sums.into_iter().chain(last).sum()
}
