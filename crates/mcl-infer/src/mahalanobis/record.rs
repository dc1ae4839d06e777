//! What a fitted scorer is stored as.

use serde::{Deserialize, Serialize};

use super::config::{Covariance, MahalanobisConfig};
use crate::cluster::Cluster;
use crate::error::InferError;

/// How far the two entries of a covariance across its diagonal may be apart, relative to the variances: the
/// rounding of a matrix product in f64, of any length that occurs.
const ROUNDING: f64 = 1e-9;

/// The Gaussians of a [`MahalanobisScorer`](crate::MahalanobisScorer) as plain numbers, to be stored by any
/// serde format or field by field.
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
    /// `[classes, aux_classes, dim, dim]`, or, for [`Covariance::Tied`], `[aux_classes, dim, dim]`;
    /// shrinkage and ridge included.
    ///
    /// A tied record that repeats its covariances for each class, as earlier versions wrote them, is read
    /// too.
    pub covariances: Vec<f64>,
}

impl MahalanobisRecord {
    /// Returns the mean of a (class, auxiliary class), `[dim]`.
    ///
    /// # Panics
    ///
    /// When the record has no such class or auxiliary class.
    pub fn mean(&self, class: usize, aux: usize) -> &[f64] {
        &self.means[(class * self.aux_classes + aux) * self.dim..][..self.dim]
    }

    /// The covariance of a cluster, `[dim, dim]`.
    pub(crate) fn covariance(&self, class: usize, aux: usize) -> &[f64] {
        let (size, index) = (self.dim * self.dim, class * self.aux_classes + aux);
        &self.covariances[if self.is_shared() { aux } else { index } * size..][..size]
    }

    /// Whether the classes share a covariance, which is stored once for each auxiliary class.
    pub fn is_shared(&self) -> bool {
        self.config.covariance == Covariance::Tied
            && self.covariances.len() == self.aux_classes * self.dim * self.dim
    }

    /// The samples behind the covariance of a cluster.
    pub(crate) fn behind(&self, class: usize, aux: usize) -> Cluster {
        Cluster { class: (!self.is_shared()).then_some(class), aux }
    }

    /// Refuses a record that is damaged.
    pub(crate) fn check(&self) -> Result<(), InferError> {
        let &Self { classes, aux_classes, dim, .. } = self;
        if classes == 0 || aux_classes == 0 || dim == 0 {
            return Err(InferError::Empty { classes, aux_classes, dim });
        }
        check_values("means", shape_product(&[classes, aux_classes, dim]), &self.means)?;
        let each = shape_product(&[classes, aux_classes, dim, dim]);
        let shared = shape_product(&[aux_classes, dim, dim]);
        let tied = self.config.covariance == Covariance::Tied && self.covariances.len() != each;
        check_values("covariances", if tied { shared } else { each }, &self.covariances)?;
        for class in 0..if self.is_shared() { 1 } else { classes } {
            for aux in 0..aux_classes {
                self.check_symmetry(class, aux)?;
            }
        }
        Ok(())
    }

    fn check_symmetry(&self, class: usize, aux: usize) -> Result<(), InferError> {
        let (dim, covariance) = (self.dim, self.covariance(class, aux));
        let at = |row: usize, column: usize| covariance[row * dim + column];
        for row in 0..dim {
            for column in 0..row {
                let (value, mirrored) = (at(row, column), at(column, row));
                if (value - mirrored).abs() > ROUNDING * (at(row, row).abs() + at(column, column).abs()) {
                    let cluster = self.behind(class, aux);
                    return Err(InferError::RecordAsymmetry { cluster, row, column, value, mirrored });
                }
            }
        }
        Ok(())
    }

    /// Keeps a tied covariance once for each auxiliary class, where it was repeated for each class.
    pub(crate) fn share(mut self) -> Self {
        let size = self.aux_classes * self.dim * self.dim;
        if self.config.covariance == Covariance::Tied {
            let (first, others) = self.covariances.split_at(size);
            if others.chunks_exact(size).all(|other| other == first) {
                self.covariances.truncate(size);
                self.covariances.shrink_to_fit();
            }
        }
        self
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
