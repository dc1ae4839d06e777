//! Class Gaussians as tensors: Mahalanobis distances on any device.

use core::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::DMatrix;

use crate::MahalanobisRecord;
use crate::error::{Cluster, InferError};
use crate::whitening::whitening;

/// Raw embeddings are cut off here. Nothing this far is told apart anyway, as d² overflows f32 already at
/// 2e19, and below it no intermediate result overflows.
pub(crate) const FAR: f32 = 1e18;

/// The Gaussians of all classes for one auxiliary class, on the device.
#[derive(Clone)]
pub(crate) struct Gaussians {
    /// The means in two parts whose sum has about twice the digits of an f32, both [classes, 1, dim].
    /// Subtracting a mean rounded to f32 would leave an error that the whitening of a tight cluster blows up;
    /// `x - mean_high` is rounded relative to the (small) difference itself.
    mean_high: Tensor<3>,
    mean_low: Tensor<3>,
    /// Transposed whitening matrices, [classes, dim, dim], or [1, dim, dim] when all classes share one.
    whitening: Tensor<3>,
}

impl Gaussians {
    /// `whitenings` are those of `aux`.
    pub(crate) fn new(
        record: &MahalanobisRecord,
        aux: usize,
        whitenings: &[DMatrix<f64>],
        device: &Device,
    ) -> Self {
        let &MahalanobisRecord { classes, aux_classes, dim, .. } = record;
        let mean = |class| &record.means[(class * aux_classes + aux) * dim..][..dim];

        let means = (0..classes).flat_map(mean).copied();
        let (mean_high, mean_low) = means.map(two_parts).unzip();

        let matrices = whitenings.len();
        // Column-major W, read row by row, is Wᵀ.
        let transposed = whitenings.iter().flat_map(|whitening| whitening.iter().map(|&value| value as f32));

        let tensor =
            |values: Vec<f32>, shape: [usize; 3]| Tensor::from_data(TensorData::new(values, shape), device);
        Self {
            mean_high: tensor(mean_high, [classes, 1, dim]),
            mean_low: tensor(mean_low, [classes, 1, dim]),
            whitening: tensor(transposed.collect(), [matrices, dim, dim]),
        }
    }

    /// d² of the given images for one view: [images, views, dim] -> [rows, 1, classes].
    pub(crate) fn squared_distances(
        &self,
        embeddings: &Tensor<3>,
        rows: Range<usize>,
        view: usize,
    ) -> Tensor<3> {
        let x = embeddings.clone().slice([rows, view..view + 1]).swap_dims(0, 1); // [1, rows, dim]
        let centred = x - self.mean_high.clone() - self.mean_low.clone(); // [classes, rows, dim]
        let white = centred.matmul(self.whitening.clone()); // [classes, rows, dim]
        white.square().sum_dim(2).permute([1, 2, 0])
    }
}

/// W = L⁻¹ of the Gaussians of one auxiliary class: one for each class, or one for all when they share a covariance.
pub(crate) fn whitenings(record: &MahalanobisRecord, aux: usize) -> Result<Vec<DMatrix<f64>>, InferError> {
    let &MahalanobisRecord { classes, aux_classes, dim, .. } = record;
    let covariance = |class| &record.covariances[(class * aux_classes + aux) * dim * dim..][..dim * dim];
    let shared = (1..classes).all(|class| covariance(class) == covariance(0));
    (0..if shared { 1 } else { classes })
        .map(|class| {
            let covariance = DMatrix::from_row_slice(dim, dim, covariance(class));
            whitening(&covariance).ok_or_else(|| InferError::NotPositiveDefinite {
                cluster: Cluster { class: (!shared || classes == 1).then_some(class), aux },
                ridge: record.config.ridge,
            })
        })
        .collect()
}

/// A number as the sum of two f32.
fn two_parts(value: f64) -> (f32, f32) {
    let high = value as f32;
    (high, (value - f64::from(high)) as f32)
}
