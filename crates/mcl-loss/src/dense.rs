//! MCL from one `[2N, 2N]` matrix of all pairs, differentiated by autodiff.

use crate::{
    ccm,
    labels::ViewLabels,
    mcl::{MclLoss, MclTerms},
    pairs::Pairs,
    positives::Positives,
    similarity::Views,
    spa::{Expected, Sampled},
};

/// The loss and its parts; SPA is its expectation without positives.
pub(crate) fn terms(
    loss: &MclLoss,
    views: &Views,
    labels: &ViewLabels,
    positives: Option<&Positives>,
) -> MclTerms {
    let siblings = loss.floored(views.siblings());
    let pairs = Pairs::new(loss, views, labels, &siblings, &(0..views.len()));
    let spa = match positives {
        Some(positives) => {
            let similarity = loss.floored(views.to_partners(&positives.index));
            Sampled::new(loss, &pairs, labels, labels, positives, similarity).per_view(loss).mean()
        }
        None => {
            let expected = Expected::new(loss, &pairs);
            expected.per_view(loss).mean() * expected.complete(loss).min()
        }
    };
    let ccm = ccm::per_view(loss, &pairs).mean();
    MclTerms::new(ccm, spa, loss.spa_weight)
}
