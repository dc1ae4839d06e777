//! Stochastic positive attraction (SPA, Eq. 7-9): each view is drawn to a view of another image of its label.
//!
//! ```text
//! SPA = mean_i -log( exp(sim(i, p) / temperature) / sum_{k not in image of i} exp(m(i, k) sim(i, k)) )
//! ```
//!
//! over all 2N views `i`, where `p` is drawn uniformly from the views of other images with the label of `i`
//! (class, and auxiliary label if there is one). A view without such a `p` adds 0. [`sampled`] takes the draw
//! from outside; [`expected`] averages over all draws in closed form.
//!
//! In the released code the sum differs by three terms ([`released`]), and the draw pairs images, first view
//! with first view.

pub(crate) mod expected;
mod released;
pub(crate) mod sampled;
