//! The arguments of a loss, checked and laid out by view, and the choice of how to compute it.

use burn::tensor::Tensor;

#[cfg(feature = "flex")]
use crate::flex;
use crate::{
    blockwise::{self, Blockwise},
    dense,
    labels::{MclLabels, ViewLabels},
    mcl::{MclLoss, MclTerms},
    positives::Positives,
    similarity::Views,
};

/// A batch of 2N views.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) views: Views,
    pub(crate) labels: ViewLabels,
    /// The draw of SPA, without which it is its expectation.
    pub(crate) positives: Option<Positives>,
}

impl Batch {
    /// # Panics
    ///
    /// As [`MclLoss::forward_with_positives`].
    pub(crate) fn new(
        projections: Tensor<3>,
        labels: &MclLabels,
        positives: Option<&[Option<usize>]>,
    ) -> Self {
        let views = Views::new(projections);
        let labels = ViewLabels::new(labels, views.images());
        let positives =
            positives.map(|positives| Positives::new(positives, views.len(), &views.unit().device()));
        Self { views, labels, positives }
    }

    /// The loss and its parts.
    pub(crate) fn terms(&self, loss: &MclLoss) -> MclTerms {
        #[cfg(feature = "flex")]
        if flex::supports(loss, self) {
            return flex::terms(loss, self);
        }
        match self.rows_per_block() {
            None => dense::terms(loss, self),
            Some(rows) => Blockwise::new(loss, self, rows).terms(),
        }
    }

    /// The loss alone.
    pub(crate) fn total(&self, loss: &MclLoss) -> Tensor<1> {
        #[cfg(feature = "flex")]
        if flex::supports(loss, self) {
            return flex::terms(loss, self).total;
        }
        match self.rows_per_block() {
            None => dense::terms(loss, self).total,
            Some(rows) => Blockwise::new(loss, self, rows).total(),
        }
    }

    /// For batches that are too large for one matrix.
    fn rows_per_block(&self) -> Option<usize> {
        let views = self.views.len();
        (views >= blockwise::FROM_VIEWS).then(|| blockwise::rows_per_block(views))
    }
}
