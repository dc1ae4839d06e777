//! The stem of the network for small images: a 2x2 convolution without padding, with 8 filters for each channel of the
//! images. Half of the filters are the negatives of the other half: the GELU after the stem cuts negative responses off,
//! and so both signs of each response get through.
//!
//! Before [`whiten`] the filters are plain: for each channel the mean of a patch, the differences across and down, and
//! the difference between the diagonals.

use burn::module::Param;
use burn::nn::Initializer;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor, TensorData};

use crate::error::ModelError;
use crate::layers::replace;
use crate::whitening::Whitening;

/// Pixels of a patch.
const PIXELS: usize = 4;
/// An orthonormal basis of 2 x 2 pixels, row by row.
const PATTERNS: [[f32; PIXELS]; PIXELS] =
    [[0.5, 0.5, 0.5, 0.5], [0.5, -0.5, 0.5, -0.5], [0.5, 0.5, -0.5, -0.5], [0.5, -0.5, -0.5, 0.5]];

/// Number of filters (saturating).
pub(crate) fn channels(in_channels: usize) -> usize {
    in_channels.saturating_mul(2 * PIXELS)
}

/// A stem with plain filters and a bias of 0.
pub(crate) fn plain(in_channels: usize, device: &Device) -> Conv2d {
    let channels_out = channels(in_channels);
    let mut stem = Conv2dConfig::new([in_channels, channels_out], [2, 2])
        .with_bias(true)
        .with_initializer(Initializer::Zeros)
        .init(device);
    let mut filters = Vec::with_capacity(channels_out * in_channels * PIXELS);
    for sign in [1.0, -1.0] {
        for channel in 0..in_channels {
            for pattern in PATTERNS {
                let start = filters.len();
                filters.resize(start + in_channels * PIXELS, 0.0);
                let own = &mut filters[start + channel * PIXELS..][..PIXELS];
                own.copy_from_slice(&pattern.map(|value| sign * value));
            }
        }
    }
    stem.weight = Param::from_data(TensorData::new(filters, [channels_out, in_channels, 2, 2]), device);
    fix(stem)
}

/// Gives a stem the filters and the bias that whiten the patches of these images.
///
/// # Errors
///
/// As [`Whitening::of`].
pub(crate) fn whiten(stem: &mut Conv2d, images: &Tensor<4>) -> Result<(), ModelError> {
    let shape = stem.weight.lazy_shape();
    let [channels_out, in_channels, _, _] = shape.dims();
    let Whitening { components, means } = Whitening::of(images, in_channels)?;
    let both = |values: &[f64]| -> Vec<f32> {
        let signed = |sign: f64| values.iter().map(move |value| (sign * value) as f32);
        signed(1.0).chain(signed(-1.0)).collect()
    };
    let negated: Vec<f64> = means.iter().map(|mean| -mean).collect();
    replace(&mut stem.weight, TensorData::new(both(&components), shape));
    if let Some(bias) = &mut stem.bias {
        replace(bias, TensorData::new(both(&negated), [channels_out]));
    }
    Ok(())
}

/// Takes the filters out of training.
pub(crate) fn fix(mut stem: Conv2d) -> Conv2d {
    stem.weight = stem.weight.set_require_grad(false);
    stem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_filters_keep_all_that_a_patch_says() {
        let stem = plain(2, &Device::flex());
        let filters: Vec<f32> = stem.weight.val().into_data().iter().collect();
        let rows: Vec<&[f32]> = filters.chunks(8).collect();
        assert_eq!(rows.len(), 16);
        for (i, row) in rows[..8].iter().enumerate() {
            for (j, other) in rows.iter().enumerate() {
                let product: f32 = row.iter().zip(*other).map(|(a, b)| a * b).sum();
                let expected = if i == j {
                    1.0
                } else if i + 8 == j {
                    -1.0
                } else {
                    0.0
                };
                assert_eq!(product, expected, "{i} {j}");
            }
        }
    }
}
