//! Batch normalisation, addition of a shortcut and activation in one pass over memory, which is what they
//! cost: the arithmetic is small.
//!
//! ```text
//! v = gamma * (y - mean) / sqrt(variance + epsilon) + beta + shortcut,    z = activation(v)
//! ```

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::activation::{Activation, gelu_in_place};
use super::pool::Pool;
use super::statistics::{Statistics, repeat};

/// Values that one task handles in a pass over whole activations.
pub(super) const CHUNK: usize = 64 * 1024;

/// `v = (y - mean) * scale + beta`, per channel.
pub(super) struct Affine {
    pub(super) arch: Arch,
    pub(super) channels: usize,
    // Repeated.
    pub(super) mean: Vec<f32>,
    pub(super) scale: Vec<f32>,
    pub(super) beta: Vec<f32>,
}

impl Affine {
    pub(super) fn new(
        arch: Arch,
        statistics: &Statistics,
        gamma: &[f32],
        beta: &[f32],
        epsilon: f64,
    ) -> Self {
        let scale: Vec<f32> = gamma
            .iter()
            .zip(&statistics.variance)
            .map(|(gamma, &variance)| gamma * inverse(variance, epsilon))
            .collect();
        Self {
            arch,
            channels: gamma.len(),
            mean: repeat(&statistics.mean),
            scale: repeat(&scale),
            beta: repeat(beta),
        }
    }

    /// In place on `[pixels, channels]`.
    pub(super) fn apply_in_place(
        &self,
        values: &mut [f32],
        shortcut: Option<&[f32]>,
        activation: Activation,
    ) {
        self.arch.dispatch(Apply { affine: self, values: Values::InPlace, shortcut, activation, to: values });
    }

    /// Whole activations, over all threads.
    pub(super) fn apply(
        &self,
        pool: &Pool,
        values: &[f32],
        shortcut: Option<&[f32]>,
        activation: Activation,
    ) -> Vec<f32> {
        let mut output = pool.take(values.len());
        let chunk = self.chunk();
        output.par_chunks_mut(chunk).enumerate().for_each(|(index, to)| {
            let part = index * chunk..index * chunk + to.len();
            let shortcut = shortcut.map(|shortcut| &shortcut[part.clone()]);
            self.arch.dispatch(Apply {
                affine: self,
                values: Values::From(&values[part]),
                shortcut,
                activation,
                to,
            });
        });
        output
    }

    /// Values that one task handles: whole pixels.
    pub(super) fn chunk(&self) -> usize {
        (CHUNK / self.channels).max(1) * self.channels
    }
}

/// `1 / sqrt(variance + epsilon)`
pub(super) fn inverse(variance: f32, epsilon: f64) -> f32 {
    (1.0 / (f64::from(variance) + epsilon).sqrt()) as f32
}

/// The values that [`Apply`] reads.
#[derive(Clone, Copy)]
enum Values<'a> {
    InPlace,
    From(&'a [f32]),
}

struct Apply<'a> {
    affine: &'a Affine,
    values: Values<'a>,
    shortcut: Option<&'a [f32]>,
    activation: Activation,
    to: &'a mut [f32],
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Affine { mean, scale, beta, .. } = self.affine;
        let floor = if self.activation == Activation::Relu { 0.0 } else { f32::NEG_INFINITY };
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
            if self.activation == Activation::Gelu {
                gelu_in_place(simd, to);
            }
        }
    }
}

/// The larger of two; NaN stays NaN, unlike with `f32::max`.
#[inline(always)]
fn at_least(value: f32, floor: f32) -> f32 {
    if value < floor { floor } else { value }
}
