//! Whitening of patches of 2 x 2 pixels, in f64 on the host.
//!
//! ```text
//! C = mean((p - m)(p - m)^T)      patches p of 4 * channels values, m their mean
//! C v_i = l_i v_i                 principal components, by decreasing variance l_i
//! w_i = v_i / sqrt(l_i + 0.0005 trace(C) / (4 * channels))
//! ```
//!
//! The constant is airbench's, where pixels have variance 1. Relative to the mean variance of a pixel it does the same
//! for images in `[0, 1]`.

use burn::tensor::Tensor;

use crate::error::ModelError;
use crate::symmetric_eigen::symmetric_eigen;

/// Added to each variance, relative to the mean variance of a pixel.
const EPSILON: f64 = 5e-4;
/// The least mean variance of a pixel: values in `[0, 1]` that differ by less are the same in f32.
const LEAST_VARIANCE: f64 = 1e-14;

/// What whitens the patches of a set of images. Values of a patch are ordered by channel, row and column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Whitening {
    /// The scaled principal components by decreasing variance, row-major `[4 * channels, 4 * channels]`. Of each, the
    /// value of the largest magnitude is positive (the first one of several).
    pub(crate) components: Vec<f64>,
    /// The response of each component to the mean patch, `[4 * channels]`.
    pub(crate) means: Vec<f64>,
}

impl Whitening {
    /// From images `[n, in_channels, h, w]`.
    ///
    /// # Errors
    ///
    /// [`ModelError::WhiteningShape`] for another shape, no image, or less than 2 x 2 pixels;
    /// [`ModelError::WhiteningValues`] when the mean variance of a pixel is not finite or is 0.
    pub(crate) fn of(images: &Tensor<4>, in_channels: usize) -> Result<Self, ModelError> {
        let shape = images.dims();
        let [count, channels, height, width] = shape;
        if count == 0 || channels != in_channels || height < 2 || width < 2 {
            return Err(ModelError::WhiteningShape { found: shape, in_channels });
        }
        let values: Vec<f32> = images.to_data().iter().collect();
        let (mean, covariance) = moments(&values, shape);
        let dim = mean.len();
        let variance = (0..dim).map(|i| covariance[i * dim + i]).sum::<f64>() / dim as f64;
        if !(variance.is_finite() && variance > LEAST_VARIANCE) {
            return Err(ModelError::WhiteningValues { variance });
        }
        let (variances, vectors) = symmetric_eigen(covariance, dim);
        let mut components = Vec::with_capacity(dim * dim);
        for (component, of_component) in vectors.chunks_exact(dim).zip(variances) {
            let largest =
                component.iter().fold(0.0_f64, |best, &x| if x.abs() > best.abs() { x } else { best });
            // Rounding may leave a variance just below 0.
            let scale = largest.signum() / (of_component.max(0.0) + EPSILON * variance).sqrt();
            components.extend(component.iter().map(|x| scale * x));
        }
        let response = |component: &[f64]| component.iter().zip(&mean).map(|(x, m)| x * m).sum();
        let means = components.chunks_exact(dim).map(response).collect();
        Ok(Self { components, means })
    }
}

/// Mean and covariance (row-major, symmetric) of all patches. Two passes: the mean first.
fn moments(values: &[f32], shape: [usize; 4]) -> (Vec<f64>, Vec<f64>) {
    let [count, channels, height, width] = shape;
    let dim = 4 * channels;
    let patches = (count * (height - 1) * (width - 1)) as f64;
    let mut mean = vec![0.0; dim];
    for_each_patch(values, shape, |patch| {
        for (sum, value) in mean.iter_mut().zip(patch) {
            *sum += value;
        }
    });
    mean.iter_mut().for_each(|sum| *sum /= patches);

    let mut covariance = vec![0.0; dim * dim];
    let mut centred = vec![0.0; dim];
    for_each_patch(values, shape, |patch| {
        for ((centred, value), mean) in centred.iter_mut().zip(patch).zip(&mean) {
            *centred = value - mean;
        }
        // The lower triangle.
        for (i, row) in covariance.chunks_exact_mut(dim).enumerate() {
            let own = centred[i];
            for (sum, other) in row[..=i].iter_mut().zip(&centred) {
                *sum += own * other;
            }
        }
    });
    for i in 0..dim {
        for j in 0..=i {
            let value = covariance[i * dim + j] / patches;
            covariance[i * dim + j] = value;
            covariance[j * dim + i] = value;
        }
    }
    (mean, covariance)
}

/// Calls `f` with the values of every patch, in the order of the images.
fn for_each_patch(values: &[f32], [_, channels, height, width]: [usize; 4], mut f: impl FnMut(&[f64])) {
    let mut patch = vec![0.0; 4 * channels];
    for image in values.chunks_exact(channels * height * width) {
        for top in 0..height - 1 {
            for left in 0..width - 1 {
                for (own, plane) in patch.chunks_exact_mut(4).zip(image.chunks_exact(height * width)) {
                    let (upper, lower) = (top * width + left, (top + 1) * width + left);
                    for (value, pixel) in own.iter_mut().zip([upper, upper + 1, lower, lower + 1]) {
                        *value = f64::from(plane[pixel]);
                    }
                }
                f(&patch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn tensor(values: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    /// Smooth images: neighbouring pixels and channels are correlated.
    fn images(channels: usize) -> Tensor<4> {
        let shape = [5, channels, 7, 6];
        let value = |i: usize| {
            let (pixel, plane) = (i % 42, i / 42);
            let smooth = ((pixel / 6) as f32 * 0.9 + (pixel % 6) as f32 * 0.4 + plane as f32 * 2.1).sin();
            0.4 + 0.3 * smooth + 0.05 * (i as f32 * 1.7).cos()
        };
        tensor((0..shape.iter().product()).map(value).collect(), shape)
    }

    #[test]
    fn whitened_patches_are_uncorrelated_and_of_variance_one() {
        for channels in [1, 3] {
            let images = images(channels);
            let whitening = Whitening::of(&images, channels).unwrap();
            let (dim, shape) = (4 * channels, images.dims());
            let values: Vec<f32> = images.to_data().iter().collect();
            let (_, covariance) = moments(&values, shape);
            let variance = (0..dim).map(|i| covariance[i * dim + i]).sum::<f64>() / dim as f64;
            let (mut mean, mut square, mut patches) = (vec![0.0; dim], vec![0.0; dim * dim], 0.0);
            for_each_patch(&values, shape, |patch| {
                let responses: Vec<f64> = whitening
                    .components
                    .chunks_exact(dim)
                    .zip(&whitening.means)
                    .map(|(w, mean)| w.iter().zip(patch).map(|(w, p)| w * p).sum::<f64>() - mean)
                    .collect();
                for i in 0..dim {
                    mean[i] += responses[i];
                    for j in 0..dim {
                        square[i * dim + j] += responses[i] * responses[j];
                    }
                }
                patches += 1.0;
            });
            for i in 0..dim {
                assert!((mean[i] / patches).abs() < 1e-9, "{} {i}", mean[i]);
                for j in 0..dim {
                    let value = square[i * dim + j] / patches;
                    if i == j {
                        // l / (l + c), where 1 / (l + c) is the squared length of the filter: near 1, and less for
                        // components that are hardly there.
                        let length: f64 = whitening.components[i * dim..][..dim].iter().map(|w| w * w).sum();
                        let expected = 1.0 - EPSILON * variance * length;
                        assert!((value - expected).abs() < 1e-9, "{i}: {value} for {expected}");
                    } else {
                        assert!(value.abs() < 1e-9, "{i} {j}: {value}");
                    }
                }
            }
            assert!(square[0] / patches > 0.999);
        }
    }

    #[test]
    fn components_have_an_order_and_a_sign() {
        let whitening = Whitening::of(&images(3), 3).unwrap();
        let norms: Vec<f64> =
            whitening.components.chunks(12).map(|w| w.iter().map(|x| x * x).sum()).collect();
        assert!(norms.is_sorted(), "decreasing variances: {norms:?}");
        for component in whitening.components.chunks(12) {
            let (low, high) =
                component.iter().fold((0.0_f64, 0.0_f64), |(low, high), &x| (low.min(x), high.max(x)));
            assert!(high >= -low, "{component:?}");
        }
        assert_eq!(Whitening::of(&images(3), 3).unwrap(), whitening);
    }

    #[test]
    fn components_that_are_not_there_stay_finite() {
        // Gray: three equal channels. And stripes: a patch is decided by two of its pixels.
        let gray: Vec<f32> = (0..3 * 64).map(|i| ((i % 64) as f32 * 0.7).sin()).collect();
        let stripes: Vec<f32> = (0..3 * 64).map(|i| (((i % 8) * 3 + i / 64) as f32).cos()).collect();
        for values in [gray, stripes] {
            let whitening = Whitening::of(&tensor(values, [1, 3, 8, 8]), 3).unwrap();
            assert!(whitening.components.iter().chain(&whitening.means).all(|x| x.is_finite()));
            let largest = whitening.components.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
            // 1 / sqrt(0.0005 * 0.5)
            assert!(largest < 70.0, "{largest}");
        }
    }

    #[test]
    fn images_that_say_nothing_are_refused() {
        for value in [0.0, 0.3, 1.0, f32::NAN, f32::INFINITY] {
            let error = Whitening::of(&tensor(vec![value; 2 * 3 * 25], [2, 3, 5, 5]), 3).unwrap_err();
            assert!(matches!(error, ModelError::WhiteningValues { .. }), "{value}: {error}");
        }
        for shape in [[0, 3, 5, 5], [1, 2, 5, 5], [1, 3, 1, 5], [1, 3, 5, 1]] {
            let error = Whitening::of(&tensor(vec![0.5; shape.iter().product()], shape), 3).unwrap_err();
            assert_eq!(error, ModelError::WhiteningShape { found: shape, in_channels: 3 });
        }
    }
}
