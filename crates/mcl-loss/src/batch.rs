//! The arguments of the masked contrastive loss, checked and laid out by view.

use burn::tensor::Tensor;

use crate::{
    labels::{MclLabels, ViewLabels},
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
    /// As [`MclLoss::forward_with_positives`](crate::MclLoss::forward_with_positives).
    pub(crate) fn new(
        projections: Tensor<3>,
        labels: &MclLabels,
        positives: Option<&[Option<usize>]>,
    ) -> Self {
        let views = Views::new(projections);
        let device = views.unit().device();
        let labels = ViewLabels::new(labels, views.images(), &device);
        let positives = positives.map(|positives| Positives::new(positives, views.len(), &device));
        Self { views, labels, positives }
    }
}
