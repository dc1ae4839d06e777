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

pub(crate) use expected::Expected;
pub(crate) use sampled::Sampled;
