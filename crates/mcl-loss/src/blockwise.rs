//! A loss from blocks of rows of the matrix of all pairs, in memory that grows as 2N, on any backend.
//!
//! Autodiff would keep every intermediate `[2N, 2N]` matrix until the backward pass. Here each block of rows
//! is reduced to its share of the loss and of the gradient at once, and dropped. Autodiff differentiates the
//! terms of the rows towards the sums over their pairs; the sums are differentiated by
//! [`Pairs::slope`](crate::pairs::Pairs::slope). The gradient joins the graph of the caller as a linear
//! function ([`Gradient::attach`]).

use core::ops::Range;

use burn::tensor::Tensor;

use crate::{
    dense,
    pair_loss::PairLoss,
    pairs::leaf,
    similarity::{Block, Views},
    views::VIEWS,
};

/// Matrices of pairs that autodiff has in memory for a batch that is taken as one, roughly.
const MATRICES: usize = 16;

/// Least bytes of these matrices for which a batch is taken in blocks: 2048 views in f32 need half of them.
const FROM_BYTES: usize = 512 << 20;

/// Bytes of one matrix of a block, of which some ten exist at a time.
const BLOCK_BYTES: usize = 8 << 20;

/// Least rows of a block: each block also adds to a `[2N, dim]` gradient, at a cost that its rows share.
const LEAST_ROWS: usize = 64;

/// Rows of a block in this batch, or `None` if one matrix of all pairs is small enough; `asked` is the
/// caller's wish.
pub(crate) fn rows_per_block(views: &Views, asked: Option<usize>) -> Option<usize> {
    asked.or_else(|| rows_within_memory(views.len(), views.unit().dtype().size()))
}

fn rows_within_memory(views: usize, bytes_of_entry: usize) -> Option<usize> {
    let row = bytes_of_entry.saturating_mul(views);
    let all = MATRICES.saturating_mul(row).saturating_mul(views);
    (all >= FROM_BYTES).then(|| (BLOCK_BYTES / row).max(LEAST_ROWS))
}

/// The rows of each block. Both views of an image are in one block: `rows_per_block` is rounded up.
pub(crate) fn ranges(views: usize, rows_per_block: usize) -> impl Iterator<Item = Range<usize>> {
    let rows = rows_per_block.max(1).next_multiple_of(VIEWS);
    (0..views).step_by(rows).map(move |start| start..views.min(start + rows))
}

/// The means of a loss over all views.
#[derive(Debug)]
pub(crate) struct Means<const TERMS: usize, const OBJECTIVES: usize> {
    /// Of each term, constants.
    pub(crate) terms: [Tensor<1>; TERMS],
    /// Of each objective, with its gradient if the views are tracked.
    pub(crate) objectives: [Tensor<1>; OBJECTIVES],
}

/// The mean of a loss of one term, in blocks if it must be or `asked` is given.
pub(crate) fn mean(loss: &impl PairLoss<1>, asked: Option<usize>) -> Tensor<1> {
    let [mean] = match rows_per_block(loss.views(), asked) {
        None => dense::means(loss),
        Some(rows) => means(loss, rows, [[1.0]]).objectives,
    };
    mean
}

/// The means of terms and of objectives, which are sums of terms with these weights. Each objective costs a
/// gradient.
pub(crate) fn means<const TERMS: usize, const OBJECTIVES: usize>(
    loss: &impl PairLoss<TERMS>,
    rows_per_block: usize,
    objectives: [[f64; TERMS]; OBJECTIVES],
) -> Means<TERMS, OBJECTIVES> {
    let views = loss.views();
    let tracked = views.unit().is_tracked();
    let partners = loss.partners();
    let mut gradients = objectives.map(|_| Gradient::default());
    let mut of_rows: [Vec<Tensor<2>>; TERMS] = std::array::from_fn(|_| Vec::new());
    for rows in ranges(views.len(), rows_per_block) {
        let block = views.block(rows);
        let pairs = loss.pairs(&block);
        let partners: Vec<_> = partners
            .iter()
            .map(|partner| partner.clone().inner().narrow(0, block.range.start, block.range.len()))
            .collect();
        let mut values = None;
        if tracked {
            for (gradient, weights) in gradients.iter_mut().zip(objectives) {
                let pairs = pairs.leaves();
                let partners: Vec<_> = partners.iter().cloned().map(leaf).collect();
                let terms = loss.terms(&block.range, &pairs, &partners);
                values = Some(terms.clone().map(Tensor::inner));
                let mut slopes = sum_of(terms.map(Tensor::sum), weights).backward();
                let of_pairs = pairs.slope(&mut slopes);
                let of_partners = partners.iter().map(|partner| {
                    let slope = partner.grad_remove(&mut slopes);
                    slope.unwrap_or_else(|| partner.clone().inner().zeros_like())
                });
                gradient.add(&block, of_pairs, of_partners);
            }
        }
        let values = values.unwrap_or_else(|| loss.terms(&block.range, &pairs, &partners));
        for (of_rows, values) in of_rows.iter_mut().zip(values) {
            of_rows.push(values);
        }
    }
    let terms = of_rows.map(|of_rows| Tensor::cat(of_rows, 0).mean());
    let mut gradients = gradients.into_iter();
    let objectives = objectives.map(|weights| {
        let value = sum_of(terms.clone(), weights);
        match gradients.next() {
            Some(gradient) if tracked => gradient.attach(value, views, &partners),
            _ => value,
        }
    });
    Means { terms, objectives }
}

/// The sum of terms with these weights; terms of weight 0 are left out.
fn sum_of<const TERMS: usize>(terms: [Tensor<1>; TERMS], weights: [f64; TERMS]) -> Tensor<1> {
    let weighted = terms.into_iter().zip(weights).filter(|(_, weight)| *weight != 0.0);
    let weighted = weighted.map(|(term, weight)| if weight == 1.0 { term } else { term.mul_scalar(weight) });
    weighted.reduce(|sum, term| sum + term).expect("an objective has a term")
}

/// Derivatives of the sum of an objective over views, constants.
#[derive(Debug, Default)]
struct Gradient {
    /// Towards the unit rows: each pair counts once for its row, and once for its column.
    rows: Vec<Tensor<2>>,
    columns: Option<Tensor<2>>,
    /// Towards the similarities to each kind of partners, by block.
    partners: Vec<Vec<Tensor<2>>>,
}

impl Gradient {
    /// Adds a block, the next after the last, with derivatives towards its pairs and towards partners.
    fn add(&mut self, block: &Block, pairs: Tensor<2>, partners: impl Iterator<Item = Tensor<2>>) {
        // [rows, 2N] x [2N, dim] for the rows, [2N, rows] x [rows, dim] for the columns.
        self.rows.push(pairs.clone().matmul(block.columns.clone()));
        let columns = pairs.transpose().matmul(block.rows.clone());
        self.columns = Some(match self.columns.take() {
            Some(sum) => sum + columns,
            None => columns,
        });
        self.partners.push(partners.collect());
    }

    /// The value of a mean with these derivatives of its sum.
    ///
    /// A linear function of unit rows and partners has them: it is added, and its value taken away again.
    fn attach(self, value: Tensor<1>, views: &Views, partners: &[Tensor<2>]) -> Tensor<1> {
        let Some(columns) = self.columns else { return value };
        let along = |part: &Tensor<2>, slope: Tensor<2>| {
            (part.clone() * slope.mul_scalar(1.0 / views.len() as f64)).sum()
        };
        let mut linear = along(views.unit(), Tensor::cat(self.rows, 0) + columns);
        for (kind, partner) in partners.iter().enumerate() {
            let slope = self.partners.iter().map(|of_block| of_block[kind].clone()).collect();
            linear = linear + along(partner, Tensor::cat(slope, 0));
        }
        linear.clone() - linear.detach() + value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_to_their_memory() {
        assert_eq!(rows_within_memory(2048, 4), None);
        assert_eq!(rows_within_memory(2048, 8), Some(512));
        for views in [4096, 8192, 16_384] {
            let rows = rows_within_memory(views, 4).unwrap();
            assert_eq!(rows * views * 4, BLOCK_BYTES);
        }
        assert_eq!(rows_within_memory(1 << 20, 4), Some(LEAST_ROWS));
    }

    #[test]
    fn blocks_hold_both_views_of_an_image() {
        assert_eq!(ranges(10, 3).collect::<Vec<_>>(), [0..4, 4..8, 8..10]);
        assert_eq!(ranges(4, 0).collect::<Vec<_>>(), [0..2, 2..4]);
    }
}
