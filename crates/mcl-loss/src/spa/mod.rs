//! Stochastic positive attraction (SPA, Eq. 7-9): each view is drawn to a view of another image of its label.
//!
//! ```text
//! SPA = mean_i -log( exp(sim(i, p) / temperature) / sum_{k not in image of i} exp(m(i, k) sim(i, k)) )
//! ```
//!
//! over all 2N views `i`, where `p` is drawn uniformly from the views of other images with the label of `i`
//! (class, and auxiliary label if there is one). A view without such a `p` adds 0. [`Sampled`] takes the draw from
//! outside; [`Expected`] averages over all draws in closed form.
//!
//! In the released code the sum differs by three terms ([`released`]), and the draw pairs images, first view with
//! first view.

mod expected;
mod released;
mod sampled;

use burn::tensor::Tensor;

pub(crate) use expected::Expected;
pub(crate) use sampled::Sampled;

/// The terms of SPA of some views, the rows, with their derivatives.
#[derive(Debug)]
pub(crate) struct SpaTerms {
    /// The terms of the mean, `[rows, 1]`.
    pub(crate) per_view: Tensor<2>,
    /// 0 where a view silences SPA for the batch, else 1, `[rows, 1]`.
    pub(crate) complete: Tensor<2>,
    /// Derivative towards the logarithm of the sum over other images, `[rows, 1]`.
    pub(crate) slope_of_others: Tensor<2>,
    /// Derivative of the expectation towards the similarities, `[rows, 2N]`, but for that sum.
    pub(crate) slope_of_pairs: Option<Tensor<2>>,
    /// Derivative of a sample towards the similarities to the positives, `[rows, 1]`, but for that sum.
    pub(crate) slope_of_attraction: Option<Tensor<2>>,
}
