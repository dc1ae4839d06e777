//! Shrinkage of a covariance towards a multiple of the identity: the oracle approximating estimator (OAS) of Chen, Wiesel,
//! Eldar and Hero, IEEE Transactions on Signal Processing 58(10), 2010.

use burn::config::Config;
use nalgebra::DMatrix;

/// How the covariance S of n samples in p dimensions is shrunk.
///
/// ```text
/// (1 - w) S + w (tr S / p) I
/// ```
///
/// The eigenvalues of S spread wider than those of the true covariance: the less samples, the wider. A Mahalanobis distance
/// divides by them, so that the smallest, which are the worst, count most. Shrinkage draws all eigenvalues towards their
/// mean, and makes any S invertible.
#[derive(Config, Debug, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shrinkage {
    /// The covariance as it is.
    None,

    /// The oracle approximating weight (Eq. 23 of its paper), least squares for Gaussian samples; n counts the degrees of
    /// freedom.
    ///
    /// ```text
    /// w = min(1, ((1 - 2/p) tr(S²) + tr(S)²) / ((n + 1 - 2/p) (tr(S²) - tr(S)² / p)))
    /// ```
    Oas,
}

// `derive(Config)` copies the attributes of the variants to where `#[default]` is unknown.
#[expect(clippy::derivable_impls)]
impl Default for Shrinkage {
    fn default() -> Self {
        Self::None
    }
}

impl Shrinkage {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// The weight of the identity, from 0 to 1, for a symmetric covariance with `freedom` degrees of freedom.
    pub(crate) fn weight(self, covariance: &DMatrix<f64>, freedom: u64) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Oas => {
                let (p, n) = (covariance.nrows() as f64, freedom as f64);
                let (squares, square) = (covariance.norm_squared(), covariance.trace().powi(2));
                let spread = (n + 1.0 - 2.0 / p) * (squares - square / p);
                let weight = ((1.0 - 2.0 / p) * squares + square) / spread;
                // All eigenvalues equal: nothing to shrink, and 0 or a rounding below it under the line.
                if spread > 0.0 { weight.min(1.0) } else { 1.0 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::Rng;

    /// Normal numbers, by the sum of twelve uniform ones.
    fn normal(rng: &mut ChaCha8Rng) -> f64 {
        (0..12).map(|_| f64::from(rng.next_u32()) / f64::from(u32::MAX)).sum::<f64>() - 6.0
    }

    fn sample_covariance(scales: &[f64], n: usize, rng: &mut ChaCha8Rng) -> DMatrix<f64> {
        let p = scales.len();
        let samples = DMatrix::from_fn(p, n, |row, _| scales[row] * normal(rng));
        let mean = samples.column_mean();
        let centred = DMatrix::from_fn(p, n, |row, column| samples[(row, column)] - mean[row]);
        &centred * centred.transpose() / (n as f64 - 1.0)
    }

    fn shrunk(covariance: &DMatrix<f64>, weight: f64) -> DMatrix<f64> {
        let p = covariance.nrows();
        covariance * (1.0 - weight) + DMatrix::identity(p, p) * (weight * covariance.trace() / p as f64)
    }

    #[test]
    fn by_hand() {
        // p = 2: the first summand above the line vanishes. tr S = 4, tr S² = 10, n = 9:
        // 16 / (9 (10 - 8)) = 8/9.
        let covariance = DMatrix::from_row_slice(2, 2, &[3.0, 0.0, 0.0, 1.0]);
        assert!((Shrinkage::Oas.weight(&covariance, 9) - 8.0 / 9.0).abs() < 1e-15);
        assert_eq!(Shrinkage::None.weight(&covariance, 9), 0.0);
        assert_eq!(Shrinkage::Oas.weight(&covariance, 1), 1.0);
        for p in [1, 3] {
            assert_eq!(Shrinkage::Oas.weight(&DMatrix::identity(p, p), 1000), 1.0, "{p} equal eigenvalues");
        }
    }

    #[test]
    fn many_samples_are_let_be() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let covariance = sample_covariance(&[1.0, 2.0, 3.0, 4.0], 20_000, rng);
        let weight = Shrinkage::Oas.weight(&covariance, 19_999);
        assert!(weight > 0.0 && weight < 1e-3, "{weight}");
    }

    /// The weight brings the covariance near the true one: nearer than S, and within a fifth of the squared error of the best
    /// weight, which nobody knows beforehand.
    #[test]
    fn the_weight_is_near_the_best_one() {
        let rng = &mut ChaCha8Rng::seed_from_u64(2);
        let scales: Vec<f64> = (0..12).map(|i| 0.5 + 0.25 * f64::from(i)).collect();
        let truth =
            DMatrix::from_fn(12, 12, |row, column| if row == column { scales[row].powi(2) } else { 0.0 });
        for n in [8, 14, 40] {
            let (mut own, mut oas, mut grid) = (0.0, 0.0, [0.0; 21]);
            for _ in 0..200 {
                let covariance = sample_covariance(&scales, n, rng);
                let loss = |weight: f64| (shrunk(&covariance, weight) - &truth).norm_squared();
                own += loss(0.0);
                oas += loss(Shrinkage::Oas.weight(&covariance, n as u64 - 1));
                grid.iter_mut().enumerate().for_each(|(i, sum)| *sum += loss(i as f64 / 20.0));
            }
            let best = grid.iter().copied().fold(f64::INFINITY, f64::min);
            assert!(
                oas < 0.8 * own && oas < 1.2 * best,
                "{n} samples: {oas} by OAS, {own} plain, {best} at best"
            );
        }
    }

    #[test]
    fn the_weight_knows_no_scale() {
        let rng = &mut ChaCha8Rng::seed_from_u64(3);
        let covariance = sample_covariance(&[1.0, 0.1, 0.5], 9, rng);
        let weight = Shrinkage::Oas.weight(&covariance, 8);
        for scale in [1e-12, 1e9] {
            assert!((Shrinkage::Oas.weight(&(&covariance * scale), 8) - weight).abs() < 1e-12);
        }
    }
}
