//! A loss from one `[2N, 2N]` matrix of all pairs, differentiated by autodiff.

use burn::tensor::Tensor;

use crate::pair_loss::PairLoss;

/// The mean of each term.
pub(crate) fn means<const TERMS: usize>(loss: &impl PairLoss<TERMS>) -> [Tensor<1>; TERMS] {
    let block = loss.views().all();
    loss.terms(&block.range, &loss.pairs(&block), &loss.partners()).map(Tensor::mean)
}
