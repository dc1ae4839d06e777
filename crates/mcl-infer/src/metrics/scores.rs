//! What the metrics take as scores.

use burn::tensor::Tensor;

use super::error::MetricError;
use crate::error::Cause;

/// Scores of images, higher = more in-distribution: slices and vectors of f32 or f64, arrays of f64, or a tensor,
/// such as [`Prediction::score`](crate::Prediction::score).
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use mcl_infer::metrics::auroc;
///
/// let tensor = Tensor::<1>::from_data([3.0, 2.0], &Device::flex());
/// assert_eq!(auroc(&tensor, vec![2.0f32, 1.0]), auroc(&[3.0, 2.0], &[2.0, 1.0]));
/// ```
pub trait Scores {
    /// The scores as f64, in their order.
    ///
    /// # Errors
    ///
    /// [`MetricError::Device`] when a device cannot return them.
    fn into_f64(self) -> Result<Vec<f64>, MetricError>;
}

impl<T: Copy + Into<f64>> Scores for &[T] {
    fn into_f64(self) -> Result<Vec<f64>, MetricError> {
        Ok(self.iter().map(|&score| score.into()).collect())
    }
}

/// For f64 alone, so that the type of `&[]` is known.
impl<const N: usize> Scores for &[f64; N] {
    fn into_f64(self) -> Result<Vec<f64>, MetricError> {
        self.as_slice().into_f64()
    }
}

impl<T: Copy + Into<f64>> Scores for &Vec<T> {
    fn into_f64(self) -> Result<Vec<f64>, MetricError> {
        self.as_slice().into_f64()
    }
}

impl<T: Copy + Into<f64>> Scores for Vec<T> {
    fn into_f64(self) -> Result<Vec<f64>, MetricError> {
        self.as_slice().into_f64()
    }
}

impl Scores for Tensor<1> {
    fn into_f64(self) -> Result<Vec<f64>, MetricError> {
        self.try_into_vec_as::<f64>().map_err(|error| MetricError::Device(Cause::new(error)))
    }
}

impl Scores for &Tensor<1> {
    fn into_f64(self) -> Result<Vec<f64>, MetricError> {
        self.clone().into_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::auroc;

    #[test]
    fn an_empty_array_needs_no_type() {
        assert!(matches!(auroc(&[], &[1.0]), Err(MetricError::Empty { .. })));
    }
}
