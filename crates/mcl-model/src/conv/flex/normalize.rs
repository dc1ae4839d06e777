//! Batch normalisation, addition of a shortcut and ReLU in one pass over memory each way: memory is what they cost, the
//! arithmetic is small.
//!
//! ```text
//! v = gamma * (y - mean) / sqrt(variance + epsilon) + beta + shortcut,    z = relu(v)
//! ```
//!
//! With `g` the gradient of `v`, `x = (y - mean) / sqrt(variance + epsilon)` and means over images and positions:
//!
//! ```text
//! d_gamma = sum(g x),   d_beta = sum(g),   d_y = gamma / sqrt(variance + epsilon) (g - mean(g) - x mean(g x))
//! ```

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::buffers;
use super::convolve::Rows;
use super::kernel::dispatch;

/// Values per channel are repeated to about this length: inner loops run over it rather than over few channels.
const REPEATED: usize = 256;
/// Values that one task handles in a pass over whole activations.
const CHUNK: usize = 64 * 1024;

/// Values per channel, several times over.
fn repeat(channels: &[f32]) -> Vec<f32> {
    channels.repeat(REPEATED.div_ceil(channels.len().max(1)).max(1))
}

/// The sums over the repetitions.
fn fold(repeated: &[f32], channels: usize) -> Vec<f64> {
    let mut sums = vec![0.0; channels];
    for values in repeated.chunks_exact(channels) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += f64::from(value);
        }
    }
    sums
}

/// Mean and (biased) variance of each channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Statistics {
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
}

/// Count, mean and sum of squared deviations of some of the values.
pub(super) struct Moments {
    count: f64,
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

impl Moments {
    /// Of `[pixels, channels]`, read twice: to be called while it is in cache.
    pub(super) fn of(values: &[f32], channels: usize) -> Self {
        let count = (values.len() / channels) as f64;
        let mut sums = repeat(&vec![0.0; channels]);
        dispatch(AddUp { values, sums: &mut sums });
        let mean: Vec<f64> = fold(&sums, channels).iter().map(|sum| sum / count).collect();
        // The deviations are from the rounded mean: corrected for in the end.
        let rounded: Vec<f32> = mean.iter().map(|&mean| mean as f32).collect();
        let mut squares = repeat(&vec![0.0; channels]);
        dispatch(AddUpSquares { values, mean: &repeat(&rounded), sums: &mut squares });
        let deviation = fold(&squares, channels)
            .iter()
            .zip(mean.iter().zip(&rounded))
            .map(|(square, (mean, &rounded))| square - count * (mean - f64::from(rounded)).powi(2))
            .collect();
        Self { count, mean, deviation }
    }
}

impl Statistics {
    /// Of all values, from those of the parts, in order (Chan et al.'s update).
    pub(super) fn merge(parts: &[Moments], channels: usize) -> Self {
        let mut count = 0.0;
        let (mut mean, mut deviation) = (vec![0.0; channels], vec![0.0; channels]);
        for part in parts {
            let total = count + part.count;
            for c in 0..channels {
                let difference = part.mean[c] - mean[c];
                mean[c] += difference * part.count / total;
                deviation[c] += part.deviation[c] + difference * difference * count * part.count / total;
            }
            count = total;
        }
        Self {
            mean: mean.iter().map(|&mean| mean as f32).collect(),
            variance: deviation.iter().map(|deviation| (deviation.max(0.0) / count) as f32).collect(),
        }
    }
}

/// `v = (y - mean) * scale + beta`, per channel.
pub(super) struct Affine {
    channels: usize,
    mean: Vec<f32>,
    scale: Vec<f32>,
    beta: Vec<f32>,
}

impl Affine {
    pub(super) fn new(statistics: &Statistics, gamma: &[f32], beta: &[f32], epsilon: f64) -> Self {
        let scale: Vec<f32> = gamma
            .iter()
            .zip(&statistics.variance)
            .map(|(gamma, &variance)| gamma * inverse(variance, epsilon))
            .collect();
        Self {
            channels: gamma.len(),
            mean: repeat(&statistics.mean),
            scale: repeat(&scale),
            beta: repeat(beta),
        }
    }

    /// In place on `[pixels, channels]`.
    pub(super) fn apply_in_place(&self, values: &mut [f32], shortcut: Option<&[f32]>, relu: bool) {
        dispatch(Apply { affine: self, values: Values::InPlace, shortcut, relu, to: values });
    }

    /// Whole activations, over all threads.
    pub(super) fn apply(&self, values: &[f32], shortcut: Option<&[f32]>, relu: bool) -> Vec<f32> {
        let mut output = buffers::take(values.len());
        let chunk = self.chunk();
        output.par_chunks_mut(chunk).enumerate().for_each(|(index, to)| {
            let part = index * chunk..index * chunk + to.len();
            let shortcut = shortcut.map(|shortcut| &shortcut[part.clone()]);
            dispatch(Apply { affine: self, values: Values::From(&values[part]), shortcut, relu, to });
        });
        output
    }

    fn chunk(&self) -> usize {
        (CHUNK / self.channels).max(1) * self.channels
    }
}

fn inverse(variance: f32, epsilon: f64) -> f32 {
    (1.0 / (f64::from(variance) + epsilon).sqrt()) as f32
}

/// `gamma / sqrt(variance + epsilon) (g - mean(g) - x mean(g x))`, row by row, and the gradients of gamma and beta.
pub(super) struct NormalizedGradient<'a> {
    pub(super) d_gamma: Vec<f32>,
    pub(super) d_beta: Vec<f32>,
    affine: &'a Affine,
    y: &'a [f32],
    d_z: &'a [f32],
    /// Whether `d_z` is still to be set to zero where ReLU cut.
    relu: bool,
    /// `d_y = scale g + slope (y - mean) + constant`
    slope: Vec<f32>,
    constant: Vec<f32>,
}

impl<'a> NormalizedGradient<'a> {
    /// `d_z` is the gradient of the output; where ReLU cut is seen from `y`, so with a shortcut `relu` must be false and
    /// [`cut`] have been applied.
    pub(super) fn new(
        affine: &'a Affine,
        statistics: &Statistics,
        epsilon: f64,
        y: &'a [f32],
        d_z: &'a [f32],
        relu: bool,
    ) -> Self {
        let channels = affine.channels;
        let chunk = affine.chunk();
        let sums: Vec<[Vec<f64>; 2]> = y
            .par_chunks(chunk)
            .zip(d_z.par_chunks(chunk))
            .map(|(y, d_z)| {
                let mut sums = [repeat(&vec![0.0; channels]), repeat(&vec![0.0; channels])];
                dispatch(GradientSums { affine, y, d_z, relu, sums: &mut sums });
                sums.map(|sums| fold(&sums, channels))
            })
            .collect();
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
}

impl Rows for NormalizedGradient<'_> {
    fn row(&self, start: usize, to: &mut [f32]) {
        let part = start..start + to.len();
        dispatch(GradientRow { gradient: self, y: &self.y[part.clone()], d_z: &self.d_z[part], to });
    }
}

/// Sets the gradient to zero where the output of ReLU is.
pub(super) fn cut(d_z: &mut [f32], z: &[f32]) {
    d_z.par_chunks_mut(CHUNK).zip(z.par_chunks(CHUNK)).for_each(|(d_z, z)| dispatch(Cut { d_z, z }));
}

// What follows are the loops, each compiled for every instruction set by `dispatch`.

struct AddUp<'a> {
    values: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for AddUp<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for values in self.values.chunks(self.sums.len()) {
            for (sum, &value) in self.sums.iter_mut().zip(values) {
                *sum += value;
            }
        }
    }
}

struct AddUpSquares<'a> {
    values: &'a [f32],
    mean: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for AddUpSquares<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for values in self.values.chunks(self.sums.len()) {
            for ((sum, &value), &mean) in self.sums.iter_mut().zip(values).zip(self.mean) {
                *sum += (value - mean) * (value - mean);
            }
        }
    }
}

/// Where [`Apply`] reads.
#[derive(Clone, Copy)]
enum Values<'a> {
    InPlace,
    From(&'a [f32]),
}

struct Apply<'a> {
    affine: &'a Affine,
    values: Values<'a>,
    shortcut: Option<&'a [f32]>,
    relu: bool,
    to: &'a mut [f32],
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Affine { mean, scale, beta, .. } = self.affine;
        let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        for (index, to) in self.to.chunks_mut(mean.len()).enumerate() {
            let part = index * mean.len()..index * mean.len() + to.len();
            let (mean, scale, beta) = (&mean[..to.len()], &scale[..to.len()], &beta[..to.len()]);
            match (self.values, self.shortcut) {
                (Values::InPlace, None) => {
                    for i in 0..to.len() {
                        to[i] = at_least((to[i] - mean[i]) * scale[i] + beta[i], floor);
                    }
                }
                (Values::InPlace, Some(shortcut)) => {
                    let shortcut = &shortcut[part];
                    for i in 0..to.len() {
                        to[i] = at_least((to[i] - mean[i]) * scale[i] + beta[i] + shortcut[i], floor);
                    }
                }
                (Values::From(values), None) => {
                    let values = &values[part];
                    for i in 0..to.len() {
                        to[i] = at_least((values[i] - mean[i]) * scale[i] + beta[i], floor);
                    }
                }
                (Values::From(values), Some(shortcut)) => {
                    let (values, shortcut) = (&values[part.clone()], &shortcut[part]);
                    for i in 0..to.len() {
                        to[i] = at_least((values[i] - mean[i]) * scale[i] + beta[i] + shortcut[i], floor);
                    }
                }
            }
        }
    }
}

/// The larger of two; NaN stays NaN, unlike with `f32::max`.
#[inline(always)]
fn at_least(value: f32, floor: f32) -> f32 {
    if value < floor { floor } else { value }
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

struct Cut<'a> {
    d_z: &'a mut [f32],
    z: &'a [f32],
}

impl WithSimd for Cut<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (d_z, &z) in self.d_z.iter_mut().zip(self.z) {
            *d_z = if z > 0.0 { *d_z } else { 0.0 };
        }
    }
}
