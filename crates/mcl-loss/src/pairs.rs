//! Pairs of some views of a batch, the rows, with all its 2N views, the columns: what the losses take from
//! them.

use burn::tensor::{Bool, Gradients, Tensor};

use crate::log_sum_exp::SumExp;

/// The factor of each similarity in its logit.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one exists at a time")]
pub(crate) enum Weights {
    /// One for all pairs.
    Equal(f64),
    /// The mask `m`, a constant, `[rows, 2N]`.
    Mask(Tensor<2>),
}

impl Weights {
    fn times(&self, values: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Equal(weight) => values.mul_scalar(*weight),
            Self::Mask(mask) => values * mask.clone(),
        }
    }
}

/// The views that attract each row, constants.
#[derive(Debug, Clone)]
pub(crate) struct Candidates {
    /// 1 for candidates, 0 for others, `[rows, 2N]`.
    pub(crate) marks: Tensor<2>,
    /// How many a row has, at least 1, `[rows, 1]`.
    pub(crate) count: Tensor<2>,
    /// Rows that have none, `[rows, 1]`.
    pub(crate) missing: Tensor<2, Bool>,
    /// Mean similarity of each row to its candidates, 0 where there is none, `[rows, 1]`.
    pub(crate) attraction: Tensor<2>,
}

/// The similarities of pairs and their sums over each row.
#[derive(Debug, Clone)]
pub(crate) struct Pairs {
    /// Similarity of each row to each column, `[rows, 2N]`.
    pub(crate) similarity: Tensor<2>,
    /// Logarithm of `sum_k exp(weight(i, k) sim(i, k))` over the columns that are not excluded, `[rows, 1]`.
    pub(crate) log_sum: Tensor<2>,
    /// Of the loss that takes a mean over candidates.
    pub(crate) candidates: Option<Candidates>,
    sum: SumExp,
    weights: Weights,
    floor: Option<f64>,
}

impl Pairs {
    /// From similarities `[rows, 2N]`; `bound` is at least the magnitude of every logit.
    pub(crate) fn new(
        similarity: Tensor<2>,
        weights: Weights,
        excluded: Tensor<2, Bool>,
        bound: f64,
    ) -> Self {
        let sum = SumExp::new(weights.times(similarity.clone()), excluded, bound);
        Self { similarity, log_sum: sum.log(), candidates: None, sum, weights, floor: None }
    }

    /// With the mean similarity to candidates, `[rows, 2N]`.
    pub(crate) fn with_candidates(self, candidates: Tensor<2, Bool>) -> Self {
        let marks = self.similarity.clone().inner().zeros_like().mask_fill(candidates, 1.0);
        // [rows, 2N] -> [rows, 1]
        let count = marks.clone().sum_dim(1);
        let missing = count.clone().lower_scalar(0.5);
        let count = count.clamp_min(1.0);
        let attraction = (self.similarity.clone() * marks.clone()).sum_dim(1) / count.clone();
        Self { candidates: Some(Candidates { marks, count, missing, attraction }), ..self }
    }

    /// With similarities that are constant at a floor, which [`new`](Self::new) was given.
    pub(crate) fn with_floor(self, floor: f64) -> Self {
        Self { floor: Some(floor), ..self }
    }

    /// The same with similarities and sums as leaves of a graph of their own.
    pub(crate) fn leaves(&self) -> Self {
        let candidates = self
            .candidates
            .clone()
            .map(|candidates| Candidates { attraction: leaf(candidates.attraction), ..candidates });
        Self {
            similarity: leaf(self.similarity.clone()),
            log_sum: leaf(self.log_sum.clone()),
            candidates,
            ..self.clone()
        }
    }

    /// The derivatives towards the similarities, `[rows, 2N]`, of a sum whose `gradients` are those of these
    /// [`leaves`](Self::leaves).
    pub(crate) fn slope(&self, gradients: &mut Gradients) -> Tensor<2> {
        let constant = |tensor: &Tensor<2>| tensor.clone().inner();
        let mut slope = self.similarity.grad_remove(gradients);
        let mut add = |part: Tensor<2>| {
            slope = Some(match slope.take() {
                Some(slope) => slope + part,
                None => part,
            });
        };
        // d log_sum / d sim(i, k) = weight(i, k) exp(weight(i, k) sim(i, k)) / sum
        if let Some(gradient) = self.log_sum.grad_remove(gradients) {
            let SumExp { exponentials, sum, .. } = &self.sum;
            add(self.weights.times(exponentials.clone()) * (gradient / sum.clone()));
        }
        if let Some(Candidates { marks, count, attraction, .. }) = &self.candidates
            && let Some(gradient) = attraction.grad_remove(gradients)
        {
            add(marks.clone() * (gradient / count.clone()));
        }
        let slope = slope.unwrap_or_else(|| constant(&self.similarity).zeros_like());
        match self.floor {
            Some(floor) => slope.mask_fill(constant(&self.similarity).lower_equal_scalar(floor), 0.0),
            None => slope,
        }
    }
}

/// A constant as a leaf of a graph.
pub(crate) fn leaf(tensor: Tensor<2>) -> Tensor<2> {
    tensor.autodiff().require_grad()
}
