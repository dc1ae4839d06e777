//! The nearest training images of an image, in projection space (Fig. 4 of the paper): why it was judged so.
//!
//! Nearness is cosine similarity, which is what the loss shapes. For embeddings of unit length the order is
//! that of Euclidean distance too: |x - y|² = 2 - 2 cos(x, y).
//!
//! The search is exact. Similarities to all rows come from matrix products of a bounded size; since a product
//! on a GPU may round its factors to 11 bits (TF32), every row that this could have kept out is compared
//! again in f64. So the answer is the same on every device.

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::candidates::Candidates;
use super::neighbour::Neighbour;
use crate::error::InferError;
use crate::tensor::{f32_tensor, f32_values};

/// Numbers in the largest tensor of similarities (16 MiB as f32).
const CHUNK_NUMBERS: usize = 1 << 22;

/// Queries in one product; more only make the chunks of rows shorter.
const CHUNK_QUERIES: usize = 256;

/// Embeddings in which the nearest are looked up.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use mcl_infer::NeighbourIndex;
///
/// # fn main() -> Result<(), mcl_infer::InferError> {
/// let device = Device::flex();
/// let index = NeighbourIndex::new(Tensor::from_data([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]], &device))?;
/// let nearest = index.search(Tensor::from_data([[0.1, 5.0]], &device), 2)?;
/// assert_eq!([nearest[0][0].index, nearest[0][1].index], [1, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct NeighbourIndex {
    /// Unit rows, [rows, dim], on the device.
    rows: Tensor<2>,
    /// The same on the host, row-major.
    values: Vec<f32>,
    dim: usize,
}

impl NeighbourIndex {
    /// An index of the rows of `embeddings`, on their device. They need not be of unit length.
    ///
    /// Memory: the embeddings twice, once on the device and once on the host (25 MiB each for the 50,000
    /// images of CIFAR-10 and 128 dimensions).
    ///
    /// # Shapes
    ///
    /// - embeddings: `[rows, dim]`
    ///
    /// # Errors
    ///
    /// [`InferError::NonFiniteEmbedding`] or [`InferError::ZeroEmbedding`] for a row without direction,
    /// [`InferError::Device`] when the device fails.
    pub fn new(embeddings: Tensor<2>) -> Result<Self, InferError> {
        let [rows, dim] = embeddings.dims();
        let device = embeddings.device().without_autodiff();
        let values = unit_rows(embeddings)?;
        Ok(Self { rows: f32_tensor(values.clone(), [rows, dim], &device), values, dim })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.dims()[0]
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length of an embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Where similarities are computed.
    pub fn device(&self) -> Device {
        self.rows.device()
    }

    /// The `k` nearest rows of each query, nearest first; rows of equal similarity in ascending order. Fewer
    /// than `k` when the index has fewer rows.
    ///
    /// Memory does not grow with the number of rows or queries, but for the result: of each of 256 queries
    /// some `3 k` rows are kept, and at least 2048, also where thousands of rows are equally near.
    ///
    /// # Shapes
    ///
    /// - queries: `[n, dim]`, on any device
    ///
    /// # Errors
    ///
    /// [`InferError::DimensionMismatch`] for queries of another length than the rows, and as in
    /// [`new`](Self::new).
    pub fn search(&self, queries: Tensor<2>, k: usize) -> Result<Vec<Vec<Neighbour>>, InferError> {
        self.search_with(queries, k, |_, nearest| nearest)
    }

    /// The Euclidean distance of each query, at unit length, from its `k`-th nearest row, in `[0, 2]`; from
    /// the farthest when there are fewer than `k` rows, and infinite when there are none.
    ///
    /// Shapes and errors are those of [`search`](Self::search).
    pub(crate) fn kth_distances(&self, queries: Tensor<2>, k: usize) -> Result<Vec<f32>, InferError> {
        self.search_with(queries, k, |query, nearest| {
            nearest.last().map_or(f32::INFINITY, |last| distance(query, self.row(last.index)) as f32)
        })
    }

    /// A row at unit length.
    fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dim..][..self.dim]
    }

    /// What `result` makes of each query, at unit length, and its nearest rows.
    fn search_with<T: Send>(
        &self,
        queries: Tensor<2>,
        k: usize,
        result: impl Fn(&[f32], Vec<Neighbour>) -> T + Sync,
    ) -> Result<Vec<T>, InferError> {
        let [count, dim] = queries.dims();
        if dim != self.dim {
            return Err(InferError::DimensionMismatch { expected: self.dim, found: dim });
        }
        let queries = unit_rows(queries)?;
        let mut results = Vec::with_capacity(count);
        for start in (0..count).step_by(CHUNK_QUERIES) {
            let end = count.min(start + CHUNK_QUERIES);
            let chunk = &queries[start * dim..end * dim];
            let nearest = self.search_chunk(chunk, end - start, k)?;
            let chunk = nearest.into_par_iter().zip(chunk.par_chunks(dim.max(1)));
            results.par_extend(chunk.map(|(nearest, query)| result(query, nearest)));
        }
        Ok(results)
    }

    fn search_chunk(
        &self,
        queries: &[f32],
        count: usize,
        k: usize,
    ) -> Result<Vec<Vec<Neighbour>>, InferError> {
        let (rows, dim) = (self.len(), self.dim);
        let on_device = f32_tensor(queries.to_vec(), [count, dim], &self.device());
        let mut candidates = vec![Candidates::new(k); count];
        let queries = || queries.par_chunks(dim.max(1));
        let exact = |query, index| Neighbour { index, similarity: cosine(query, self.row(index)) };
        let chunk = (CHUNK_NUMBERS / count.max(1)).max(1);
        for start in (0..rows).step_by(chunk) {
            let end = rows.min(start + chunk);
            let part = self.rows.clone().slice([start..end, 0..dim]);
            let similarities = on_device.clone().matmul(part.transpose()); // [count, end - start]
            let similarities = f32_values(similarities)?;
            let of_query = candidates.par_iter_mut().zip(similarities.par_chunks(end - start)).zip(queries());
            of_query.for_each(|((candidates, similarities), query)| {
                candidates.add(start, similarities, |index| exact(query, index));
            });
        }
        let finish = |(candidates, query): (Candidates, _)| candidates.finish(|index| exact(query, index));
        Ok(candidates.into_par_iter().zip(queries()).map(finish).collect())
    }
}

/// The rows at unit length, on the host.
fn unit_rows(embeddings: Tensor<2>) -> Result<Vec<f32>, InferError> {
    let [rows, dim] = embeddings.dims();
    let mut values = f32_values(embeddings)?;
    for image in 0..rows {
        let row = &mut values[image * dim..][..dim];
        // Squares of any f32 but zero are normal numbers in f64: no overflow, no underflow.
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Err(InferError::NonFiniteEmbedding { image, view: 0 });
        }
        if norm == 0.0 {
            return Err(InferError::ZeroEmbedding { image, view: 0 });
        }
        row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
    Ok(values)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    dot.clamp(-1.0, 1.0)
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>().sqrt()
}
