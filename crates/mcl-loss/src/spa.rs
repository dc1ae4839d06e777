//! Stochastic positive attraction (SPA, Eq. 7-9): each view is drawn to a view of another image of its label.
//!
//! ```text
//! SPA = mean_i -log( exp(sim(i, p) / temperature) / sum_{k not in image of i} exp(m(i, k) sim(i, k)) )
//! ```
//!
//! over all 2N views `i`, where `p` is drawn uniformly from the views of other images with the label of `i`
//! (class, and auxiliary label if there is one). A view without such a `p` adds 0. [`sampled`] takes the
//! draw from outside; [`expected`] averages over all draws in closed form.
//!
//! In the released code the sum differs by three terms: the sibling of `i` stays in it as `exp(0)`, and `p`
//! has the weight `1 / temperature` instead of `m(i, p)`. Its draw pairs images, first view with first view.

use burn::tensor::{Bool, Tensor};

use crate::{
    formulation::Formulation,
    labels::ViewLabels,
    mask::{PairLabels, same_position},
    mcl::MclLoss,
    pairs::Pairs,
    positives::Positives,
    similarity::Views,
};

/// SPA with one given positive per view, `[1]`.
pub(crate) fn sampled(
    loss: &MclLoss,
    views: &Views,
    labels: &ViewLabels,
    pairs: &Pairs,
    positives: &Positives,
) -> Tensor<1> {
    let missing = positives.missing.clone();
    let similarity = loss.floored(views.to_partners(&positives.index)).mask_fill(missing.clone(), 0.0);
    let log_sum = match loss.formulation {
        Formulation::Paper => pairs.log_others.clone(),
        Formulation::Released => {
            let mask =
                PairLabels::with_partners(labels, &positives.index).mask(loss.mask_weights(), &similarity);
            released_log_sum(loss, pairs.log_others.clone(), similarity.clone(), mask)
        }
    };
    (log_sum - similarity.div_scalar(loss.temperature)).mask_fill(missing, 0.0).mean()
}

/// The expectation of SPA over the draw of the positives, `[1]`.
pub(crate) fn expected(loss: &MclLoss, pairs: &Pairs) -> Tensor<1> {
    match loss.formulation {
        Formulation::Paper => expected_paper(loss, pairs),
        Formulation::Released => expected_released(loss, pairs),
    }
}

/// The sum does not depend on the draw: the expectation replaces the similarity by its mean over the positives.
fn expected_paper(loss: &MclLoss, pairs: &Pairs) -> Tensor<1> {
    let positive = pairs.labels.same_label().bool_and(pairs.same_image.clone().bool_not());
    let (share, missing) = shares(positive, &pairs.similarity);
    let similarity = (pairs.similarity.clone() * share).sum_dim(1);
    (pairs.log_others.clone() - similarity.div_scalar(loss.temperature)).mask_fill(missing, 0.0).mean()
}

/// The sum depends on the draw: the expectation is over the whole logarithm.
fn expected_released(loss: &MclLoss, pairs: &Pairs) -> Tensor<1> {
    let positive = pairs
        .labels
        .same_label()
        .bool_and(pairs.same_image.clone().bool_not())
        .bool_and(same_position(&pairs.similarity));
    // Outside of the positives any finite value does; 0 keeps the logarithm's argument above 1.
    let similarity = pairs.similarity.clone().mask_fill(positive.clone().bool_not(), 0.0);
    let mask = similarity.clone().inner().full_like(loss.alpha);
    let log_others = pairs.log_others.clone().expand(similarity.dims());
    let log_sum = released_log_sum(loss, log_others, similarity.clone(), mask);
    let (share, missing) = shares(positive, &pairs.similarity);
    let per_view = ((log_sum - similarity.div_scalar(loss.temperature)) * share).sum_dim(1);
    // One view without a partner drops the term of the batch.
    let complete = per_view.clone().inner().ones_like().mask_fill(missing, 0.0).min();
    per_view.mean() * complete
}

/// `log( sum over others + exp(0) - exp(m sim) + exp(sim / temperature) )` for a positive of similarity `sim`.
///
/// All of one shape. The third term removes what the first holds of the positive, so the sum stays positive; it is
/// at least 1 after division by its largest term.
fn released_log_sum(
    loss: &MclLoss,
    log_others: Tensor<2>,
    similarity: Tensor<2>,
    mask: Tensor<2>,
) -> Tensor<2> {
    let attracted = similarity.clone().div_scalar(loss.temperature);
    let largest = log_others.clone().inner().max_pair(attracted.clone().inner()).clamp_min(0.0);
    let sum = (log_others - largest.clone()).exp() - (similarity * mask - largest.clone()).exp()
        + (attracted - largest.clone()).exp()
        + largest.clone().neg().exp();
    sum.log() + largest
}

/// Each positive's share in the mean of its row, and the rows that have none: `[2N, 2N]`, `[2N, 1]`.
fn shares(positive: Tensor<2, Bool>, similarity: &Tensor<2>) -> (Tensor<2>, Tensor<2, Bool>) {
    let marks = similarity.clone().inner().zeros_like().mask_fill(positive, 1.0);
    let count = marks.clone().sum_dim(1);
    let missing = count.clone().lower_scalar(0.5);
    (marks / count.clamp_min(1.0), missing)
}
