//! The sums over pairs as an operation of the flex backend, with and without autodiff.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};

use super::labels::Labels;
use super::pair_sums::{Flat, PairSums};

/// Operations on unit rows `[views, dim]`.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait PairwiseTerms: Backend {
    /// The logarithm of the sum over other images, and the expected SPA as published: `[2, views]`.
    fn pairwise_terms(unit: FloatTensor<Self>, labels: Arc<Labels>) -> FloatTensor<Self>;
}

impl PairwiseTerms for Flex {
    fn pairwise_terms(unit: Flat, labels: Arc<Labels>) -> Flat {
        let (_, terms) = PairSums::new(&unit, labels);
        terms
    }
}

impl<C: CheckpointStrategy> PairwiseTerms for Autodiff<Flex, C> {
    fn pairwise_terms(unit: FloatTensor<Self>, labels: Arc<Labels>) -> FloatTensor<Self> {
        let (unit, node) = unit.into_parts();
        let (sums, terms) = PairSums::new(&unit, labels);
        match Differentiate.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(sums, terms),
            OpsKind::UnTracked(prep) => prep.finish(terms),
        }
    }
}

/// Backward of [`PairwiseTerms::pairwise_terms`].
#[derive(Debug)]
struct Differentiate;

impl Backward<Flex, 1> for Differentiate {
    type State = PairSums;

    fn backward(self, ops: Ops<PairSums, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_terms = grads.consume::<Flex>(&ops.node);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            grads.register::<Flex>(parent.id, ops.state.backward(&d_terms));
        }
    }
}
