//! MCL from one `[2N, 2N]` matrix of all pairs, differentiated by autodiff.

use crate::{
    batch::Batch,
    ccm,
    mcl::{MclLoss, MclTerms},
    pairs::Pairs,
    spa::{Expected, Sampled},
};

/// The loss and its parts.
pub(crate) fn terms(loss: &MclLoss, batch: &Batch) -> MclTerms {
    let views = &batch.views;
    let siblings = loss.floored(views.siblings());
    let pairs = Pairs::new(loss, views, &batch.labels, &siblings, &(0..views.len()));
    let spa = match &batch.positives {
        Some(positives) => {
            let attraction = loss.floored(views.to_partners(&positives.index));
            Sampled::new(loss, &pairs.log_others, [&pairs.rows, &pairs.columns], positives, attraction)
                .per_view(loss)
                .mean()
        }
        None => {
            let expected = Expected::new(loss, &pairs);
            expected.per_view(loss).mean() * expected.complete(loss).min()
        }
    };
    let ccm = ccm::per_view(loss, &pairs.log_others, &pairs.siblings).mean();
    MclTerms::new(ccm, spa, loss.spa_weight)
}
