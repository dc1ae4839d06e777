//! The verdict on a batch of images.

use burn::tensor::{Int, Tensor};

use crate::error::InferError;
use crate::tensor::labels;

/// The verdict on a batch of images.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Prediction {
    /// One score for each class, `[images, classes]`; higher = more normal.
    pub scores: Tensor<2>,
    /// The class of the highest score, `[images]`.
    pub label: Tensor<1, Int>,
    /// The highest score, `[images]`: what an image is told normal or anomalous by.
    pub score: Tensor<1>,
}

impl Prediction {
    /// Takes the best class of each image.
    ///
    /// # Shapes
    ///
    /// - scores: `[images, classes]`, higher = more normal
    ///
    /// # Panics
    ///
    /// When there are no classes.
    pub fn new(scores: Tensor<2>) -> Self {
        let [images, _] = scores.dims();
        let (score, label) = scores.clone().max_dim_with_indices(1);
        Self { scores, label: label.reshape([images]), score: score.reshape([images]) }
    }

    /// Reads the class and the score of each image, as the [metrics](crate::metrics) and a
    /// [`Calibration`](crate::Calibration) take them.
    ///
    /// # Errors
    ///
    /// [`InferError::Device`] when the device fails.
    pub fn into_host(self) -> Result<(Vec<usize>, Vec<f64>), InferError> {
        let scores = self.score.try_into_vec_as::<f64>().map_err(InferError::device)?;
        Ok((labels(self.label)?, scores))
    }
}
