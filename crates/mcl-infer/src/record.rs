//! What a fitted scorer is stored as.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::error::InferError;
use crate::{MahalanobisConfig, MahalanobisScorer};

/// The Gaussians of a [`MahalanobisScorer`] as plain numbers, to be stored by any serde format or field by
/// field.
///
/// [`into_scorer`](Self::into_scorer) gives back the scorer that it came from, bit for bit: the fit itself
/// goes through a record. A text format must keep every digit of an f64 (`serde_json`: feature
/// `float_roundtrip`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MahalanobisRecord {
    /// The configuration of the fit.
    pub config: MahalanobisConfig,
    /// Number of classes.
    pub classes: usize,
    /// Number of auxiliary classes.
    pub aux_classes: usize,
    /// Length of an embedding.
    pub dim: usize,
    /// `[classes, aux_classes, dim]`
    pub means: Vec<f64>,
    /// `[classes, aux_classes, dim, dim]`, ridge included.
    pub covariances: Vec<f64>,
}

impl MahalanobisRecord {
    /// Makes the scorer and places it on `device`.
    ///
    /// # Errors
    ///
    /// [`InferError::Empty`], [`InferError::RecordLength`] or [`InferError::RecordValue`] when the record is
    /// damaged, [`InferError::NotPositiveDefinite`] when a covariance is not one.
    pub fn into_scorer(self, device: &Device) -> Result<MahalanobisScorer, InferError> {
        self.check()?;
        MahalanobisScorer::new(self, device)
    }

    fn check(&self) -> Result<(), InferError> {
        let &Self { classes, aux_classes, dim, .. } = self;
        if classes == 0 || aux_classes == 0 || dim == 0 {
            return Err(InferError::Empty { classes, aux_classes, dim });
        }
        check_values("means", shape_product(&[classes, aux_classes, dim]), &self.means)?;
        check_values("covariances", shape_product(&[classes, aux_classes, dim, dim]), &self.covariances)
    }
}

/// How many values a stored array must hold; a shape too large for any memory matches no array.
pub(crate) fn shape_product(shape: &[usize]) -> usize {
    shape.iter().try_fold(1, |product: usize, &n| product.checked_mul(n)).unwrap_or(usize::MAX)
}

pub(crate) fn check_length(field: &'static str, expected: usize, found: usize) -> Result<(), InferError> {
    if found == expected { Ok(()) } else { Err(InferError::RecordLength { field, expected, found }) }
}

pub(crate) fn check_values(field: &'static str, expected: usize, values: &[f64]) -> Result<(), InferError> {
    check_length(field, expected, values.len())?;
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(position) => Err(InferError::RecordValue { field, position, value: values[position] }),
    }
}
