//! SPA with one given positive per view (Eq. 7-9).

use burn::tensor::{Bool, Tensor};

use super::released::ReleasedSum;
use crate::{
    formulation::Formulation, labels::ViewLabels, mask::PairLabels, mcl::MclLoss, pairs::Pairs,
    positives::Positives,
};

/// The terms of some views, the rows.
#[derive(Debug, Clone)]
pub(crate) struct Sampled {
    /// Similarity to the positive, 0 where there is none, `[rows, 1]`.
    similarity: Tensor<2>,
    missing: Tensor<2, Bool>,
    log_others: Tensor<2>,
    released: Option<ReleasedSum>,
}

impl Sampled {
    /// The rows of `pairs` are the views with these `labels` and `positives`, whose similarities are `similarity`
    /// `[rows, 1]`, as the formulation has them; `all` are the labels of all views.
    pub(crate) fn new(
        loss: &MclLoss,
        pairs: &Pairs,
        labels: &ViewLabels,
        all: &ViewLabels,
        positives: &Positives,
        similarity: Tensor<2>,
    ) -> Self {
        let missing = positives.missing.clone();
        let similarity = similarity.mask_fill(missing.clone(), 0.0);
        let log_others = pairs.log_others.clone();
        let released = (loss.formulation == Formulation::Released).then(|| {
            let mask = PairLabels::paired(labels, &all.select(&positives.index));
            let mask = mask.mask(loss.mask_weights(), &similarity);
            ReleasedSum::new(loss, log_others.clone(), similarity.clone(), mask)
        });
        Self { similarity, missing, log_others, released }
    }

    /// The terms of the mean, `[rows, 1]`.
    pub(crate) fn per_view(&self, loss: &MclLoss) -> Tensor<2> {
        let log_sum = self.released.as_ref().map_or(&self.log_others, |released| &released.log);
        (log_sum.clone() - self.similarity.clone().div_scalar(loss.temperature))
            .mask_fill(self.missing.clone(), 0.0)
    }

    /// Derivatives of the terms towards `log_others` and towards the similarity to the positive, `[rows, 1]` each.
    pub(crate) fn slopes(&self, loss: &MclLoss) -> (Tensor<2>, Tensor<2>) {
        let (others, positive) = match &self.released {
            None => (self.similarity.ones_like(), self.similarity.zeros_like()),
            Some(released) => (released.slope_of_others(), released.slope_of_positive(loss)),
        };
        let positive = positive.sub_scalar(loss.temperature.recip());
        (others.mask_fill(self.missing.clone(), 0.0), positive.mask_fill(self.missing.clone(), 0.0))
    }
}
