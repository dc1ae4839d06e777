//! Distances from Gaussians that each have a covariance of their own, in f32.
//!
//! Some dozens of images are brought to unit length, centred and whitened while they stay in the innermost
//! cache, and of the whitening matrices, which are triangular, the half that is zero is left out.

use nalgebra::DMatrix;
use pulp::{Simd, WithSimd};

use super::{Shape, VECTORS};
use crate::mahalanobis::split::two_parts;
use crate::mahalanobis::whitening::FAR;

/// Rows of a whitening matrix that are multiplied in one pass over a block.
const OUTPUTS: usize = 4;

/// The Gaussian of a (class, auxiliary class).
pub(super) struct Cluster {
    /// `[dim]`
    mean: Vec<Pair>,
    /// [`OUTPUTS`] rows at a time, column by column, up to the diagonal.
    whitening: Vec<[f32; OUTPUTS]>,
}

impl Cluster {
    pub(super) fn new(mean: &[f64], matrix: &DMatrix<f64>) -> Self {
        let dim = mean.len();
        let entry = |row: usize, column| if row < dim { matrix[(row, column)] as f32 } else { 0.0 };
        let strip = |first: usize| {
            (0..dim.min(first + OUTPUTS))
                .map(move |column| std::array::from_fn(|row| entry(first + row, column)))
        };
        let whitening = (0..dim).step_by(OUTPUTS).flat_map(strip).collect();
        Self { mean: mean.iter().map(|&mean| Pair::new(mean)).collect(), whitening }
    }
}

/// A number of twice f32's precision, as the f32 next to it and what is missing. The difference of two of
/// them is as good as if computed in f64: whitening a tight cluster blows up what is lost there.
#[derive(Clone, Copy)]
struct Pair {
    near: f32,
    rest: f32,
}

impl Pair {
    #[inline(always)]
    fn new(value: f64) -> Self {
        let (near, rest) = two_parts(value);
        Self { near, rest }
    }
}

/// Memory of a thread.
#[derive(Default)]
pub(super) struct PerClassScratch {
    /// `[dim, VECTORS * lanes]`
    embeddings: Vec<f32>,
    /// What `embeddings` lacks: the second halves of pairs, `[dim, VECTORS * lanes]`.
    rests: Vec<f32>,
    /// `[dim, VECTORS * lanes]`
    centred: Vec<f32>,
    /// `[VECTORS * lanes]`
    factors: Vec<f64>,
    /// `[VECTORS * lanes]`
    lengths: Vec<f32>,
}

/// The images that fit into the vectors, or what is left of them at the end.
pub(super) struct Block<'a> {
    pub(super) shape: Shape,
    /// `[aux_classes, classes]`
    pub(super) clusters: &'a [Cluster],
    pub(super) view_aux: &'a [usize],
    /// `[images, views, dim]`
    pub(super) embeddings: &'a [f32],
    /// `[images, views, classes]`
    pub(super) squared: &'a mut [f32],
    pub(super) scratch: &'a mut PerClassScratch,
}

impl WithSimd for Block<'_> {
    /// Whether all embeddings have distances.
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let Self { shape, clusters, view_aux, embeddings, squared, scratch } = self;
        let Shape { classes, dim, normalize } = shape;
        let PerClassScratch { embeddings: block, rests, centred, factors, lengths } = scratch;
        let (views, width) = (view_aux.len(), VECTORS * S::F32_LANES);
        let images = embeddings.len() / (views * dim);
        block.resize(dim * width, 0.0);
        rests.resize(dim * width, 0.0);
        centred.resize(dim * width, 0.0);
        factors.resize(width, 0.0);
        lengths.resize(width, 0.0);
        for (view, &aux) in view_aux.iter().enumerate() {
            // [images, dim] -> [dim, width]; what is left over at the end repeats the first image.
            for lane in 0..width {
                let image = if lane < images { lane } else { 0 };
                let row = &embeddings[(image * views + view) * dim..][..dim];
                for (to, &value) in block.iter_mut().skip(lane).step_by(width).zip(row) {
                    *to = value;
                }
            }
            if !scale(block, rests, factors, normalize) {
                return false;
            }
            for (class, cluster) in clusters[aux * classes..][..classes].iter().enumerate() {
                centre(simd, centred, block, rests, &cluster.mean);
                let squares = squared_lengths(simd, centred, &cluster.whitening, dim);
                S::as_mut_simd_f32s(lengths).0.copy_from_slice(&squares);
                for (image, &length) in lengths[..images].iter().enumerate() {
                    squared[(image * views + view) * classes + class] = length;
                }
            }
        }
        true
    }
}

/// Brings each column of `[dim, width]` to unit length, or else below [`FAR`]; false if one has no distance.
#[inline(always)]
fn scale(block: &mut [f32], rests: &mut [f32], factors: &mut [f64], normalize: bool) -> bool {
    factors.fill(0.0);
    for row in block.chunks_exact(factors.len()) {
        for (sum, &value) in factors.iter_mut().zip(row) {
            // The squares of any f32 but zero are normal numbers in f64: no overflow, no underflow.
            *sum += f64::from(value) * f64::from(value);
        }
    }
    let sound = factors.iter().all(|&sum| sum.is_finite() && (sum > 0.0 || !normalize));
    if !normalize {
        block.iter_mut().for_each(|value| *value = value.clamp(-FAR, FAR));
        return sound;
    }
    factors.iter_mut().for_each(|sum| *sum = sum.sqrt().recip());
    for (row, rests) in block.chunks_exact_mut(factors.len()).zip(rests.chunks_exact_mut(factors.len())) {
        for ((value, rest), factor) in row.iter_mut().zip(rests).zip(&*factors) {
            let pair = Pair::new(f64::from(*value) * factor);
            (*value, *rest) = (pair.near, pair.rest);
        }
    }
    sound
}

/// `[dim, width]` without the mean.
#[inline(always)]
fn centre<S: Simd>(simd: S, centred: &mut [f32], block: &[f32], rests: &[f32], mean: &[Pair]) {
    let (centred, _) = pulp::as_arrays_mut::<VECTORS, _>(S::as_mut_simd_f32s(centred).0);
    let (block, _) = pulp::as_arrays::<VECTORS, _>(S::as_simd_f32s(block).0);
    let (rests, _) = pulp::as_arrays::<VECTORS, _>(S::as_simd_f32s(rests).0);
    for (((centred, block), rests), mean) in centred.iter_mut().zip(block).zip(rests).zip(mean) {
        let (near, rest) = (simd.splat_f32s(mean.near), simd.splat_f32s(mean.rest));
        for ((centred, &value), &missing) in centred.iter_mut().zip(block).zip(rests) {
            *centred = simd.add_f32s(simd.sub_f32s(value, near), simd.sub_f32s(missing, rest));
        }
    }
}

/// |W x|² for each column x of `centred`, `[dim, width]`.
#[inline(always)]
fn squared_lengths<S: Simd>(
    simd: S,
    centred: &[f32],
    mut whitening: &[[f32; OUTPUTS]],
    dim: usize,
) -> [S::f32s; VECTORS] {
    let (centred, _) = pulp::as_arrays::<VECTORS, _>(S::as_simd_f32s(centred).0);
    let mut lengths = [simd.splat_f32s(0.0); VECTORS];
    for first in (0..dim).step_by(OUTPUTS) {
        let (strip, rest) = whitening.split_at(dim.min(first + OUTPUTS));
        whitening = rest;
        let mut white = [[simd.splat_f32s(0.0); VECTORS]; OUTPUTS];
        for (weights, x) in strip.iter().zip(centred) {
            for (white, &weight) in white.iter_mut().zip(weights) {
                let weight = simd.splat_f32s(weight);
                for (white, &x) in white.iter_mut().zip(x) {
                    *white = simd.mul_add_e_f32s(weight, x, *white);
                }
            }
        }
        for white in white {
            for (length, white) in lengths.iter_mut().zip(white) {
                *length = simd.mul_add_e_f32s(white, white, *length);
            }
        }
    }
    lengths
}
