//! Class Gaussians with one covariance as tensors: an embedding is whitened twice, however many classes there
//! are.
//!
//! With a common W the distance from class c is that of whitened points, `|W x - W μ_c|`. In f32 that
//! difference loses its digits: W stretches by up to 30,000, and both points are long against the distance
//! between them. So the embedding is whitened around the mean μ_r of the nearest class r, which a first,
//! rough pass finds:
//!
//! ```text
//! W (x - μ_c) = W (x - μ_r) + (W μ_r - W μ_c)
//! ```
//!
//! Neither term is longer than about twice the sum, so the sum keeps its digits; `W μ` is computed in f64 and
//! kept in two parts.

use core::ops::Range;

use burn::tensor::{Device, Tensor};
use nalgebra::{DVector, DVectorView};

use super::gaussians::class_chunk;
use super::record::MahalanobisRecord;
use super::split::{Pairs, Whitenings};
use super::whitening::whitening_of;
use crate::error::InferError;

/// The Gaussians of all classes for one auxiliary class, which share a covariance, on the device.
#[derive(Clone)]
pub(crate) struct TiedGaussians {
    /// `[1, dim, dim]`
    whitening: Whitenings,
    /// Mean of the classes' means, `[1, 1, dim]`.
    centre: Pairs<3>,
    /// `[classes, dim]`
    means: Pairs<2>,
    /// W (μ - centre), `[1, classes, dim]`.
    white_means: Pairs<3>,
}

impl TiedGaussians {
    pub(crate) fn new(record: &MahalanobisRecord, aux: usize, device: &Device) -> Result<Self, InferError> {
        let &MahalanobisRecord { classes, dim, .. } = record;
        let whitening = whitening_of(record, 0, aux)?;
        let mean = |class| DVectorView::from_slice(record.mean(class, aux), dim);
        let centre = (0..classes).fold(DVector::zeros(dim), |sum, class| sum + mean(class)) / classes as f64;
        let means = (0..classes).flat_map(|class| record.mean(class, aux)).copied();
        let white: Vec<f64> = (0..classes)
            .flat_map(|class| (&whitening * (mean(class) - &centre)).data.as_vec().clone())
            .collect();
        Ok(Self {
            whitening: Whitenings::new(&[whitening], dim, device),
            centre: Pairs::new(centre.iter().copied(), [1, 1, dim], device),
            means: Pairs::new(means, [classes, dim], device),
            white_means: Pairs::new(white.into_iter(), [1, classes, dim], device),
        })
    }

    /// d² of the given images for one view: `[images, views, dim]` -> `[rows, 1, classes]`.
    pub(crate) fn squared_distances(
        &self,
        embeddings: &Tensor<3>,
        rows: Range<usize>,
        view: usize,
    ) -> Tensor<3> {
        let x = embeddings.clone().slice([rows, view..view + 1]).swap_dims(0, 1); // [1, rows, dim]
        // [1, rows, dim] -> [rows, 1, dim]
        let white = |centred| self.whitening.whiten(centred).swap_dims(0, 1);

        let rough = white(x.clone() - self.centre.high.clone() - self.centre.low.clone());
        let nearest = self.by_class(|classes| rough.clone() - of(&self.white_means.high, classes));
        let nearest = nearest.argmin(2).flatten::<1>(0, 2); // [rows]

        // [1, rows, dim]
        let mean = |part: &Tensor<2>| part.clone().select(0, nearest.clone()).unsqueeze_dim(0);
        let near = white(x - mean(&self.means.high) - mean(&self.means.low));
        // [rows, 1, dim]
        let white_mean = |part: &Tensor<3>| part.clone().select(1, nearest.clone()).swap_dims(0, 1);
        let (high, low) = (white_mean(&self.white_means.high), white_mean(&self.white_means.low));
        self.by_class(|classes| {
            let high = high.clone() - of(&self.white_means.high, classes.clone());
            let low = low.clone() - of(&self.white_means.low, classes);
            near.clone() + (high + low)
        })
    }

    /// |difference|² of each row from each class: `difference` makes `[rows, classes, dim]` for a range of classes.
    fn by_class(&self, difference: impl Fn(Range<usize>) -> Tensor<3>) -> Tensor<3> {
        let [classes, dim] = self.means.high.dims();
        let chunk = |start| {
            let of_chunk = start..classes.min(start + class_chunk(dim));
            difference(of_chunk).square().sum_dim(2).swap_dims(1, 2) // [rows, 1, classes]
        };
        Tensor::cat((0..classes).step_by(class_chunk(dim)).map(chunk).collect(), 2)
    }
}

/// Some classes of `[1, classes, dim]`.
fn of(part: &Tensor<3>, classes: Range<usize>) -> Tensor<3> {
    part.clone().slice_dim(1, classes)
}
