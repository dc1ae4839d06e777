//! The expectation of SPA over the draw of the positives (Eq. 9 in closed form).

use burn::tensor::{Bool, Tensor};

use super::{SpaTerms, released::ReleasedSum};
use crate::{formulation::Formulation, mcl::MclLoss, pairs::Pairs};

/// The expected terms of some views, the rows.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    similarity: Tensor<2>,
    /// Probability that a row draws a column, 0 throughout where there is none to draw, `[rows, 2N]`.
    share: Tensor<2>,
    missing: Tensor<2, Bool>,
    log_others: Tensor<2>,
    released: Option<ReleasedSum>,
}

impl Expected {
    /// The terms of the rows of `pairs`.
    pub(crate) fn new(loss: &MclLoss, pairs: &Pairs) -> Self {
        let positives = pairs.positives(loss.formulation);
        let marks = pairs.mask.zeros_like().mask_fill(positives.clone(), 1.0);
        let count = marks.clone().sum_dim(1);
        let missing = count.clone().lower_scalar(0.5);
        let share = marks / count.clamp_min(1.0);
        let log_others = pairs.log_others.clone();
        let (similarity, released) = match loss.formulation {
            Formulation::Paper => (pairs.similarity.clone(), None),
            Formulation::Released => {
                // Outside of the positives any value does; 0 keeps the denominator above 1.
                let similarity = pairs.similarity.clone().mask_fill(positives.bool_not(), 0.0);
                let log_others = log_others.clone().expand(similarity.dims());
                let mask = pairs.mask.full_like(loss.alpha);
                let released = ReleasedSum::new(loss, log_others, similarity.clone(), mask);
                (similarity, Some(released))
            }
        };
        Self { similarity, share, missing, log_others, released }
    }

    /// The terms of the mean, `[rows, 1]`.
    pub(crate) fn per_view(&self, loss: &MclLoss) -> Tensor<2> {
        let attraction = self.similarity.clone().mul_scalar(1.0 / loss.temperature);
        match &self.released {
            // The sum does not depend on the draw: the mean of the similarities is enough.
            None => (self.log_others.clone() - (attraction * self.share.clone()).sum_dim(1))
                .mask_fill(self.missing.clone(), 0.0),
            Some(released) => ((released.log.clone() - attraction) * self.share.clone()).sum_dim(1),
        }
    }

    /// The terms with their derivatives.
    pub(crate) fn terms(&self, loss: &MclLoss) -> SpaTerms {
        let attraction = loss.temperature.recip();
        let (others, pairs) = match &self.released {
            None => (
                self.log_others.ones_like().mask_fill(self.missing.clone(), 0.0),
                self.share.clone().mul_scalar(-attraction),
            ),
            Some(released) => (
                (released.slope_of_others() * self.share.clone()).sum_dim(1),
                released.slope_of_positive(loss).sub_scalar(attraction) * self.share.clone(),
            ),
        };
        SpaTerms {
            per_view: self.per_view(loss),
            complete: self.complete(loss),
            slope_of_others: others,
            slope_of_pairs: Some(pairs),
            slope_of_attraction: None,
        }
    }

    /// 1 for rows that count, `[rows, 1]`: in the released code a view without a positive silences all.
    pub(crate) fn complete(&self, loss: &MclLoss) -> Tensor<2> {
        let ones = self.log_others.clone().inner().ones_like();
        match loss.formulation {
            Formulation::Paper => ones,
            Formulation::Released => ones.mask_fill(self.missing.clone(), 0.0),
        }
    }
}
