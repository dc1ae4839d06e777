//! A batch of training samples: features, labels and logits, and the checks that every fit makes of them.

use nalgebra::{DMatrix, DVectorViewMut};

use crate::error::InferError;

/// Training samples that are counted together: what an [`Estimator`](crate::Estimator) is fed.
#[derive(Debug, Clone, Copy)]
pub struct SampleBatch<'a> {
    /// Embeddings, row-major, `[n, dim]`.
    pub embeddings: &'a [f32],
    /// Features of the encoder, row-major, `[n, feature_dim]`, where they are given beside the embeddings.
    pub features: Option<&'a [f32]>,
    /// Logits of the network's classifier, row-major, `[n, logits]`, where there is one.
    pub logits: Option<&'a [f32]>,
    /// Class of each row, `[n]`.
    pub class: &'a [usize],
    /// Auxiliary class (the rotation) of each row, `[n]`.
    pub aux: &'a [usize],
}

impl<'a> SampleBatch<'a> {
    /// Samples of embeddings alone: row `i` of `embeddings` belongs to `class[i]` and `aux[i]`.
    pub fn new(embeddings: &'a [f32], class: &'a [usize], aux: &'a [usize]) -> Self {
        Self { embeddings, features: None, logits: None, class, aux }
    }

    /// The same with the encoder's features of each row, `[n, feature_dim]`.
    #[must_use]
    pub fn with_features(mut self, features: &'a [f32]) -> Self {
        self.features = Some(features);
        self
    }

    /// The same with the logits of each row, `[n, logits]`.
    #[must_use]
    pub fn with_logits(mut self, logits: &'a [f32]) -> Self {
        self.logits = Some(logits);
        self
    }

    /// The encoder's features.
    ///
    /// # Errors
    ///
    /// [`InferError::NoFeatures`] when there are none.
    pub fn require_features(&self) -> Result<&'a [f32], InferError> {
        self.features.ok_or(InferError::NoFeatures)
    }

    /// The logits.
    ///
    /// # Errors
    ///
    /// [`InferError::NoLogits`] when there are none.
    pub fn require_logits(&self) -> Result<&'a [f32], InferError> {
        self.logits.ok_or(InferError::NoLogits)
    }
}

/// The shape that samples must have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SampleShape {
    pub(crate) classes: usize,
    pub(crate) aux_classes: usize,
    pub(crate) dim: usize,
    /// Whether the rows are brought to unit length.
    pub(crate) normalize: bool,
}

impl SampleShape {
    /// Names the first row that cannot be counted.
    pub(crate) fn check(&self, batch: &SampleBatch) -> Result<(), InferError> {
        let &Self { classes, aux_classes, dim, normalize } = self;
        let &SampleBatch { embeddings: features, class, aux, .. } = batch;
        let rows = class.len();
        if aux.len() != rows {
            return Err(InferError::LabelCount { class: rows, aux: aux.len() });
        }
        if rows.checked_mul(dim) != Some(features.len()) {
            return Err(InferError::FeatureCount { rows, dim, found: features.len() });
        }
        for (row, (&class, &aux)) in class.iter().zip(aux).enumerate() {
            if class >= classes {
                return Err(InferError::ClassOutOfRange { row, class, classes });
            }
            if aux >= aux_classes {
                return Err(InferError::AuxOutOfRange { row, aux, aux_classes });
            }
            let feature = &features[row * dim..][..dim];
            if let Some(column) = feature.iter().position(|value| !value.is_finite()) {
                let value = feature[column];
                return Err(InferError::NonFiniteFeature { row, column, class, aux, value });
            }
            if normalize && feature.iter().all(|&value| value == 0.0) {
                return Err(InferError::ZeroFeature { row, class, aux });
            }
        }
        Ok(())
    }

    /// The rows of each cluster, in their order: `[classes, aux_classes]`.
    pub(crate) fn rows_by_cluster(&self, batch: &SampleBatch) -> Vec<Vec<usize>> {
        let mut rows_of = vec![Vec::new(); self.classes * self.aux_classes];
        for (row, (&class, &aux)) in batch.class.iter().zip(batch.aux).enumerate() {
            rows_of[class * self.aux_classes + aux].push(row);
        }
        rows_of
    }

    /// One row in f64, at unit length if asked.
    pub(crate) fn read(&self, features: &[f32], row: usize, to: &mut DVectorViewMut<f64>) {
        for (to, &from) in to.iter_mut().zip(&features[row * self.dim..][..self.dim]) {
            *to = f64::from(from);
        }
        if self.normalize {
            // The squares of any f32 but zero are normal numbers in f64: no overflow, no underflow.
            let norm = to.norm();
            *to /= norm;
        }
    }

    /// The chosen rows as the columns of a matrix, `[dim, rows]`.
    pub(crate) fn gather(&self, features: &[f32], rows: &[usize]) -> DMatrix<f64> {
        let mut block = DMatrix::zeros(self.dim, rows.len());
        for (mut sample, &row) in block.column_iter_mut().zip(rows) {
            self.read(features, row, &mut sample);
        }
        block
    }
}
