//! The gradient of MCL in closed form, gathered block by block and handed to autodiff.

use core::ops::Range;

use burn::tensor::Tensor;

use crate::{
    ccm,
    formulation::Formulation,
    mcl::MclLoss,
    pairs::{Pairs, RELEASED_FLOOR},
    similarity::Views,
    spa::SpaTerms,
};

/// What autodiff sees of a batch: the rest of the loss is a constant to it.
#[derive(Debug)]
pub(crate) struct Tracked {
    /// Unit rows, `[2N, dim]`.
    pub(crate) unit: Tensor<2>,
    /// Similarities of siblings, `[2N, 1]`.
    pub(crate) siblings: Tensor<2>,
    /// Similarities to sampled positives, `[2N, 1]`.
    pub(crate) attraction: Option<Tensor<2>>,
}

/// Derivatives of `ccm * CCM + spa * SPA`, constants.
#[derive(Debug)]
pub(crate) struct Slopes {
    ccm: f64,
    spa: f64,
    /// Towards the unit rows: each pair counts once for its row, and once for its column.
    rows: Vec<Tensor<2>>,
    columns: Option<Tensor<2>>,
    /// Towards the similarities of siblings.
    siblings: Vec<Tensor<2>>,
    /// Towards the similarities to sampled positives.
    attraction: Vec<Tensor<2>>,
}

impl Slopes {
    /// Those of no block yet.
    pub(crate) fn of(ccm: f64, spa: f64) -> Self {
        Self { ccm, spa, rows: Vec::new(), columns: None, siblings: Vec::new(), attraction: Vec::new() }
    }

    /// Adds the block of `rows`, the next after the last, with its share in the mean over all views.
    pub(crate) fn add(
        &mut self,
        loss: &MclLoss,
        views: &Views,
        rows: &Range<usize>,
        pairs: &Pairs,
        spa_terms: &SpaTerms,
    ) {
        let share = 1.0 / views.len() as f64;
        let (ccm, spa) = (self.ccm * share, self.spa * share);
        let ccm_slopes = ccm::slopes(loss, pairs);
        // d log_others / d sim(i, k) = m(i, k) exp(m(i, k) sim(i, k)) / sum
        let others = ccm_slopes.others.mul_scalar(ccm) + spa_terms.slope_of_others.clone().mul_scalar(spa);
        let mut towards_pairs =
            pairs.others.exponentials.clone() * pairs.mask.clone() * (others / pairs.others.sum.clone());
        if let Some(slope) = &spa_terms.slope_of_pairs {
            towards_pairs = towards_pairs + slope.clone().mul_scalar(spa);
        }
        if loss.formulation == Formulation::Released {
            let floored = pairs.similarity.clone().lower_equal_scalar(RELEASED_FLOOR);
            towards_pairs = towards_pairs.mask_fill(floored, 0.0);
        }
        // [rows, 2N] x [2N, dim] for the rows, [2N, rows] x [rows, dim] for the columns.
        self.rows.push(towards_pairs.clone().matmul(views.unit().clone()));
        let columns = towards_pairs.transpose().matmul(views.narrow(rows));
        self.columns = Some(match self.columns.take() {
            Some(sum) => sum + columns,
            None => columns,
        });
        self.siblings.push(ccm_slopes.siblings.mul_scalar(ccm));
        self.attraction.extend(spa_terms.slope_of_attraction.clone().map(|slope| slope.mul_scalar(spa)));
    }

    /// `value` with these derivatives.
    ///
    /// A linear function of the tracked parts has them: it is added, and its value taken away again.
    pub(crate) fn attach(self, value: Tensor<1>, tracked: &Tracked) -> Tensor<1> {
        let Some(columns) = self.columns else { return value };
        let along = |part: &Tensor<2>, slope: Tensor<2>| (part.clone() * slope).sum();
        let mut surrogate = along(&tracked.unit, Tensor::cat(self.rows, 0) + columns)
            + along(&tracked.siblings, Tensor::cat(self.siblings, 0));
        if let Some(attraction) = &tracked.attraction {
            surrogate = surrogate + along(attraction, Tensor::cat(self.attraction, 0));
        }
        surrogate.clone() - surrogate.detach() + value
    }
}
