//! The loops over pairs: a tile of rows against all views, block by block.

use core::ops::AddAssign;

use pulp::{Arch, Simd, WithSimd};

use super::{
    exponential::exp,
    labels::{Columns, Label, Labels, Weights},
    product::{DEPTH, ROWS, Strips, add_product},
};

/// Sums in turn, whatever the width of vectors; a power of two.
const LANES: usize = 16;

/// The unit rows in the orders in which products read them.
#[derive(Debug)]
pub(super) struct PaddedRows<'a> {
    /// `[views, dim]`
    unit: &'a [f32],
    dim: usize,
    /// `[dim, views]`, to be the right side of similarities.
    columns: Strips,
    arch: Arch,
}

impl<'a> PaddedRows<'a> {
    pub(super) fn new(unit: &'a [f32], dim: usize, arch: Arch) -> Self {
        let columns = Strips::new(arch, dim, unit.len() / dim, |k, view| unit[view * dim + k]);
        Self { unit, dim, columns, arch }
    }

    fn len(&self) -> usize {
        self.unit.len() / self.dim
    }

    /// `[views, dim]`, to be the right side of gradients.
    pub(super) fn rows(&self) -> Strips {
        Strips::new(self.arch, self.len(), self.dim, |view, k| self.unit[view * self.dim + k])
    }
}

/// Memory for one tile at a time.
#[derive(Debug)]
pub(super) struct Scratch {
    /// `[dim / DEPTH, ROWS, DEPTH]`, zero beyond the last view and the last dimension.
    rows: Vec<[f32; DEPTH]>,
    /// `[ROWS, DEPTH]`, a block of pairs.
    pairs: Vec<[f32; DEPTH]>,
    /// `[ROWS, dim in whole strips]`
    gradient: Vec<f32>,
}

impl Scratch {
    pub(super) fn new(dim: usize, padded_dim: usize) -> Self {
        Self {
            rows: vec![[0.0; DEPTH]; ROWS * dim.div_ceil(DEPTH)],
            pairs: vec![[0.0; DEPTH]; ROWS],
            gradient: vec![0.0; ROWS * padded_dim],
        }
    }

    /// Takes the tile that begins with view `start`.
    fn load(&mut self, views: &PaddedRows<'_>, start: usize) {
        self.rows.fill([0.0; DEPTH]);
        for (index, row) in views.unit[start * views.dim..].chunks_exact(views.dim).take(ROWS).enumerate() {
            for (part, values) in row.chunks(DEPTH).enumerate() {
                self.rows[part * ROWS + index][..values.len()].copy_from_slice(values);
            }
        }
    }

    /// Similarities of the tile to the views from `start` on.
    #[inline(always)]
    fn similarities<S: Simd>(&mut self, simd: S, views: &PaddedRows<'_>, start: usize) {
        self.pairs.fill([0.0; DEPTH]);
        let pairs = self.pairs.as_flattened_mut();
        let width = views.columns.width;
        for (strip, at) in views.columns.of_columns(start, DEPTH).zip((0..).step_by(width)) {
            for (rows, strip) in self.rows.chunks_exact(ROWS).zip(strip.chunks(DEPTH * width)) {
                add_product(simd, rows, strip, &mut pairs[at..], DEPTH);
            }
        }
    }
}

/// The sums of one view over others.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    /// `sum_k exp(m(i, k) sim(i, k))` over views of other images.
    pub(super) others: f64,
    /// Sum of the similarities to its positives.
    pub(super) attraction: f64,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.others += other.others;
        self.attraction += other.attraction;
    }
}

/// Adds a tile's pairs with each other and with later views to the sums of both.
pub(super) struct SumTile<'a> {
    pub(super) views: &'a PaddedRows<'a>,
    pub(super) labels: &'a Labels,
    /// First view of the tile.
    pub(super) start: usize,
    pub(super) scratch: &'a mut Scratch,
    /// Of all views.
    pub(super) sums: &'a mut [Sums],
}

impl WithSimd for SumTile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { views, labels, start, scratch, sums } = self;
        scratch.load(views, start);
        let first_strip = start / views.columns.width * views.columns.width;
        for block in (first_strip..views.len()).step_by(DEPTH) {
            scratch.similarities(simd, views, block);
            let columns = labels.columns(block..views.len().min(block + DEPTH));
            let earlier = start.saturating_sub(block);
            let mut of_columns = [[0.0; DEPTH]; 2];
            for (pairs, view) in scratch.pairs.iter_mut().zip(start..views.len()) {
                sums[view] += sum(pairs, labels.of(view), columns, labels.weights, earlier, &mut of_columns);
            }
            let [others, attraction] = of_columns;
            let later = (start + ROWS).saturating_sub(block).min(DEPTH);
            let of_columns = others.into_iter().zip(attraction).skip(later);
            for (sums, (others, attraction)) in sums.iter_mut().skip(block + later).zip(of_columns) {
                *sums += Sums { others: others.into(), attraction: attraction.into() };
            }
        }
    }
}

/// The sums of a row over a block, without the first `earlier` columns; the pairs are added to the sums of
/// the columns.
#[inline(always)]
fn sum(
    pairs: &mut [f32; DEPTH],
    row: Label,
    columns: Columns<'_>,
    weights: Weights,
    earlier: usize,
    [others, attraction]: &mut [[f32; DEPTH]; 2],
) -> Sums {
    let mut positives = [0.0; DEPTH];
    let (of_views, beyond) = pairs.split_at_mut(columns.class.len());
    beyond.fill(0.0);
    let columns = columns.class.iter().zip(columns.label).zip(columns.image);
    for ((pair, positive), ((&class, &label), &image)) in of_views.iter_mut().zip(&mut positives).zip(columns)
    {
        let similarity = *pair;
        let exponential = exp(weight(weights, row, class, label) * floored(weights, similarity));
        let elsewhere = image != row.image;
        *pair = if elsewhere { exponential } else { 0.0 };
        *positive = if elsewhere && label == row.label { similarity } else { 0.0 };
    }
    add(others, pairs);
    add(attraction, &positives);
    pairs[..earlier].fill(0.0);
    positives[..earlier].fill(0.0);
    Sums { others: total(pairs), attraction: total(&positives) }
}

#[inline(always)]
fn add(sums: &mut [f32; DEPTH], values: &[f32; DEPTH]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

/// In an order that vectors keep.
#[inline(always)]
fn total(values: &[f32; DEPTH]) -> f64 {
    let mut sums = [0.0; LANES];
    let (chunks, _) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    f64::from(sums[0])
}

/// Slopes of what is differentiated, by view.
#[derive(Debug)]
pub(super) struct Slopes {
    /// Towards the sum over other images.
    pub(super) others: Vec<f32>,
    /// Towards each similarity to a positive.
    pub(super) attraction: Vec<f32>,
}

/// Computes the gradient of a tile towards its rows.
pub(super) struct GradientTile<'a> {
    pub(super) views: &'a PaddedRows<'a>,
    /// [`PaddedRows::rows`]
    pub(super) rows: &'a Strips,
    pub(super) labels: &'a Labels,
    pub(super) slopes: &'a Slopes,
    /// First view of the tile.
    pub(super) start: usize,
    pub(super) scratch: &'a mut Scratch,
    /// `[rows of the tile, dim]`
    pub(super) gradient: &'a mut [f32],
}

impl WithSimd for GradientTile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { views, rows, labels, slopes, start, scratch, gradient } = self;
        let stride = rows.padded_columns();
        scratch.load(views, start);
        scratch.gradient.fill(0.0);
        for block in (0..views.len()).step_by(DEPTH) {
            scratch.similarities(simd, views, block);
            let range = block..views.len().min(block + DEPTH);
            let columns = labels.columns(range.clone());
            let slopes_of_columns = [&slopes.others[range.clone()], &slopes.attraction[range]];
            for (pairs, view) in scratch.pairs.iter_mut().zip(start..views.len()) {
                let slopes_of_row = [slopes.others[view], slopes.attraction[view]];
                differentiate(
                    pairs,
                    labels.of(view),
                    columns,
                    labels.weights,
                    slopes_of_row,
                    slopes_of_columns,
                );
            }
            for (strip, at) in rows.of_rows(block, DEPTH).zip((0..).step_by(rows.width)) {
                add_product(simd, &scratch.pairs, strip, &mut scratch.gradient[at..], stride);
            }
        }
        for (gradient, sums) in
            gradient.chunks_exact_mut(views.dim).zip(scratch.gradient.chunks_exact(stride))
        {
            gradient.copy_from_slice(&sums[..views.dim]);
        }
    }
}

/// Turns the similarities of a row into the derivatives towards them, those of the row and of the column
/// together: masks and similarities are symmetric, and so a pair counts in the sums of both.
#[inline(always)]
fn differentiate(
    pairs: &mut [f32],
    row: Label,
    columns: Columns<'_>,
    weights: Weights,
    [others, attraction]: [f32; 2],
    [others_of_columns, attraction_of_columns]: [&[f32]; 2],
) {
    let columns = columns.class.iter().zip(columns.label).zip(columns.image);
    let slopes = others_of_columns.iter().zip(attraction_of_columns);
    for ((pair, ((&class, &label), &image)), (&others_of_column, &attraction_of_column)) in
        pairs.iter_mut().zip(columns).zip(slopes)
    {
        let similarity = *pair;
        let weight = weight(weights, row, class, label);
        let exponential = exp(weight * floored(weights, similarity));
        let repulsion = weight * exponential * (others + others_of_column);
        let attraction = if label == row.label { attraction + attraction_of_column } else { 0.0 };
        let constant = image == row.image || similarity <= weights.floor;
        *pair = if constant { 0.0 } else { repulsion + attraction };
    }
}

/// The mask `m`.
#[inline(always)]
fn weight(weights: Weights, row: Label, class: u32, label: u32) -> f32 {
    let weight = if class == row.class { weights.same_class } else { weights.other_class };
    if label == row.label { weights.same_label } else { weight }
}

/// Not `f32::max`, which would turn NaN into the floor.
#[inline(always)]
fn floored(weights: Weights, similarity: f32) -> f32 {
    if similarity <= weights.floor { weights.floor } else { similarity }
}
