//! SPA with one given positive per view (Eq. 7-9).

use burn::tensor::{Bool, Tensor};

use super::{SpaTerms, released::ReleasedSum};
use crate::{
    formulation::Formulation, labels::ViewLabels, mask::PairLabels, mcl::MclLoss, positives::Positives,
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
    /// `log_others` `[rows, 1]` is the logarithm of the sum over other images; then come the labels of the rows and
    /// of all views; `positives` are those of the rows, and `similarity` `[rows, 1]` the similarities to them, as the
    /// formulation has them.
    pub(crate) fn new(
        loss: &MclLoss,
        log_others: &Tensor<2>,
        [rows, columns]: [&ViewLabels; 2],
        positives: &Positives,
        similarity: Tensor<2>,
    ) -> Self {
        let missing = positives.missing.clone();
        let similarity = similarity.mask_fill(missing.clone(), 0.0);
        let released = (loss.formulation == Formulation::Released).then(|| {
            let mask = PairLabels::paired(rows, &columns.select(&positives.index));
            let mask = mask.mask(loss.mask_weights(), &similarity);
            ReleasedSum::new(loss, log_others.clone(), similarity.clone(), mask)
        });
        Self { similarity, missing, log_others: log_others.clone(), released }
    }

    /// The terms of the mean, `[rows, 1]`.
    pub(crate) fn per_view(&self, loss: &MclLoss) -> Tensor<2> {
        let log_sum = self.released.as_ref().map_or(&self.log_others, |released| &released.log);
        (log_sum.clone() - self.similarity.clone().mul_scalar(1.0 / loss.temperature))
            .mask_fill(self.missing.clone(), 0.0)
    }

    /// The terms with their derivatives.
    pub(crate) fn terms(&self, loss: &MclLoss) -> SpaTerms {
        let (others, attraction) = match &self.released {
            None => (self.similarity.ones_like(), self.similarity.zeros_like()),
            Some(released) => (released.slope_of_others(), released.slope_of_positive(loss)),
        };
        let attraction = attraction.sub_scalar(loss.temperature.recip());
        SpaTerms {
            per_view: self.per_view(loss),
            complete: self.similarity.ones_like(),
            slope_of_others: others.mask_fill(self.missing.clone(), 0.0),
            slope_of_pairs: None,
            slope_of_attraction: Some(attraction.mask_fill(self.missing.clone(), 0.0)),
        }
    }
}
