//! What the contrastive losses have in common: the mean over all views of terms that depend on the pairs of a
//! view.

use core::ops::Range;

use burn::tensor::Tensor;

use crate::{
    pairs::Pairs,
    similarity::{Block, Views},
};

/// A loss of this many terms, each a mean over all views.
pub(crate) trait PairLoss<const TERMS: usize> {
    /// The unit rows of the batch.
    fn views(&self) -> &Views;

    /// Similarities of each view to single partners, its sibling for one: `[2N, 1]` each.
    fn partners(&self) -> Vec<Tensor<2>>;

    /// The pairs of some views with all views.
    fn pairs(&self, block: &Block) -> Pairs;

    /// The terms of the views `rows`, `[rows, 1]` each, from their pairs and their similarities to partners.
    fn terms(&self, rows: &Range<usize>, pairs: &Pairs, partners: &[Tensor<2>]) -> [Tensor<2>; TERMS];
}
