//! Mahalanobis distances on Burn's CPU backend, flex, several times faster than by tensor operations.
//!
//! A vector register holds one number of neighbouring images. Some dozens of images are brought to unit length, centred
//! and whitened while they stay in the innermost cache, and of the whitening matrices, which are triangular, the half
//! that is zero is left out.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::TensorData;
use nalgebra::DMatrix;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::MahalanobisRecord;
use crate::gaussians::{FAR, two_parts};

/// Vectors of images in a block: as many as leave registers for the sums of [`OUTPUTS`] rows, of which AVX2 has 16.
const VECTORS: usize = 2;

/// Blocks of images that are read from a tensor together.
const READ: usize = 4;

/// Rows of a whitening matrix that are multiplied in one pass over a block.
const OUTPUTS: usize = 4;

/// The Gaussians of a scorer, in the order in which they are read.
#[derive(Clone)]
pub(crate) struct HostGaussians {
    classes: usize,
    dim: usize,
    normalize: bool,
    /// `[aux_classes, classes]`
    clusters: Arc<Vec<Cluster>>,
}

struct Cluster {
    /// `[dim]`
    mean: Vec<Pair>,
    /// [`OUTPUTS`] rows at a time, column by column, up to the diagonal.
    whitening: Vec<[f32; OUTPUTS]>,
}

/// A number of twice f32's precision, as the f32 next to it and what is missing. The difference of two of them is as good as
/// if computed in f64: whitening a tight cluster blows up what is lost there.
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

impl HostGaussians {
    /// `whitenings` has those of each auxiliary class.
    pub(crate) fn new(record: &MahalanobisRecord, whitenings: &[Vec<DMatrix<f64>>]) -> Self {
        let &MahalanobisRecord { classes, aux_classes, dim, .. } = record;
        let mut clusters = Vec::with_capacity(classes * aux_classes);
        for (aux, whitenings) in whitenings.iter().enumerate() {
            for class in 0..classes {
                let mean = &record.means[(class * aux_classes + aux) * dim..][..dim];
                let matrix = &whitenings[class.min(whitenings.len() - 1)];
                let entry = |row: usize, column| if row < dim { matrix[(row, column)] as f32 } else { 0.0 };
                let strip = |first: usize| {
                    (0..dim.min(first + OUTPUTS))
                        .map(move |column| std::array::from_fn(|row| entry(first + row, column)))
                };
                let whitening = (0..dim).step_by(OUTPUTS).flat_map(strip).collect();
                clusters
                    .push(Cluster { mean: mean.iter().map(|&mean| Pair::new(mean)).collect(), whitening });
            }
        }
        Self { classes, dim, normalize: record.config.normalize, clusters: Arc::new(clusters) }
    }

    /// d² of the embeddings of some images: `[images, views, classes]`, where `embeddings` reads those of a range of
    /// images, `[range, views, dim]`. `None` if one of them has no distance: it is not finite, or zero and is to be
    /// brought to unit length.
    pub(crate) fn squared_distances(
        &self,
        images: usize,
        view_aux: &[usize],
        embeddings: impl Fn(Range<usize>) -> TensorData + Sync,
    ) -> Option<Vec<f32>> {
        self.squared_distances_on(pulp::Arch::new(), images, view_aux, embeddings)
    }

    /// By the vectors of `arch`.
    fn squared_distances_on(
        &self,
        arch: pulp::Arch,
        images: usize,
        view_aux: &[usize],
        embeddings: impl Fn(Range<usize>) -> TensorData + Sync,
    ) -> Option<Vec<f32>> {
        let (views, lanes) = (view_aux.len(), VECTORS * arch.dispatch(Lanes));
        let mut squared = vec![0.0; images * views * self.classes];
        let sound = squared.par_chunks_mut(READ * lanes * views * self.classes).enumerate().map_init(
            Scratch::default,
            |scratch, (chunk, squared)| {
                let first = chunk * READ * lanes;
                let embeddings = embeddings(first..images.min(first + READ * lanes));
                let Ok(embeddings) = embeddings.as_slice() else { return false };
                let blocks = squared.chunks_mut(lanes * views * self.classes);
                blocks.zip(embeddings.chunks(lanes * views * self.dim)).all(|(squared, embeddings)| {
                    arch.dispatch(Block { gaussians: self, view_aux, embeddings, squared, scratch })
                })
            },
        );
        sound.all(|sound| sound).then_some(squared)
    }
}

/// Numbers in a vector of this machine.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> usize {
        S::F32_LANES
    }
}

/// Memory of a thread.
#[derive(Default)]
struct Scratch {
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
struct Block<'a> {
    gaussians: &'a HostGaussians,
    view_aux: &'a [usize],
    /// `[images, views, dim]`
    embeddings: &'a [f32],
    /// `[images, views, classes]`
    squared: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl WithSimd for Block<'_> {
    /// Whether all embeddings have distances.
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let Self { gaussians, view_aux, embeddings, squared, scratch } = self;
        let &HostGaussians { classes, dim, normalize, ref clusters } = gaussians;
        let Scratch { embeddings: block, rests, centred, factors, lengths } = scratch;
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

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};

    use super::*;
    use crate::MahalanobisConfig;
    use crate::gaussians::whitenings;

    #[test]
    fn narrower_vectors_do_not_matter() {
        let (classes, images, dim) = (3, 70, 9);
        let random =
            |rows| Tensor::<2>::random([rows, dim], Distribution::Default, &Device::flex()).into_data();
        let config = MahalanobisConfig::new();
        let mut statistics = config.statistics(classes, 1, dim);
        for class in 0..classes {
            statistics.update(random(40).as_slice().unwrap(), &[class; 40], &[0; 40]).unwrap();
        }
        let record = crate::covariance::estimate(&statistics, &config).unwrap();
        let gaussians = HostGaussians::new(&record, &[whitenings(&record, 0).unwrap()]);
        let embeddings: Vec<f32> = random(images).iter().collect();
        let read = |range: Range<usize>| {
            TensorData::new(embeddings[range.start * dim..range.end * dim].to_vec(), [range.len(), 1, dim])
        };
        let on = |arch| gaussians.squared_distances_on(arch, images, &[0], read).unwrap();
        let widest = on(pulp::Arch::new());
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
        let mut narrower = vec![pulp::Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        narrower.extend(pulp::x86::V3::try_new().map(pulp::Arch::V3));
        for arch in narrower {
            for (narrow, wide) in on(arch).iter().zip(&widest) {
                assert!((narrow - wide).abs() <= 1e-5 * wide, "{narrow} {wide} by {arch:?}");
            }
        }
    }
}
