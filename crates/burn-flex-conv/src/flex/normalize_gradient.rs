//! The gradients of batch normalisation and activation.
//!
//! With `g` the gradient of `v` (see `normalize.rs`), `x = (y - mean) / sqrt(variance + epsilon)` and means
//! over images and positions:
//!
//! ```text
//! d_gamma = sum(g x),   d_beta = sum(g),   d_y = gamma / sqrt(variance + epsilon) (g - mean(g) - x mean(g x))
//! ```
//!
//! With given statistics, the means of `g` and `g x` do not occur in `d_y`.
//!
//! The first pass over memory takes the sums, and multiplies by the slope of GELU. The second one, `d_y`, is
//! not written: the convolution's gradients ask for it row by row.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::activation::times_gelu_slope;
use super::normalize::{Affine, CHUNK, inverse};
use super::rows::Rows;
use super::statistics::{Statistics, fold, repeat};

/// `gamma / sqrt(variance + epsilon) (g - mean(g) - x mean(g x))`, row by row, and the gradients of gamma and
/// beta.
pub(super) struct NormalizedGradient<'a> {
    pub(super) d_gamma: Vec<f32>,
    pub(super) d_beta: Vec<f32>,
    affine: &'a Affine,
    y: &'a [f32],
    d_z: &'a [f32],
    /// Whether `d_z` is still to be set to zero where ReLU gave zero.
    relu: bool,
    /// `d_y = scale g + slope (y - mean) + constant`
    slope: Vec<f32>,
    constant: Vec<f32>,
}

impl<'a> NormalizedGradient<'a> {
    /// By the statistics of the batch.
    pub(super) fn new(
        affine: &'a Affine,
        statistics: &Statistics,
        epsilon: f64,
        y: &'a [f32],
        d_z: OutputGradient<'a>,
    ) -> Self {
        let channels = affine.channels;
        let chunk = affine.chunk();
        let sums_of = |y: &[f32], d_z: &[f32], relu| {
            let mut sums = [repeat(&vec![0.0; channels]), repeat(&vec![0.0; channels])];
            affine.arch.dispatch(GradientSums { affine, y, d_z, relu, sums: &mut sums });
            sums.map(|sums| fold(&sums, channels))
        };
        let (d_z, relu, sums): (_, _, Vec<[Vec<f64>; 2]>) = match d_z {
            OutputGradient::Plain { d_z, relu } => {
                let chunks = y.par_chunks(chunk).zip(d_z.par_chunks(chunk));
                (d_z, relu, chunks.map(|(y, d_z)| sums_of(y, d_z, relu)).collect())
            }
            OutputGradient::OfGelu(d_z) => {
                let chunks = y.par_chunks(chunk).zip(d_z.par_chunks_mut(chunk));
                let sums = chunks.map(|(y, d_z)| {
                    affine.arch.dispatch(GeluSlope { affine, y, d_z });
                    sums_of(y, d_z, false)
                });
                let sums = sums.collect();
                (d_z, false, sums)
            }
        };
        let [mut sum, mut product] = [vec![0.0; channels], vec![0.0; channels]];
        for [part_sum, part_product] in &sums {
            for c in 0..channels {
                sum[c] += part_sum[c];
                product[c] += part_product[c];
            }
        }
        let count = (y.len() / channels) as f64;
        let (mut slope, mut constant, mut d_gamma) = (Vec::new(), Vec::new(), Vec::new());
        for c in 0..channels {
            let inverse = f64::from(inverse(statistics.variance[c], epsilon));
            let scale = f64::from(affine.scale[c]);
            d_gamma.push((product[c] * inverse) as f32);
            slope.push((-scale * product[c] * inverse * inverse / count) as f32);
            constant.push((-scale * sum[c] / count) as f32);
        }
        Self {
            d_gamma,
            d_beta: sum.iter().map(|&sum| sum as f32).collect(),
            affine,
            y,
            d_z,
            relu,
            slope: repeat(&slope),
            constant: repeat(&constant),
        }
    }

    /// By given statistics, with the same arguments.
    pub(super) fn with_given_statistics(self) -> Self {
        let [slope, constant] = [self.slope, self.constant].map(|values| vec![0.0; values.len()]);
        Self { slope, constant, ..self }
    }
}

/// The gradient of the output.
pub(super) enum OutputGradient<'a> {
    /// Where ReLU gave zero is seen from `y`, so with a shortcut `relu` must be false and [`mask_by_relu`] have
    /// been applied.
    Plain { d_z: &'a [f32], relu: bool },
    /// Multiplied in place by the slope of GELU.
    OfGelu(&'a mut [f32]),
}

impl Rows for NormalizedGradient<'_> {
    fn row(&self, start: usize, to: &mut [f32]) {
        let part = start..start + to.len();
        self.affine.arch.dispatch(GradientRow {
            gradient: self,
            y: &self.y[part.clone()],
            d_z: &self.d_z[part],
            to,
        });
    }
}

struct GeluSlope<'a> {
    affine: &'a Affine,
    y: &'a [f32],
    d_z: &'a mut [f32],
}

impl WithSimd for GeluSlope<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Affine { mean, scale, beta, .. } = self.affine;
        for (y, d_z) in self.y.chunks(mean.len()).zip(self.d_z.chunks_mut(mean.len())) {
            let channels = [mean, scale, beta].map(|values| &values[..y.len()]);
            times_gelu_slope(simd, d_z, y, channels);
        }
    }
}

/// Sets the gradient to zero where the output of ReLU is zero.
pub(super) fn mask_by_relu(arch: Arch, d_z: &mut [f32], z: &[f32]) {
    let chunks = d_z.par_chunks_mut(CHUNK).zip(z.par_chunks(CHUNK));
    chunks.for_each(|(d_z, z)| arch.dispatch(ReluMask { d_z, z }));
}

struct GradientSums<'a> {
    affine: &'a Affine,
    y: &'a [f32],
    d_z: &'a [f32],
    relu: bool,
    /// Of `g`, and of `g (y - mean)`.
    sums: &'a mut [Vec<f32>; 2],
}

impl WithSimd for GradientSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Affine { mean, scale, beta, .. } = self.affine;
        let [sum, product] = self.sums;
        for (y, d_z) in self.y.chunks(mean.len()).zip(self.d_z.chunks(mean.len())) {
            let len = y.len();
            let (mean, scale, beta, d_z) = (&mean[..len], &scale[..len], &beta[..len], &d_z[..len]);
            let (sum, product) = (&mut sum[..len], &mut product[..len]);
            for i in 0..len {
                let centered = y[i] - mean[i];
                let passed = !self.relu | (centered * scale[i] + beta[i] > 0.0);
                let g = if passed { d_z[i] } else { 0.0 };
                sum[i] += g;
                product[i] += g * centered;
            }
        }
    }
}

struct GradientRow<'a> {
    gradient: &'a NormalizedGradient<'a>,
    y: &'a [f32],
    d_z: &'a [f32],
    to: &'a mut [f32],
}

impl WithSimd for GradientRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let NormalizedGradient { affine, relu, slope, constant, .. } = self.gradient;
        let Affine { mean, scale, beta, .. } = affine;
        let rows =
            self.to.chunks_mut(mean.len()).zip(self.y.chunks(mean.len())).zip(self.d_z.chunks(mean.len()));
        for ((to, y), d_z) in rows {
            let len = to.len();
            let (mean, scale, beta) = (&mean[..len], &scale[..len], &beta[..len]);
            let (y, d_z, slope, constant) = (&y[..len], &d_z[..len], &slope[..len], &constant[..len]);
            for i in 0..len {
                let centered = y[i] - mean[i];
                let passed = !relu | (centered * scale[i] + beta[i] > 0.0);
                let g = if passed { d_z[i] } else { 0.0 };
                to[i] = scale[i] * g + (slope[i] * centered + constant[i]);
            }
        }
    }
}

struct ReluMask<'a> {
    d_z: &'a mut [f32],
    z: &'a [f32],
}

impl WithSimd for ReluMask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (d_z, &z) in self.d_z.iter_mut().zip(self.z) {
            *d_z = if z > 0.0 { *d_z } else { 0.0 };
        }
    }
}
