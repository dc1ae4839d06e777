//! Distances from Gaussians that share a covariance, in f64: an embedding is whitened once, and compared with
//! the whitened mean of each class.
//!
//! Whitening stretches a tight cluster by up to 30,000, so that the whitened points are long against the
//! distance between them: f32 would lose four digits in the difference.

use nalgebra::{DMatrix, DVectorView};
use pulp::{Simd, WithSimd};

use super::{Shape, VECTORS};
use crate::mahalanobis::whitening::FAR;

/// Rows of the whitening matrix, or classes, that are taken in one pass over a block.
const OUTPUTS: usize = 4;

/// The Gaussians of all classes for one auxiliary class.
pub(super) struct Classes {
    /// [`OUTPUTS`] rows at a time, column by column, up to the diagonal.
    whitening: Vec<[f64; OUTPUTS]>,
    /// Whitened means of [`OUTPUTS`] classes at a time, `[classes / OUTPUTS, dim]`.
    means: Vec<[f64; OUTPUTS]>,
}

impl Classes {
    pub(super) fn new<'a>(means: impl Iterator<Item = &'a [f64]>, matrix: &DMatrix<f64>) -> Self {
        let dim = matrix.nrows();
        let entry = |row: usize, column| if row < dim { matrix[(row, column)] } else { 0.0 };
        let strip = |first: usize| {
            (0..dim.min(first + OUTPUTS))
                .map(move |column| std::array::from_fn(|row| entry(first + row, column)))
        };
        let whitening = (0..dim).step_by(OUTPUTS).flat_map(strip).collect();
        let white: Vec<_> = means.map(|mean| matrix * DVectorView::from_slice(mean, dim)).collect();
        let of_classes = |classes: &[nalgebra::DVector<f64>]| {
            let at = |i: usize| std::array::from_fn(|class| classes.get(class).map_or(0.0, |mean| mean[i]));
            (0..dim).map(at).collect::<Vec<_>>()
        };
        Self { whitening, means: white.chunks(OUTPUTS).flat_map(of_classes).collect() }
    }
}

/// Memory of a thread.
#[derive(Default)]
pub(super) struct TiedScratch {
    /// `[dim, VECTORS * lanes]`
    embeddings: Vec<f64>,
    /// `[dim, VECTORS * lanes]`
    white: Vec<f64>,
    /// `[VECTORS * lanes]`
    factors: Vec<f64>,
    /// `[VECTORS * lanes]`
    lengths: Vec<f64>,
}

/// The images that fit into the vectors, or what is left of them at the end.
pub(super) struct Block<'a> {
    pub(super) shape: Shape,
    /// `[aux_classes]`
    pub(super) classes: &'a [Classes],
    pub(super) view_aux: &'a [usize],
    /// `[images, views, dim]`
    pub(super) embeddings: &'a [f32],
    /// `[images, views, classes]`
    pub(super) squared: &'a mut [f32],
    pub(super) scratch: &'a mut TiedScratch,
}

impl WithSimd for Block<'_> {
    /// Whether all embeddings have distances.
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let Self { shape, classes: of_aux, view_aux, embeddings, squared, scratch } = self;
        let Shape { classes, dim, normalize } = shape;
        let TiedScratch { embeddings: block, white, factors, lengths } = scratch;
        let (views, width) = (view_aux.len(), VECTORS * S::F64_LANES);
        let images = embeddings.len() / (views * dim);
        block.resize(dim * width, 0.0);
        white.resize(dim * width, 0.0);
        factors.resize(width, 0.0);
        lengths.resize(width, 0.0);
        for (view, &aux) in view_aux.iter().enumerate() {
            // [images, dim] -> [dim, width]; what is left over at the end repeats the first image.
            for lane in 0..width {
                let image = if lane < images { lane } else { 0 };
                let row = &embeddings[(image * views + view) * dim..][..dim];
                for (to, &value) in block.iter_mut().skip(lane).step_by(width).zip(row) {
                    *to = f64::from(value);
                }
            }
            if !scale(block, factors, normalize) {
                return false;
            }
            let Classes { whitening, means } = &of_aux[aux];
            whiten(simd, block, whitening, white, dim);
            for (strip, means) in means.chunks_exact(dim).enumerate() {
                let squares = squared_distances(simd, white, means);
                for (class, squares) in (strip * OUTPUTS..classes).zip(squares) {
                    S::as_mut_simd_f64s(lengths).0.copy_from_slice(&squares);
                    for (image, &length) in lengths[..images].iter().enumerate() {
                        squared[(image * views + view) * classes + class] = length as f32;
                    }
                }
            }
        }
        true
    }
}

/// Brings each column of `[dim, width]` to unit length, or else below [`FAR`]; false if one has no distance.
#[inline(always)]
fn scale(block: &mut [f64], factors: &mut [f64], normalize: bool) -> bool {
    factors.fill(0.0);
    for row in block.chunks_exact(factors.len()) {
        for (sum, &value) in factors.iter_mut().zip(row) {
            // The squares of any f32 but zero are normal numbers in f64: no overflow, no underflow.
            *sum += value * value;
        }
    }
    let sound = factors.iter().all(|&sum| sum.is_finite() && (sum > 0.0 || !normalize));
    if !normalize {
        block.iter_mut().for_each(|value| *value = value.clamp(-f64::from(FAR), f64::from(FAR)));
        return sound;
    }
    factors.iter_mut().for_each(|sum| *sum = sum.sqrt().recip());
    for row in block.chunks_exact_mut(factors.len()) {
        row.iter_mut().zip(&*factors).for_each(|(value, factor)| *value *= factor);
    }
    sound
}

/// W x for each column x of `block`, `[dim, width]` -> `[dim, width]`.
#[inline(always)]
fn whiten<S: Simd>(simd: S, block: &[f64], mut whitening: &[[f64; OUTPUTS]], white: &mut [f64], dim: usize) {
    let (block, _) = pulp::as_arrays::<VECTORS, _>(S::as_simd_f64s(block).0);
    let (white, _) = pulp::as_arrays_mut::<VECTORS, _>(S::as_mut_simd_f64s(white).0);
    for (first, white) in (0..dim).step_by(OUTPUTS).zip(white.chunks_mut(OUTPUTS)) {
        let (strip, rest) = whitening.split_at(dim.min(first + OUTPUTS));
        whitening = rest;
        let mut sums = [[simd.splat_f64s(0.0); VECTORS]; OUTPUTS];
        for (weights, x) in strip.iter().zip(block) {
            for (sums, &weight) in sums.iter_mut().zip(weights) {
                let weight = simd.splat_f64s(weight);
                for (sum, &x) in sums.iter_mut().zip(x) {
                    *sum = simd.mul_add_e_f64s(weight, x, *sum);
                }
            }
        }
        white.copy_from_slice(&sums[..white.len()]);
    }
}

/// |white - mean|² for each column of `white`, `[dim, width]`, and each of the classes of `means`, `[dim]`.
#[inline(always)]
fn squared_distances<S: Simd>(
    simd: S,
    white: &[f64],
    means: &[[f64; OUTPUTS]],
) -> [[S::f64s; VECTORS]; OUTPUTS] {
    let (white, _) = pulp::as_arrays::<VECTORS, _>(S::as_simd_f64s(white).0);
    let mut squares = [[simd.splat_f64s(0.0); VECTORS]; OUTPUTS];
    for (white, means) in white.iter().zip(means) {
        for (squares, &mean) in squares.iter_mut().zip(means) {
            let mean = simd.splat_f64s(mean);
            for (square, &white) in squares.iter_mut().zip(white) {
                let difference = simd.sub_f64s(white, mean);
                *square = simd.mul_add_e_f64s(difference, difference, *square);
            }
        }
    }
    squares
}
