//! The sums over all pairs of views and their gradient, on all threads.

use std::sync::Arc;

use burn::backend::TensorMetadata;
use pulp::Arch;
use rayon::prelude::*;

use super::{
    flat::{Flat, dense, tensor, values},
    labels::Labels,
    product::ROWS,
    rows::{GradientTile, PaddedRows, Scratch, Slopes, SumTile, Sums},
    unit_rows::dot,
};
use crate::{log_sum_exp::VANISHING, views::VIEWS};

/// Parts of the sums, each of every so many tiles, that are computed side by side and added in order: as many
/// on any machine, so that the bits of the sums do not depend on it.
const PARTS: usize = 32;

/// What the gradient needs of the sums: it grows as the number of views.
#[derive(Debug, Clone)]
pub(super) struct PairSums {
    /// `[views, dim]`, dense.
    unit: Flat,
    labels: Arc<Labels>,
    arch: Arch,
    /// `sum_k exp(m(i, k) sim(i, k))` over views of other images.
    others: Vec<f32>,
}

impl PairSums {
    /// Returns also the terms of each view, `[3, views]`: the logarithm of its sum over other images, its
    /// expected SPA as published, and its similarity to its sibling.
    pub(super) fn new(unit: &Flat, labels: Arc<Labels>, arch: Arch) -> (Self, Flat) {
        let unit = dense(unit);
        let [views, dim] = unit.shape().dims();
        let columns = PaddedRows::new(values(&unit), dim, arch);
        let tiles = views.div_ceil(ROWS);
        let parts = tiles.min(PARTS);
        let of_parts: Vec<_> = (0..parts)
            .into_par_iter()
            .map_init(
                || Scratch::new(dim, 0),
                |scratch, part| {
                    let mut sums = vec![Sums::default(); views];
                    for tile in (part..tiles).step_by(parts) {
                        let (views, labels, start, sums) = (&columns, &*labels, tile * ROWS, &mut sums);
                        arch.dispatch(SumTile { views, labels, start, scratch, sums });
                    }
                    sums
                },
            )
            .collect();
        let mut sums = vec![Sums::default(); views];
        for of_part in of_parts {
            sums.iter_mut().zip(of_part).for_each(|(sums, of_part)| *sums += of_part);
        }
        let terms = sums.iter().zip(&labels.positives).map(|(sums, &positives)| {
            // Of a single image there are no others: as the logarithm of a sum that vanishes beside any true
            // one.
            let nothing = -f64::from(labels.weights.other_class) - VANISHING;
            let log_others = if sums.others == 0.0 { nothing } else { sums.others.ln() };
            let mean = sums.attraction / f64::from(positives.max(1));
            let spa = if positives == 0 { 0.0 } else { log_others - mean / f64::from(labels.temperature) };
            (log_others as f32, spa as f32)
        });
        let (log_others, spa): (Vec<_>, Vec<_>) = terms.unzip();
        let siblings = values(&unit).chunks_exact(VIEWS * dim).flat_map(|image| {
            let (first, second) = image.split_at(dim);
            [dot(first, second); VIEWS]
        });
        let terms = tensor([log_others, spa, siblings.collect()].concat(), [3, views]);
        let others = sums.iter().map(|sums| sums.others as f32).collect();
        (Self { unit, labels, arch, others }, terms)
    }

    /// The gradient towards the unit rows, from that towards the terms.
    pub(super) fn backward(&self, d_terms: &Flat) -> Flat {
        let Self { unit, labels, arch, others } = self;
        let [views, dim] = unit.shape().dims();
        let d_terms = dense(d_terms);
        let (d_terms, d_siblings) = values(&d_terms).split_at(2 * views);
        let slopes = self.slopes(d_terms);
        let columns = PaddedRows::new(values(unit), dim, *arch);
        let rows = columns.rows();
        let mut gradient = vec![0.0; others.len() * dim];
        gradient.par_chunks_mut(ROWS * dim).enumerate().for_each_init(
            || Scratch::new(dim, rows.padded_columns()),
            |scratch, (tile, gradient)| {
                let (views, rows, slopes, start) = (&columns, &rows, &slopes, tile * ROWS);
                arch.dispatch(GradientTile { views, rows, labels, slopes, start, scratch, gradient });
            },
        );
        add_siblings(&mut gradient, values(unit), d_siblings, dim);
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

/// Adds the gradient through the similarities of siblings: both views of an image have the same.
fn add_siblings(gradient: &mut [f32], unit: &[f32], d_siblings: &[f32], dim: usize) {
    let images = gradient.par_chunks_mut(VIEWS * dim).zip(unit.par_chunks(VIEWS * dim));
    images.zip(d_siblings.par_chunks(VIEWS)).with_min_len(ROWS).for_each(|((gradient, unit), d_siblings)| {
        let slope: f32 = d_siblings.iter().sum();
        let (first, second) = unit.split_at(dim);
        for (gradient, sibling) in gradient.iter_mut().zip(second.iter().chain(first)) {
            *gradient += slope * sibling;
        }
    });
}
