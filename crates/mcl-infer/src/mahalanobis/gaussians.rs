//! Class Gaussians as tensors: Mahalanobis distances on any device.

use core::ops::Range;

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::record::MahalanobisRecord;
use super::split::{Pairs, Whitenings};
use super::whitening::whitening_of;
use crate::error::InferError;

/// Numbers in the largest intermediate tensor, `[classes, images, dim]`: images, and classes where they are
/// many, are taken in chunks of that size, so that memory does not grow with their number. 1 MiB stays in a
/// core's cache, which on CPUs is several times as fast as whatever leaves it; on GPUs the launches of 10,000
/// images come to some milliseconds.
const CHUNK_NUMBERS: usize = 1 << 18;

/// Images in the smallest chunk: fewer make poor matrix products.
const CHUNK_IMAGES: usize = 64;

/// Classes whose Gaussians go through one product.
pub(crate) fn class_chunk(dim: usize) -> usize {
    (CHUNK_NUMBERS / (CHUNK_IMAGES * dim)).max(1)
}

/// Images that are scored at once.
pub(crate) fn image_chunk(classes: usize, dim: usize) -> usize {
    // A multiple of 8, which is what matrix kernels are best at.
    (CHUNK_NUMBERS / (classes.min(class_chunk(dim)) * dim) / 8 * 8).max(CHUNK_IMAGES)
}

/// The Gaussians of all classes for one auxiliary class, each with a covariance of its own, on the device.
#[derive(Clone)]
pub(crate) struct Gaussians {
    /// [`class_chunk`] classes each.
    chunks: Vec<Chunk>,
}

#[derive(Clone)]
struct Chunk {
    /// `[classes, 1, dim]`
    means: Pairs<3>,
    /// `[classes, dim, dim]`
    whitenings: Whitenings,
}

impl Gaussians {
    pub(crate) fn new(record: &MahalanobisRecord, aux: usize, device: &Device) -> Result<Self, InferError> {
        let &MahalanobisRecord { classes, dim, .. } = record;
        let chunk = |start| {
            let of_chunk = start..classes.min(start + class_chunk(dim));
            let whitenings: Vec<_> =
                of_chunk.clone().into_par_iter().map(|class| whitening_of(record, class, aux)).collect();
            let whitenings = whitenings.into_iter().collect::<Result<Vec<_>, _>>()?; // the first error
            let means = of_chunk.clone().flat_map(|class| record.mean(class, aux)).copied();
            Ok(Chunk {
                means: Pairs::new(means, [of_chunk.len(), 1, dim], device),
                whitenings: Whitenings::new(&whitenings, dim, device),
            })
        };
        Ok(Self { chunks: (0..classes).step_by(class_chunk(dim)).map(chunk).collect::<Result<_, _>>()? })
    }

    /// d² of the given images for one view: `[images, views, dim]` -> `[rows, 1, classes]`.
    pub(crate) fn squared_distances(
        &self,
        embeddings: &Tensor<3>,
        rows: Range<usize>,
        view: usize,
    ) -> Tensor<3> {
        let x = embeddings.clone().slice([rows, view..view + 1]).swap_dims(0, 1); // [1, rows, dim]
        let of_chunk = |Chunk { means, whitenings }: &Chunk| {
            let centred = x.clone() - means.high.clone() - means.low.clone(); // [classes, rows, dim]
            let white = whitenings.whiten(centred); // [classes, rows, dim]
            white.square().sum_dim(2).permute([1, 2, 0])
        };
        Tensor::cat(self.chunks.iter().map(of_chunk).collect(), 2)
    }
}
