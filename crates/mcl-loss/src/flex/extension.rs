//! The sums over pairs as an operation of the flex backend, with and without autodiff.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};
use pulp::Arch;

use super::flat::Flat;
use super::labels::Labels;
use super::pair_sums::PairSums;
use super::unit_rows::UnitRows;

/// Operations on the views of a batch, `[views, dim]`.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait PairwiseTerms: Backend {
    /// Rows of any scale to unit length.
    fn unit_rows(rows: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Of unit rows, `[3, views]`; see [`pairwise_terms`](super::pairwise_terms).
    fn pairwise_terms(unit: FloatTensor<Self>, labels: Arc<Labels>, arch: Arch) -> FloatTensor<Self>;
}

impl PairwiseTerms for Flex {
    fn unit_rows(rows: Flat) -> Flat {
        UnitRows::new(&rows).unit
    }

    fn pairwise_terms(unit: Flat, labels: Arc<Labels>, arch: Arch) -> Flat {
        let (_, terms) = PairSums::new(&unit, labels, arch);
        terms
    }
}

impl<C: CheckpointStrategy> PairwiseTerms for Autodiff<Flex, C> {
    fn unit_rows(rows: FloatTensor<Self>) -> FloatTensor<Self> {
        let (rows, node) = rows.into_parts();
        let rows = UnitRows::new(&rows);
        let unit = rows.unit.clone();
        match UnitRowsBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(rows, unit),
            OpsKind::UnTracked(prep) => prep.finish(unit),
        }
    }

    fn pairwise_terms(unit: FloatTensor<Self>, labels: Arc<Labels>, arch: Arch) -> FloatTensor<Self> {
        let (unit, node) = unit.into_parts();
        let (sums, terms) = PairSums::new(&unit, labels, arch);
        match PairwiseTermsBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(sums, terms),
            OpsKind::UnTracked(prep) => prep.finish(terms),
        }
    }
}

/// Backward of [`PairwiseTerms::unit_rows`].
#[derive(Debug)]
struct UnitRowsBackward;

impl Backward<Flex, 1> for UnitRowsBackward {
    type State = UnitRows;

    fn backward(self, ops: Ops<UnitRows, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_unit = grads.consume::<Flex>(&ops.node);
        if let [Some(parent)] = ops.parents {
            grads.register::<Flex>(parent.id, ops.state.backward(&d_unit));
        }
    }
}

/// Backward of [`PairwiseTerms::pairwise_terms`].
#[derive(Debug)]
struct PairwiseTermsBackward;

impl Backward<Flex, 1> for PairwiseTermsBackward {
    type State = PairSums;

    fn backward(self, ops: Ops<PairSums, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_terms = grads.consume::<Flex>(&ops.node);
        if let [Some(parent)] = ops.parents {
            grads.register::<Flex>(parent.id, ops.state.backward(&d_terms));
        }
    }
}
