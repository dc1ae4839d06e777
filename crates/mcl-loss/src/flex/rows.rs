//! The loops over pairs: a tile of rows against all views, block by block.

use pulp::{Simd, WithSimd};

use super::{
    exponential::exp,
    labels::{Columns, Label, Labels, Weights},
    product::{ROWS, Strips, add_product},
};

/// Columns of a block: with the rows of a tile, what stays in the cache of a core.
const COLUMNS: usize = 256;
/// Sums in turn: a vector on any machine, so that the order of additions is the same on all.
const LANES: usize = 16;

/// The unit rows in the orders in which products read them.
#[derive(Debug)]
pub(super) struct Views<'a> {
    /// `[views, dim]`
    unit: &'a [f32],
    dim: usize,
    /// `[dim, views]`, to be the right side of similarities.
    columns: Strips,
}

impl<'a> Views<'a> {
    pub(super) fn new(unit: &'a [f32], dim: usize) -> Self {
        let columns = Strips::new(dim, unit.len() / dim, |k, view| unit[view * dim + k]);
        Self { unit, dim, columns }
    }

    fn len(&self) -> usize {
        self.unit.len() / self.dim
    }

    /// `[views, dim]`, to be the right side of gradients.
    pub(super) fn rows(&self) -> Strips {
        Strips::new(self.len(), self.dim, |view, k| self.unit[view * self.dim + k])
    }
}

/// Memory for one tile at a time.
#[derive(Debug)]
pub(super) struct Scratch {
    /// `[ROWS, dim]`, zero beyond the last view.
    rows: Vec<f32>,
    /// `[ROWS, COLUMNS]`
    pairs: Vec<f32>,
    /// `[ROWS, dim in whole strips]`
    gradient: Vec<f32>,
}

impl Scratch {
    pub(super) fn new(dim: usize, padded_dim: usize) -> Self {
        Self {
            rows: vec![0.0; ROWS * dim],
            pairs: vec![0.0; ROWS * COLUMNS],
            gradient: vec![0.0; ROWS * padded_dim],
        }
    }

    /// Takes the tile that begins with view `start`.
    fn load(&mut self, views: &Views<'_>, start: usize) {
        let values = &views.unit[start * views.dim..];
        let values = &values[..values.len().min(self.rows.len())];
        self.rows[..values.len()].copy_from_slice(values);
        self.rows[values.len()..].fill(0.0);
    }

    /// Similarities of the tile to the views from `start` on.
    #[inline(always)]
    fn similarities<S: Simd>(&mut self, simd: S, views: &Views<'_>, start: usize) {
        self.pairs.fill(0.0);
        let places = (0..COLUMNS).step_by(views.columns.width);
        for (strip, at) in views.columns.of_columns(start, COLUMNS).zip(places) {
            add_product(simd, (&self.rows, views.dim), strip, (&mut self.pairs[at..], COLUMNS));
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

/// Computes the sums of a tile.
pub(super) struct SumTile<'a> {
    pub(super) views: &'a Views<'a>,
    pub(super) labels: &'a Labels,
    /// First view of the tile.
    pub(super) start: usize,
    pub(super) scratch: &'a mut Scratch,
    pub(super) sums: &'a mut [Sums],
}

impl WithSimd for SumTile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { views, labels, start, scratch, sums } = self;
        scratch.load(views, start);
        for block in (0..views.len()).step_by(COLUMNS) {
            scratch.similarities(simd, views, block);
            let columns = labels.columns(block..views.len().min(block + COLUMNS));
            for ((sums, similarities), view) in
                sums.iter_mut().zip(scratch.pairs.chunks_exact(COLUMNS)).zip(start..)
            {
                let [others, attraction] = sum(similarities, labels.of(view), columns, labels.weights);
                sums.others += f64::from(others);
                sums.attraction += f64::from(attraction);
            }
        }
    }
}

/// The sums of a row over a block.
#[inline(always)]
fn sum(similarities: &[f32], row: Label, columns: Columns<'_>, weights: Weights) -> [f32; 2] {
    let (mut others, mut attraction) = ([0.0; LANES], [0.0; LANES]);
    let mut add = |lane: usize, similarity: f32, class: u32, label: u32, image: u32| {
        let weight = weight(weights, row, class, label);
        let elsewhere = image != row.image;
        let exponential = exp(weight * floored(weights, similarity));
        others[lane] += if elsewhere { exponential } else { 0.0 };
        attraction[lane] += if elsewhere && label == row.label { similarity } else { 0.0 };
    };
    let similarities = &similarities[..columns.class.len()];
    let (similarities, last_similarities) = similarities.as_chunks::<LANES>();
    let (class, last_class) = columns.class.as_chunks::<LANES>();
    let (label, last_label) = columns.label.as_chunks::<LANES>();
    let (image, last_image) = columns.image.as_chunks::<LANES>();
    for (((similarity, class), label), image) in similarities.iter().zip(class).zip(label).zip(image) {
        for lane in 0..LANES {
            add(lane, similarity[lane], class[lane], label[lane], image[lane]);
        }
    }
    for lane in 0..last_similarities.len() {
        add(lane, last_similarities[lane], last_class[lane], last_label[lane], last_image[lane]);
    }
    [others.iter().sum(), attraction.iter().sum()]
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
    pub(super) views: &'a Views<'a>,
    /// [`Views::rows`]
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
        for block in (0..views.len()).step_by(COLUMNS) {
            scratch.similarities(simd, views, block);
            let range = block..views.len().min(block + COLUMNS);
            let columns = labels.columns(range.clone());
            let slopes_of_columns = [&slopes.others[range.clone()], &slopes.attraction[range]];
            for (pairs, view) in scratch.pairs.chunks_exact_mut(COLUMNS).zip(start..views.len()) {
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
            for (strip, at) in rows.of_rows(block, COLUMNS).zip((0..).step_by(rows.width)) {
                add_product(simd, (&scratch.pairs, COLUMNS), strip, (&mut scratch.gradient[at..], stride));
            }
        }
        for (gradient, sums) in
            gradient.chunks_exact_mut(views.dim).zip(scratch.gradient.chunks_exact(stride))
        {
            gradient.copy_from_slice(&sums[..views.dim]);
        }
    }
}

/// Turns the similarities of a row into the derivatives towards them, those of the row and of the column together:
/// masks and similarities are symmetric, and so a pair counts in the sums of both.
#[inline(always)]
fn differentiate(
    pairs: &mut [f32],
    row: Label,
    columns: Columns<'_>,
    weights: Weights,
    [others, attraction]: [f32; 2],
    [others_of_columns, attraction_of_columns]: [&[f32]; 2],
) {
    let slope = |similarity: f32, index: usize| {
        let label = columns.label[index];
        let weight = weight(weights, row, columns.class[index], label);
        let exponential = exp(weight * floored(weights, similarity));
        let repulsion = weight * exponential * (others + others_of_columns[index]);
        let attraction =
            if label == row.label { attraction + attraction_of_columns[index] } else { 0.0 };
        let constant = columns.image[index] == row.image || similarity <= weights.floor;
        if constant { 0.0 } else { repulsion + attraction }
    };
    for (index, pair) in pairs[..columns.class.len()].iter_mut().enumerate() {
        *pair = slope(*pair, index);
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
