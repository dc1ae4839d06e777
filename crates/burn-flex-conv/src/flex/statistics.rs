//! Mean and variance of each channel, in one pass over memory: of each group of images while it is in cache,
//! then merged.

use pulp::{Arch, Simd, WithSimd};

/// Values per channel are repeated to about this length: inner loops run over it rather than over few
/// channels.
const REPEATED: usize = 256;

/// Values per channel, several times over.
pub(super) fn repeat(channels: &[f32]) -> Vec<f32> {
    channels.repeat(REPEATED.div_ceil(channels.len().max(1)).max(1))
}

/// The sums over the repetitions.
pub(super) fn fold(repeated: &[f32], channels: usize) -> Vec<f64> {
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
    pub(super) fn of(arch: Arch, values: &[f32], channels: usize) -> Self {
        let count = (values.len() / channels) as f64;
        let mut sums = repeat(&vec![0.0; channels]);
        arch.dispatch(ChannelSums { values, sums: &mut sums });
        let mean: Vec<f64> = fold(&sums, channels).iter().map(|sum| sum / count).collect();
        // The deviations are from the rounded mean: corrected for in the end.
        let rounded: Vec<f32> = mean.iter().map(|&mean| mean as f32).collect();
        let mut squares = repeat(&vec![0.0; channels]);
        arch.dispatch(ChannelSquares { values, mean: &repeat(&rounded), sums: &mut squares });
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

struct ChannelSums<'a> {
    values: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for ChannelSums<'_> {
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

struct ChannelSquares<'a> {
    values: &'a [f32],
    mean: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for ChannelSquares<'_> {
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
