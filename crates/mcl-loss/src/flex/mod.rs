//! MCL on Burn's CPU backend, flex: all that is done to a pair of views is done at once, while it is in
//! cache.
//!
//! Tensor operations make a pass over memory for each mask, product and exponential of a matrix of all pairs.
//! Here a tile of that matrix is multiplied, masked, exponentiated and summed before the next one, forward
//! and again backward, so that memory grows as the number of views.
//!
//! Masks and similarities are symmetric. The forward pass takes each pair of tiles once, for the sums of the
//! rows and of the columns; these meet in a fixed number of parts, which are added in order. For the backward
//! pass, with `S` the sums of the exponentials of each row, and `g` the gradient towards their logarithms, a
//! pair enters the sums of both of its views with the same exponential:
//!
//! ```text
//! d / d unit_i = sum_k m(i, k) exp(m(i, k) sim(i, k)) (g_i / S_i + g_k / S_k) unit_k
//! ```
//!
//! so that each row's gradient is one product, summed by one thread in one order. Results are the same bits
//! whatever the number of threads.
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
mod unit_rows;

use std::sync::Arc;

use burn::{
    backend::Dispatch,
    tensor::{DType, Device, Tensor},
};
use pulp::Arch;

use extension::PairwiseTerms;
pub(crate) use labels::{Labels, Weights};

/// Largest weight of a pair. Sums of exponentials are taken as they are, without their largest term: they,
/// and the inverse of as many as 2^30 of them, are normal numbers up to here.
pub(crate) const LARGEST_WEIGHT: f64 = 64.0;

/// Whether the functions of this module take a tensor: f32 on flex, with or without autodiff.
pub(crate) fn takes<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && tensor.device() == Device::flex()
}

/// `[views, dim]` rows of any scale to unit length, as in `similarity.rs`.
pub(crate) fn unit_rows(rows: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::unit_rows(rows.into_dispatch()))
}

/// The terms of each view, `[3, views]`, from unit rows `[views, dim]`: the logarithm of the sum of
/// exponentials over other images, the expected SPA as published, and the similarity to the sibling.
///
/// `arch` chooses the vectors of the processor.
pub(crate) fn pairwise_terms(unit: Tensor<2>, labels: Labels, arch: Arch) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::pairwise_terms(unit.into_dispatch(), Arc::new(labels), arch))
}
