//! Class Gaussians as tensors: Mahalanobis distances on any device.
//!
//! Whitening a tight cluster is a product whose terms cancel, and CUDA rounds the factors of an f32 product to TF32,
//! 11 significant bits: scores would be off by percents. So each factor is split into a part of 11 bits, which TF32
//! keeps, and the rest, and three products are added:
//!
//! ```text
//! x W = x_high W_high + (x_high W_low + x_low W_high) + 2^-24 of it
//! ```

use core::ops::Range;

use burn::tensor::{Device, Tensor};
use nalgebra::DMatrix;

use crate::tensor::f32_tensor;
use crate::whitening::whitening;
use crate::{Cluster, Covariance, InferError, MahalanobisRecord};

/// Raw embeddings are cut off here. Nothing this far is told apart: it is 1000 standard deviations from any mean, or more.
pub(crate) const FAR: f32 = 1e18;

/// No mean and no standard deviation is larger, and no entry of a whitening matrix: [`FAR`] leaves room around each
/// Gaussian, and is whitened without overflow.
const LARGEST: f64 = 1e15;

/// Centred embeddings are cut off here, far beyond [`FAR`]: [`split`] multiplies them by 8193.
const FARTHEST: f32 = 1e34;

/// The Gaussians of all classes for one auxiliary class, on the device.
#[derive(Clone)]
pub(crate) struct Gaussians {
    /// The means in two parts whose sum has about twice the digits of an f32, both [classes, 1, dim].
    /// Subtracting a mean rounded to f32 would leave an error that the whitening of a tight cluster blows up;
    /// `x - mean_high` is rounded relative to the (small) difference itself.
    mean_high: Tensor<3>,
    mean_low: Tensor<3>,
    /// Transposed whitening matrices, [classes, dim, dim], or [1, dim, dim] when all classes share one, in two parts
    /// of which the first has 11 significant bits.
    whitening_high: Tensor<3>,
    whitening_low: Tensor<3>,
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
        let transposed = whitenings.iter().flat_map(|whitening| whitening.iter().copied());
        let (whitening_high, whitening_low) = transposed.map(short_and_rest).unzip();

        Self {
            mean_high: f32_tensor(mean_high, [classes, 1, dim], device),
            mean_low: f32_tensor(mean_low, [classes, 1, dim], device),
            whitening_high: f32_tensor(whitening_high, [matrices, dim, dim], device),
            whitening_low: f32_tensor(whitening_low, [matrices, dim, dim], device),
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
        let white = self.whiten(centred, Tensor::matmul); // [classes, rows, dim]
        white.square().sum_dim(2).permute([1, 2, 0])
    }

    /// W x of each row, to the precision of f32 even if `product` rounds its factors to TF32.
    fn whiten(&self, centred: Tensor<3>, product: impl Fn(Tensor<3>, Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        let (high, low) = split(centred);
        let corrections =
            product(high.clone(), self.whitening_low.clone()) + product(low, self.whitening_high.clone());
        product(high, self.whitening_high.clone()) + corrections
    }
}

/// W = L⁻¹ of the Gaussians of one auxiliary class: one for each class, or one for all when they share a covariance.
pub(crate) fn whitenings(record: &MahalanobisRecord, aux: usize) -> Result<Vec<DMatrix<f64>>, InferError> {
    let &MahalanobisRecord { classes, aux_classes, dim, .. } = record;
    let covariance = |class| &record.covariances[(class * aux_classes + aux) * dim * dim..][..dim * dim];
    let shared = (1..classes).all(|class| covariance(class) == covariance(0));
    let pooled = shared && record.config.covariance == Covariance::Tied;
    for class in 0..classes {
        let mean = &record.means[(class * aux_classes + aux) * dim..][..dim];
        in_range(Cluster { class: Some(class), aux }, mean.iter().copied())?;
    }
    (0..if shared { 1 } else { classes })
        .map(|class| {
            let cluster = Cluster { class: (!pooled).then_some(class), aux };
            let covariance = DMatrix::from_row_slice(dim, dim, covariance(class));
            let ridge = record.config.ridge;
            let whitening =
                whitening(&covariance).ok_or(InferError::NotPositiveDefinite { cluster, ridge })?;
            let variances = covariance.diagonal();
            in_range(
                cluster,
                variances.iter().map(|variance| variance.sqrt()).chain(whitening.iter().copied()),
            )?;
            Ok(whitening)
        })
        .collect()
}

/// Refuses values above [`LARGEST`].
fn in_range(cluster: Cluster, mut values: impl Iterator<Item = f64>) -> Result<(), InferError> {
    match values.find(|value| value.abs() > LARGEST) {
        None => Ok(()),
        Some(value) => Err(InferError::ScaleOutOfRange { cluster, value }),
    }
}

/// Numbers as sums of one with 11 significant bits and what it lacks, exactly (Veltkamp, 1968).
///
/// A compiler may fuse the product by 8192 with the sum, since it is exact. One that takes the sums for those of real
/// numbers would leave the high part as it came and nothing for the low one: no worse than a single product.
fn split(values: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    let values = values.clamp(-FARTHEST, FARTHEST);
    let scaled = values.clone().mul_scalar(8192.0) + values.clone();
    let high = scaled.clone() + (values.clone() - scaled);
    let low = values - high.clone();
    (high, low)
}

/// A number as the sum of an f32 with 11 significant bits and another f32.
fn short_and_rest(value: f64) -> (f32, f32) {
    const LAST_BIT: u32 = 1 << 13; // of the 11; an f32 has 24
    let rounded = (value as f32).to_bits().saturating_add(LAST_BIT / 2) & !(LAST_BIT - 1);
    let high = f32::from_bits(rounded);
    (high, (value - f64::from(high)) as f32)
}

/// A number as the sum of the f32 next to it and another f32, what is missing.
#[inline(always)] // for the vectors of the loops on the host
pub(crate) fn two_parts(value: f64) -> (f32, f32) {
    let high = value as f32;
    (high, (value - f64::from(high)) as f32)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::MahalanobisConfig;

    /// As CUDA rounds the factors of a product.
    fn tf32(tensor: Tensor<3>) -> Tensor<3> {
        let (shape, device) = (tensor.dims(), tensor.device());
        let values: Vec<f32> =
            tensor.into_data().iter::<f32>().map(|value| short_and_rest(value.into()).0).collect();
        f32_tensor(values, shape, &device)
    }

    #[test]
    fn split_is_exact_and_the_high_part_survives_tf32() {
        let device = Device::flex();
        let rng = &mut ChaCha8Rng::seed_from_u64(2);
        let random: Vec<f32> = (0..2000).map(|_| rng.random_range(-2.0..2.0)).collect();
        let random = Tensor::<1>::from_floats(random.as_slice(), &device).reshape([1, 40, 50]);
        let extremes = Tensor::from_data([[[0.0, FAR, -FAR, 1e-20, 1.0, -1.5, f32::MAX]]], &device);
        for values in [random, extremes] {
            let (high, low) = split(values.clone());
            tf32(high.clone()).into_data().assert_eq(&high.clone().into_data(), true);
            let limit = low.clone().abs().lower_equal(high.clone().abs() / 2048.0);
            assert!(limit.all().into_scalar::<bool>());
            let whole = values.clamp(-FARTHEST, FARTHEST).into_data();
            (high + low).into_data().assert_eq(&whole, true);
        }
    }

    /// Features that hang together to one part in 50: the terms of the whitening cancel down to that.
    #[test]
    fn rounded_factors_do_not_show_in_the_distances() {
        let (dim, rows) = (8, 64);
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let mut sample = || -> Vec<f32> {
            let common = rng.random_range(-0.05f32..0.05);
            (0..dim).map(|_| common + rng.random_range(-1e-3f32..1e-3)).collect()
        };
        let config = MahalanobisConfig::new().with_normalize(false).with_ridge(0.0);
        let mut statistics = config.statistics(1, 1, dim);
        for _ in 0..50 {
            statistics.update(&sample(), &[0], &[0]).unwrap();
        }
        let record = crate::covariance::estimate(&statistics, &config).unwrap();
        let whitenings = whitenings(&record, 0).unwrap();
        let device = Device::flex();
        let gaussians = Gaussians::new(&record, 0, &whitenings, &device);

        let values: Vec<f32> = (0..rows).flat_map(|_| sample()).collect();
        let exact = values.chunks(dim).map(|x| {
            let x = x.iter().zip(&record.means).map(|(&x, &mean)| f64::from(x) - mean);
            (&whitenings[0] * nalgebra::DVector::from_iterator(dim, x)).norm_squared()
        });
        let centred = f32_tensor(values.clone(), [1, rows, dim], &device)
            - gaussians.mean_high.clone()
            - gaussians.mean_low.clone();
        let rounded = |a: Tensor<3>, b: Tensor<3>| tf32(a).matmul(tf32(b));
        let of = |white: Tensor<3>| white.square().sum_dim(2).into_data();
        let (three, whole) = (
            of(gaussians.whiten(centred.clone(), rounded)),
            of(rounded(centred, gaussians.whitening_high.clone() + gaussians.whitening_low.clone())),
        );
        let (mut worst, mut worst_of_one) = (0.0f64, 0.0f64);
        for ((exact, three), one) in exact.zip(three.iter::<f64>()).zip(whole.iter::<f64>()) {
            worst = worst.max((three - exact).abs() / exact);
            worst_of_one = worst_of_one.max((one - exact).abs() / exact);
        }
        assert!(worst < 1e-5 && worst_of_one > 1e-3, "{worst} {worst_of_one}");
    }
}
