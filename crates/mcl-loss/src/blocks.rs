//! Means over the views of a batch, from one matrix of all pairs or from blocks of its rows.
//!
//! Autodiff keeps every intermediate `[2N, 2N]` matrix until the backward pass. A block of rows is differentiated at
//! once, on leaves of its own, and dropped: memory grows as 2N, not as (2N)^2, on any backend. The gradient then joins
//! the graph of the caller as a linear function of the unit rows.

use core::ops::Range;

use burn::tensor::Tensor;

use crate::{
    similarity::{Block, Views},
    views::VIEWS,
};

/// Matrices of pairs that a backward pass finds in memory, roughly.
const MATRICES: usize = 16;

/// Most bytes of these matrices for a batch that is taken as one: 2048 views in f32 need half of them.
const DENSE_BYTES: usize = 512 << 20;

/// Bytes of these matrices for a block.
const BLOCK_BYTES: usize = 64 << 20;

/// Least rows of a block: each block also adds to a `[2N, dim]` gradient, at a cost that its rows share.
const LEAST_ROWS: usize = 64;

/// Rows of a block in this batch, or `None` if one matrix of all pairs is small enough; `asked` is the caller's wish.
pub(crate) fn rows_per_block(views: &Views, asked: Option<usize>) -> Option<usize> {
    asked.or_else(|| rows_within_memory(views.len(), views.unit().dtype().size()))
}

fn rows_within_memory(views: usize, bytes_of_entry: usize) -> Option<usize> {
    let row = MATRICES * bytes_of_entry * views;
    (row.saturating_mul(views) >= DENSE_BYTES).then(|| (BLOCK_BYTES / row).max(LEAST_ROWS))
}

/// The mean of a term of each view, `[rows, 1]`, over all views.
pub(crate) fn mean(views: &Views, asked: Option<usize>, term: impl Fn(&Block) -> Tensor<2>) -> Tensor<1> {
    match rows_per_block(views, asked) {
        None => term(&views.all()).mean(),
        Some(rows) => {
            let [mean] = means(views, rows, |block| [term(block)]);
            mean
        }
    }
}

/// The means of some terms of each view, `[rows, 1]` each, over all views. The first mean alone has a gradient.
pub(crate) fn means<const TERMS: usize>(
    views: &Views,
    rows_per_block: usize,
    terms: impl Fn(&Block) -> [Tensor<2>; TERMS],
) -> [Tensor<1>; TERMS] {
    let mut gradient = views.unit().is_tracked().then(Gradient::default);
    let mut of_views: [Vec<Tensor<2>>; TERMS] = std::array::from_fn(|_| Vec::new());
    for rows in ranges(views.len(), rows_per_block) {
        let mut block = views.block(rows);
        if gradient.is_some() {
            block = block.leaves();
        }
        let terms = terms(&block);
        if let Some(gradient) = &mut gradient {
            gradient.add(&block, &terms[0]);
        }
        for (of_views, term) in of_views.iter_mut().zip(terms) {
            of_views.push(term.inner());
        }
    }
    let mut means = of_views.map(|of_views| Tensor::cat(of_views, 0).mean());
    if let Some(gradient) = gradient {
        means[0] = gradient.attach(means[0].clone(), views);
    }
    means
}

/// The rows of each block. Both views of an image are in one block: `rows_per_block` is rounded up.
pub(crate) fn ranges(views: usize, rows_per_block: usize) -> impl Iterator<Item = Range<usize>> {
    let rows = rows_per_block.max(1).next_multiple_of(VIEWS);
    (0..views).step_by(rows).map(move |start| start..views.min(start + rows))
}

/// Derivatives of a sum over views towards the unit rows, constants.
#[derive(Debug, Default)]
struct Gradient {
    /// Of the pairs of each block towards its rows.
    rows: Vec<Tensor<2>>,
    /// Of the pairs of all blocks towards their columns, `[2N, dim]`.
    columns: Option<Tensor<2>>,
}

impl Gradient {
    /// Adds the terms of a block, the next after the last.
    fn add(&mut self, block: &Block, terms: &Tensor<2>) {
        let mut gradients = terms.clone().sum().backward();
        let mut take = |leaf: &Tensor<2>| {
            leaf.grad_remove(&mut gradients).unwrap_or_else(|| leaf.clone().inner().zeros_like())
        };
        self.rows.push(take(&block.rows));
        let columns = take(&block.columns);
        self.columns = Some(match self.columns.take() {
            Some(sum) => sum + columns,
            None => columns,
        });
    }

    /// `mean`, a constant, with these derivatives of its sum.
    ///
    /// A linear function of the unit rows has them: it is added, and its value taken away again.
    fn attach(self, mean: Tensor<1>, views: &Views) -> Tensor<1> {
        let Some(columns) = self.columns else { return mean };
        let slope = (Tensor::cat(self.rows, 0) + columns).mul_scalar(1.0 / views.len() as f64);
        let linear = (views.unit().clone() * slope).sum();
        linear.clone() - linear.detach() + mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_to_their_memory() {
        assert_eq!(rows_within_memory(2048, 4), None);
        assert_eq!(rows_within_memory(4096, 4), Some(256));
        assert_eq!(rows_within_memory(2048, 8), Some(256));
        for views in [4096, 8192, 16_384] {
            let rows = rows_within_memory(views, 4).unwrap();
            assert_eq!(rows * views * 4 * MATRICES, BLOCK_BYTES);
        }
        assert_eq!(rows_within_memory(1 << 20, 4), Some(LEAST_ROWS));
    }
}
