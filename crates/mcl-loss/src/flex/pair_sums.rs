//! The sums over all pairs of views and their gradient, on all threads.

use burn::{
    backend::{Flex, TensorMetadata, tensor::FloatTensor},
    tensor::TensorData,
};
use rayon::prelude::*;
use std::sync::Arc;

use super::{
    labels::Labels,
    product::{ROWS, dispatch},
    rows::{GradientTile, Scratch, Slopes, SumTile, Sums, Views},
};
use crate::log_sum_exp::VANISHING;

/// A tensor of the flex backend.
pub(super) type Flat = FloatTensor<Flex>;

/// What the gradient needs of the sums: it grows as the number of views.
#[derive(Debug, Clone)]
pub(super) struct PairSums {
    /// `[views, dim]`, dense.
    unit: Flat,
    labels: Arc<Labels>,
    /// `sum_k exp(m(i, k) sim(i, k))` over views of other images.
    others: Vec<f32>,
}

impl PairSums {
    /// Returns also the terms of each view, `[2, views]`: the logarithm of its sum over other images, and its expected
    /// SPA as published.
    pub(super) fn new(unit: &Flat, labels: Arc<Labels>) -> (Self, Flat) {
        let unit = unit.to_contiguous();
        let [views, dim] = unit.shape().dims();
        let mut sums = vec![Sums::default(); views];
        let columns = Views::new(values(&unit), dim);
        sums.par_chunks_mut(ROWS).enumerate().for_each_init(
            || Scratch::new(dim, 0),
            |scratch, (tile, sums)| {
                let (views, labels, start) = (&columns, &*labels, tile * ROWS);
                dispatch(SumTile { views, labels, start, scratch, sums });
            },
        );
        let terms = sums.iter().zip(&labels.positives).map(|(sums, &positives)| {
            // Of a single image there are no others: as the logarithm of a sum that vanishes beside any true one.
            let nothing = -f64::from(labels.weights.other_class) - VANISHING;
            let log_others = if sums.others == 0.0 { nothing } else { sums.others.ln() };
            let mean = sums.attraction / f64::from(positives.max(1));
            let spa = if positives == 0 { 0.0 } else { log_others - mean / f64::from(labels.temperature) };
            (log_others as f32, spa as f32)
        });
        let (log_others, spa): (Vec<_>, Vec<_>) = terms.unzip();
        let terms = tensor([log_others, spa].concat(), [2, views]);
        let others = sums.iter().map(|sums| sums.others as f32).collect();
        (Self { unit, labels, others }, terms)
    }

    /// The gradient towards the unit rows, from that towards the terms.
    pub(super) fn backward(&self, d_terms: &Flat) -> Flat {
        let Self { unit, labels, others } = self;
        let [views, dim] = unit.shape().dims();
        let d_terms = d_terms.to_contiguous();
        let slopes = self.slopes(values(&d_terms));
        drop(d_terms);
        let columns = Views::new(values(unit), dim);
        let rows = columns.rows();
        let mut gradient = vec![0.0; others.len() * dim];
        gradient.par_chunks_mut(ROWS * dim).enumerate().for_each_init(
            || Scratch::new(dim, rows.padded_columns()),
            |scratch, (tile, gradient)| {
                let (views, rows, slopes, start) = (&columns, &rows, &slopes, tile * ROWS);
                dispatch(GradientTile { views, rows, labels, slopes, start, scratch, gradient });
            },
        );
        tensor(gradient, [views, dim])
    }

    /// The chain rule from the terms of a view to the parts that its pairs enter.
    fn slopes(&self, d_terms: &[f32]) -> Slopes {
        let (log_others, spa) = d_terms.split_at(self.others.len());
        let terms = log_others.iter().zip(spa).zip(&self.others).zip(&self.labels.positives);
        let (others, attraction) = terms
            .map(|(((&log_others, &spa), &others), &positives)| {
                let spa = if positives == 0 { 0.0 } else { spa };
                let towards_others = if others == 0.0 { 0.0 } else { (log_others + spa) / others };
                (towards_others, -spa / (self.labels.temperature * positives.max(1) as f32))
            })
            .unzip();
        Slopes { others, attraction }
    }
}

fn values(tensor: &Flat) -> &[f32] {
    tensor.as_slice().expect("a dense f32 tensor")
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Flat {
    Flat::from_data(TensorData::new(values, shape))
}
