//! Numbers as sums of two f32, for products and differences that keep more digits than one f32 has.
//!
//! Whitening a tight cluster is a product whose terms cancel, and CUDA rounds the factors of an f32 product
//! to TF32, 11 significant bits: scores would be off by percents. So each factor is split into a part of 11
//! bits, which TF32 keeps, and the rest, and three products are added:
//!
//! ```text
//! x W = x_high W_high + (x_high W_low + x_low W_high) + 2^-24 of it
//! ```

use burn::tensor::{Device, Tensor};
use nalgebra::DMatrix;

use crate::tensor::f32_tensor;

/// Centred embeddings are cut off here, far beyond all that is told apart: [`split`] multiplies them by 8193.
const FARTHEST: f32 = 1e34;

/// Transposed whitening matrices, `[matrices, dim, dim]`, in two parts of which the first has 11 significant
/// bits.
#[derive(Clone)]
pub(crate) struct Whitenings {
    high: Tensor<3>,
    low: Tensor<3>,
}

impl Whitenings {
    pub(crate) fn new(matrices: &[DMatrix<f64>], dim: usize, device: &Device) -> Self {
        // Column-major W, read row by row, is Wᵀ.
        let transposed = matrices.iter().flat_map(|whitening| whitening.iter().copied());
        let (high, low) = transposed.map(short_and_rest).unzip();
        let shape = [matrices.len(), dim, dim];
        Self { high: f32_tensor(high, shape, device), low: f32_tensor(low, shape, device) }
    }

    /// W x of each row x of `centred`, `[1 or matrices, rows, dim]`, to the precision of f32 even if the
    /// device rounds the factors of a product to TF32.
    pub(crate) fn whiten(&self, centred: Tensor<3>) -> Tensor<3> {
        self.whiten_by(centred, Tensor::matmul)
    }

    fn whiten_by(
        &self,
        centred: Tensor<3>,
        product: impl Fn(Tensor<3>, Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let (high, low) = split(centred);
        let corrections = product(high.clone(), self.low.clone()) + product(low, self.high.clone());
        product(high, self.high.clone()) + corrections
    }
}

/// Numbers in two parts whose sum has about twice the digits of an f32.
///
/// Subtracting a mean rounded to f32 would leave an error that the whitening of a tight cluster blows up;
/// `x - high` is rounded relative to the (small) difference itself.
#[derive(Clone)]
pub(crate) struct Pairs<const D: usize> {
    pub(crate) high: Tensor<D>,
    pub(crate) low: Tensor<D>,
}

impl<const D: usize> Pairs<D> {
    pub(crate) fn new(values: impl Iterator<Item = f64>, shape: [usize; D], device: &Device) -> Self {
        let (high, low) = values.map(two_parts).unzip();
        Self { high: f32_tensor(high, shape, device), low: f32_tensor(low, shape, device) }
    }
}

/// Numbers as sums of one with 11 significant bits and what it lacks, exactly (Veltkamp, 1968).
///
/// A compiler may fuse the product by 8192 with the sum, since it is exact. One that takes the sums for those
/// of real numbers would leave the high part as it came and nothing for the low one: no worse than a single
/// product.
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
    use crate::mahalanobis::covariance::estimate;
    use crate::mahalanobis::whitening::{FAR, whitening_of};

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
        let record = estimate(&statistics, &config).unwrap();
        let whitening = whitening_of(&record, 0, 0).unwrap();
        let device = Device::flex();
        let means = Pairs::new(record.means.iter().copied(), [1, 1, dim], &device);
        let whitenings = Whitenings::new(std::slice::from_ref(&whitening), dim, &device);

        let values: Vec<f32> = (0..rows).flat_map(|_| sample()).collect();
        let exact = values.chunks(dim).map(|x| {
            let x = x.iter().zip(&record.means).map(|(&x, &mean)| f64::from(x) - mean);
            (&whitening * nalgebra::DVector::from_iterator(dim, x)).norm_squared()
        });
        let centred = f32_tensor(values.clone(), [1, rows, dim], &device) - means.high - means.low;
        let rounded = |a: Tensor<3>, b: Tensor<3>| tf32(a).matmul(tf32(b));
        let of = |white: Tensor<3>| white.square().sum_dim(2).into_data();
        let (three, whole) = (
            of(whitenings.whiten_by(centred.clone(), rounded)),
            of(rounded(centred, whitenings.high.clone() + whitenings.low.clone())),
        );
        let (mut worst, mut worst_of_one) = (0.0f64, 0.0f64);
        for ((exact, three), one) in exact.zip(three.iter::<f64>()).zip(whole.iter::<f64>()) {
            worst = worst.max((three - exact).abs() / exact);
            worst_of_one = worst_of_one.max((one - exact).abs() / exact);
        }
        assert!(worst < 1e-5 && worst_of_one > 1e-3, "{worst} {worst_of_one}");
    }
}
