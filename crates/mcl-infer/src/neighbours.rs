//! The nearest training images of an image, in projection space (Fig. 4 of the paper): why it was judged so.
//!
//! Nearness is cosine similarity, which is what the loss shapes. For embeddings of unit length the order is that
//! of Euclidean distance too: |x - y|² = 2 - 2 cos(x, y).
//!
//! The search is exact. Similarities to all rows come from matrix products of a bounded size; since a product on a
//! GPU may round its factors to 11 bits (TF32), every row that this could have kept out is compared again in f64.
//! So the answer is the same on every device.

use burn::tensor::{Device, FloatDType, Tensor};
use rayon::prelude::*;

use crate::InferError;
use crate::tensor::f32_tensor;

/// Numbers in the largest tensor of similarities (16 MiB as f32).
const CHUNK_NUMBERS: usize = 1 << 22;

/// Queries in one product; more only make the chunks of rows shorter.
const CHUNK_QUERIES: usize = 256;

/// How far a similarity of unit vectors from a device may be from the truth. Rounding both factors to 11 bits moves
/// it by at most 2 * 2^-11 (Cauchy-Schwarz); as much again is left for the sum.
const DEVICE_ERROR: f32 = 1.0 / 512.0;

/// Candidates that are kept beyond those needed, before they are looked through again.
const SPARE: usize = 1024;

/// A row of the index, and how near it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Row of the embeddings that the index was made of: for one embedding an image, the number of the image.
    pub index: usize,
    /// Cosine similarity, in [-1, 1].
    pub similarity: f64,
}

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
    /// Memory: the embeddings twice, once on the device and once on the host (25 MiB each for the 50,000 images of
    /// CIFAR-10 and 128 dimensions).
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

    /// The `k` nearest rows of each query, nearest first; rows of equal similarity in ascending order. Fewer than
    /// `k` when the index has fewer rows.
    ///
    /// Memory does not grow with the number of rows or queries, but for the result.
    ///
    /// # Shapes
    ///
    /// - queries: `[n, dim]`, on any device
    ///
    /// # Errors
    ///
    /// [`InferError::DimensionMismatch`] for queries of another length than the rows, and as in [`new`](Self::new).
    pub fn search(&self, queries: Tensor<2>, k: usize) -> Result<Vec<Vec<Neighbour>>, InferError> {
        let [count, dim] = queries.dims();
        if dim != self.dim {
            return Err(InferError::DimensionMismatch { expected: self.dim, found: dim });
        }
        let queries = unit_rows(queries)?;
        let mut nearest = Vec::with_capacity(count);
        for start in (0..count).step_by(CHUNK_QUERIES) {
            let end = count.min(start + CHUNK_QUERIES);
            nearest.extend(self.search_chunk(&queries[start * dim..end * dim], end - start, k)?);
        }
        Ok(nearest)
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
        let chunk = (CHUNK_NUMBERS / count.max(1)).max(1);
        for start in (0..rows).step_by(chunk) {
            let end = rows.min(start + chunk);
            let part = self.rows.clone().slice([start..end, 0..dim]);
            let similarities = on_device.clone().matmul(part.transpose()); // [count, end - start]
            let similarities = host(similarities)?;
            candidates
                .par_iter_mut()
                .zip(similarities.par_chunks(end - start))
                .for_each(|(candidates, similarities)| candidates.add(start, similarities));
        }
        let exact = |(candidates, query): (Candidates, &[f32])| {
            let similarity = |&(_, index): &(f32, usize)| Neighbour {
                index,
                similarity: cosine(query, &self.values[index * dim..][..dim]),
            };
            let mut nearest: Vec<Neighbour> = candidates.kept.iter().map(similarity).collect();
            nearest.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.index.cmp(&b.index)));
            nearest.truncate(k);
            nearest
        };
        Ok(candidates.into_par_iter().zip(queries.par_chunks(dim.max(1))).map(exact).collect())
    }
}

/// The rows that can still be among the k nearest.
#[derive(Clone)]
struct Candidates {
    k: usize,
    /// (similarity from the device, row)
    kept: Vec<(f32, usize)>,
    /// Rows below this cannot be among the nearest.
    bar: f32,
    /// How many may be kept before they are looked through again.
    limit: usize,
}

impl Candidates {
    fn new(k: usize) -> Self {
        Self { k, kept: Vec::new(), bar: f32::NEG_INFINITY, limit: k.saturating_add(SPARE) }
    }

    /// Looks at the rows from `start` on.
    fn add(&mut self, start: usize, similarities: &[f32]) {
        if self.k == 0 {
            return;
        }
        for (offset, &similarity) in similarities.iter().enumerate() {
            if similarity >= self.bar {
                self.kept.push((similarity, start + offset));
                if self.kept.len() > self.limit {
                    self.prune();
                    // Twice as many next time: the cost of a row stays constant.
                    self.limit = 2 * self.kept.len() + SPARE;
                }
            }
        }
        self.prune();
    }

    /// The k-th nearest is at least the k-th highest similarity less the error, so what is lower by twice the error
    /// is not among the k.
    fn prune(&mut self) {
        if self.kept.len() > self.k {
            let (_, kth, _) = self.kept.select_nth_unstable_by(self.k - 1, |a, b| b.0.total_cmp(&a.0));
            self.bar = self.bar.max(kth.0 - 2.0 * DEVICE_ERROR);
            self.kept.retain(|kept| kept.0 >= self.bar);
        }
    }
}

fn host(tensor: Tensor<2>) -> Result<Vec<f32>, InferError> {
    tensor.try_into_vec_as::<f32>().map_err(|error| InferError::Device(error.to_string()))
}

/// The rows at unit length, on the host.
fn unit_rows(embeddings: Tensor<2>) -> Result<Vec<f32>, InferError> {
    let [rows, dim] = embeddings.dims();
    let mut values = host(embeddings.without_autodiff().cast(FloatDType::F32))?;
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
