//! MCL on Burn's CPU backend, flex: all that is done to a pair of views is done at once, while it is in cache.
//!
//! Tensor operations make a pass over memory for each mask, product and exponential of a matrix of all pairs. Here a
//! tile of that matrix is multiplied, masked, exponentiated and summed before the next one, forward and again
//! backward, so that memory grows as the number of views.
//!
//! Masks and similarities are symmetric. The forward pass takes each pair of tiles once, for the sums of the rows and of
//! the columns; these meet in a fixed number of parts, which are added in order. For the backward pass, with `S` the sums
//! of the exponentials of each row, and `g` the gradient towards their logarithms, a pair enters the sums of both of its
//! views with the same exponential:
//!
//! ```text
//! d / d unit_i = sum_k m(i, k) exp(m(i, k) sim(i, k)) (g_i / S_i + g_k / S_k) unit_k
//! ```
//!
//! so that each row's gradient is one product, summed by one thread in one order. Results are the same bits whatever the
//! number of threads.
//!
//! | file | what |
//! |---|---|
//! | `product.rs` | matrix products in registers |
//! | `exponential.rs` | `exp` in vectors |
//! | `labels.rs` | labels and mask of pairs |
//! | `rows.rs` | the loops over pairs of a tile |
//! | `pair_sums.rs` | sums and gradient over all tiles, on all threads |
//! | `unit_rows.rs` | rows of any scale to unit length |
//! | `flat.rs` | tensors as slices |
//! | `extension.rs` | these as operations of Burn's backend, with autodiff |

mod exponential;
mod extension;
mod flat;
mod labels;
mod pair_sums;
mod product;
mod rows;
#[cfg(test)]
mod tests;
mod unit_rows;

use std::sync::Arc;

use burn::{
    backend::Dispatch,
    tensor::{DType, Device, Tensor},
};

use crate::{
    batch::Batch,
    ccm,
    formulation::Formulation,
    mcl::{MclLoss, MclTerms},
    spa::Sampled,
};
use extension::PairwiseTerms;
use labels::Labels;

/// Largest `1 / temperature`. Sums of exponentials are taken as they are, without their largest term: they, and the
/// inverse of as many as 2^30 of them, are normal numbers up to here.
const LARGEST_LOGIT: f64 = 64.0;

/// Whether the functions of this module take a tensor: f32 on flex, with or without autodiff.
pub(crate) fn takes<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && tensor.device() == Device::flex()
}

/// `[views, dim]` rows of any scale to unit length; see [`Views`](crate::similarity::Views).
pub(crate) fn unit_rows(rows: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::unit_rows(rows.into_dispatch()))
}

/// Whether [`terms`] may be called.
///
/// The expected SPA of the released code is left to tensor operations: each pair has a denominator of its own.
pub(crate) fn supports(loss: &MclLoss, batch: &Batch) -> bool {
    let expected_release = loss.formulation == Formulation::Released && batch.positives.is_none();
    takes(batch.views.unit()) && loss.largest_logit() <= LARGEST_LOGIT && !expected_release
}

/// The loss and its parts.
pub(crate) fn terms(loss: &MclLoss, batch: &Batch) -> MclTerms {
    let Batch { views, labels, positives } = batch;
    let of_pairs = Arc::new(Labels::new(loss, labels));
    let unit = views.unit().clone().into_dispatch();
    let of_views = Tensor::<2>::from_dispatch(Dispatch::pairwise_terms(unit, of_pairs));
    let column = |term| of_views.clone().narrow(0, term, 1).reshape([views.len(), 1]);
    let log_others = column(0);
    let ccm = ccm::per_view(loss, &log_others, &loss.floored(column(2)));
    let spa = match positives {
        Some(positives) => {
            let attraction = loss.floored(views.to_partners(&positives.index));
            Sampled::new(loss, &log_others, [labels, labels], positives, attraction).per_view(loss)
        }
        None => column(1),
    };
    MclTerms::new(ccm.mean(), spa.mean(), loss.spa_weight)
}
