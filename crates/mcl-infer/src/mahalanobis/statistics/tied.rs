//! One scatter for each auxiliary class, of the deviations of its samples from the means of their classes.
//!
//! The samples of all classes go through common matrix products, which have enough columns however few
//! samples a class has. When the mean of a class moves, the rank-one term of the union of samples (see
//! `moments.rs`) is one more column:
//!
//! ```text
//! δ δᵀ n_A n_B / (n_A + n_B) = c cᵀ,   c = δ √(n_A n_B / (n_A + n_B))
//! ```

use nalgebra::{DMatrix, DVector, DVectorView, DVectorViewMut};
use rayon::prelude::*;

use super::{BLOCK_ROWS, GaussianStatistics};
use crate::mahalanobis::moments::{Centre, Scatter};
use crate::samples::SampleBatch;

/// Samples that are held in f64 at once (8 MiB at dimension 128).
const SLAB_ROWS: usize = 8192;

/// Blocks whose products are held at once.
const BLOCKS: usize = 16;

/// Numbers in the products that are held at once, but for a single one (8 MiB).
const BLOCK_NUMBERS: usize = 1 << 20;

/// One column of the deviations whose outer products are summed.
#[derive(Clone, Copy)]
enum Column {
    /// A sample without the mean of its cluster in the batch.
    Sample { row: usize, cluster: usize },
    /// The move of a cluster's mean.
    Move { cluster: usize },
}

/// What a batch does to one cluster.
#[derive(Default)]
struct Change {
    /// Mean of the batch's samples; empty when there are none.
    mean: DVector<f64>,
    /// The move of the mean, weighted, unless these were the first samples.
    moved: Option<DVector<f64>>,
}

impl GaussianStatistics {
    /// Counts samples whose labels are checked.
    pub(super) fn update_tied(&mut self, batch: &SampleBatch) {
        let (shape, dim) = (self.shape(), self.dim);
        for (slab, (class, aux)) in batch.class.chunks(SLAB_ROWS).zip(batch.aux.chunks(SLAB_ROWS)).enumerate()
        {
            let features = &batch.embeddings[slab * SLAB_ROWS * dim..][..class.len() * dim];
            let rows_of = shape.rows_by_cluster(&SampleBatch::new(features, class, aux));
            let mut samples = vec![0.0; features.len()];
            samples.par_chunks_mut(dim.max(1)).enumerate().for_each(|(row, sample)| {
                shape.read(features, row, &mut DVectorViewMut::from_slice(sample, dim));
            });
            let sample = |row: usize| DVectorView::from_slice(&samples[row * dim..], dim);
            let change = |(mut centre, rows): (Centre, &Vec<usize>)| {
                if rows.is_empty() {
                    return Change::default();
                }
                let mut mean = DVector::zeros(dim);
                rows.iter().for_each(|&row| mean += sample(row));
                mean /= rows.len() as f64;
                let moved = centre.join(rows.len() as u64, mean.as_view()).map(weighted);
                Change { mean, moved }
            };
            let changes: Vec<Change> = self.par_centres().zip(&rows_of).map(change).collect();
            self.add_columns(&changes, |cluster| &rows_of[cluster], &samples);
        }
    }

    /// Adds what tied statistics of the same shape have counted.
    pub(super) fn merge_tied(&mut self, other: &Self) {
        let dim = self.dim;
        self.scatters.iter_mut().zip(&other.scatters).for_each(|(own, other)| *own += other);
        let others = other.counts.par_iter().zip(other.means.par_chunks(dim.max(1)));
        let change = |(mut centre, (&count, mean)): (Centre, (&u64, &[f64]))| {
            let mean = DVectorView::from_slice(mean, dim);
            let moved = if count > 0 { centre.join(count, mean) } else { None };
            Change { moved: moved.map(weighted), ..Change::default() }
        };
        let changes: Vec<Change> = self.par_centres().zip(others).map(change).collect();
        self.add_columns(&changes, |_| &[], &[]);
    }

    fn par_centres(&mut self) -> impl IndexedParallelIterator<Item = Centre<'_>> {
        let means = self.means.par_chunks_mut(self.dim.max(1));
        self.counts.par_iter_mut().zip(means).map(|(count, mean)| Centre::new(count, mean))
    }

    /// Adds the outer products of all columns to the scatters of their auxiliary classes; `samples` are
    /// `[rows, dim]`. The products of blocks of a fixed size are added in order, so that the sums do not
    /// depend on the number of threads.
    fn add_columns<'a>(
        &mut self,
        changes: &[Change],
        rows_of: impl Fn(usize) -> &'a [usize] + Sync,
        samples: &[f64],
    ) {
        let &mut Self { classes, aux_classes, dim, .. } = self;
        let blocks = (BLOCK_NUMBERS / dim.saturating_mul(dim).max(1)).clamp(1, BLOCKS);
        self.scatters.par_chunks_mut(dim.saturating_mul(dim).max(1)).enumerate().for_each(
            |(aux, scatter)| {
                let mut scatter = Scatter::from_slice(scatter, dim, dim);
                let clusters = (0..classes).map(|class| class * aux_classes + aux);
                let columns: Vec<Column> = clusters
                    .flat_map(|cluster| {
                        let samples =
                            rows_of(cluster).iter().map(move |&row| Column::Sample { row, cluster });
                        samples.chain(changes[cluster].moved.is_some().then_some(Column::Move { cluster }))
                    })
                    .collect();
                let product = |columns: &[Column]| {
                    let mut block = DMatrix::zeros(dim, columns.len());
                    for (mut to, &column) in block.column_iter_mut().zip(columns) {
                        match column {
                            Column::Sample { row, cluster } => {
                                let sample = DVectorView::from_slice(&samples[row * dim..], dim);
                                sample.sub_to(&changes[cluster].mean, &mut to);
                            }
                            Column::Move { cluster } => {
                                to.copy_from(changes[cluster].moved.as_ref().expect("a column of its own"));
                            }
                        }
                    }
                    &block * block.transpose()
                };
                for columns in columns.chunks(BLOCK_ROWS * blocks) {
                    let products: Vec<DMatrix<f64>> = columns.par_chunks(BLOCK_ROWS).map(product).collect();
                    products.iter().for_each(|product| scatter += product);
                }
            },
        );
    }
}

/// c of the move of a mean.
fn weighted((weight, delta): (f64, DVector<f64>)) -> DVector<f64> {
    delta * weight.sqrt()
}
