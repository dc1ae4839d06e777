//! The distance to the k-th nearest training feature as a score (Sun, Ming, Zhu and Li, ICML 2022).
//!
//! ```text
//! score = -|z - z_(k)|,   z = x / |x|
//! ```
//!
//! z_(k) is the k-th nearest of the training features at unit length. Nothing is assumed of how the features
//! are distributed; all of them are kept.

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::error::InferError;
use crate::estimator::Estimator;
use crate::neighbours::NeighbourIndex;
use crate::samples::{SampleBatch, SampleShape};
use crate::scorer::{Scorer, ViewBatch};
use crate::tensor::f32_tensor;
use crate::views::TestTimeViews;

/// Settings of a [`KnnScorer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct KnnConfig {
    /// Which neighbour's distance is the score, at least 1; 50 by default, as in the paper for CIFAR-10.
    pub k: usize,
    /// Whether each class has a score of its own, so that the nearest class is a prediction. Otherwise all
    /// classes are searched together, as in the paper, and give one score.
    pub per_class: bool,
}

impl KnnConfig {
    /// The paper's settings.
    pub fn new() -> Self {
        Self { k: 50, per_class: false }
    }

    /// The same with another neighbour.
    #[must_use]
    pub fn with_k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// The same with a score for each class, or one for all.
    #[must_use]
    pub fn with_per_class(mut self, per_class: bool) -> Self {
        self.per_class = per_class;
        self
    }

    /// An estimator without samples, for `classes` classes of `aux_classes` auxiliary classes each and
    /// embeddings of `dim` numbers.
    pub fn estimator(&self, classes: usize, aux_classes: usize, dim: usize) -> KnnEstimator {
        let columns = if self.per_class { classes } else { 1 };
        KnnEstimator {
            config: *self,
            shape: SampleShape { classes, aux_classes, dim, normalize: true },
            features: vec![Vec::new(); columns.saturating_mul(aux_classes)],
        }
    }
}

impl Default for KnnConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Gathers the training features of a [`KnnScorer`].
///
/// Memory is that of all features: `4 * dim` bytes each, 205 MB for 400,000 of dimension 128.
#[derive(Debug, Clone)]
pub struct KnnEstimator {
    config: KnnConfig,
    shape: SampleShape,
    /// `[columns, aux_classes]`, each `[n, dim]`
    features: Vec<Vec<f32>>,
}

impl KnnEstimator {
    /// Fits the scorer and places it on `device`.
    ///
    /// # Errors
    ///
    /// [`InferError::InvalidNeighbours`], [`InferError::Empty`], and [`InferError::TooFewNeighbours`] when
    /// there are fewer than `k` features to search.
    pub fn fit_knn(&self, device: &Device) -> Result<KnnScorer, InferError> {
        let SampleShape { classes, aux_classes, dim, .. } = self.shape;
        if classes == 0 || aux_classes == 0 || dim == 0 {
            return Err(InferError::Empty { classes, aux_classes, dim });
        }
        let k = self.config.k;
        if k == 0 {
            return Err(InferError::InvalidNeighbours { k });
        }
        let index = |(at, features): (usize, &Vec<f32>)| {
            let count = features.len() / dim;
            if count < k {
                let (class, aux) = (self.config.per_class.then_some(at / aux_classes), at % aux_classes);
                return Err(InferError::TooFewNeighbours { cluster: Cluster { class, aux }, count, k });
            }
            NeighbourIndex::new(f32_tensor(
                features.clone(),
                [count, dim],
                &device.clone().without_autodiff(),
            ))
        };
        let indices = self.features.iter().enumerate().map(index).collect::<Result<_, _>>()?;
        Ok(KnnScorer { config: self.config, aux_classes, dim, indices })
    }
}

impl Estimator for KnnEstimator {
    /// Keeps the features of the samples.
    fn update(&mut self, batch: &SampleBatch) -> Result<(), InferError> {
        self.shape.check(batch)?;
        let SampleShape { aux_classes, dim, .. } = self.shape;
        for ((row, &class), &aux) in batch.embeddings.chunks(dim.max(1)).zip(batch.class).zip(batch.aux) {
            let column = if self.config.per_class { class } else { 0 };
            self.features[column * aux_classes + aux].extend_from_slice(row);
        }
        Ok(())
    }

    /// As [`fit_knn`](Self::fit_knn).
    fn fit(&self, device: &Device) -> Result<Box<dyn Scorer>, InferError> {
        Ok(Box::new(self.fit_knn(device)?))
    }
}

/// Scores embeddings by their distance to the k-th nearest training feature of the view's auxiliary class.
///
/// The search is exact and the same on every device (see [`NeighbourIndex`]).
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use mcl_infer::{Estimator, InferError, KnnConfig, SampleBatch, Scorer, ViewBatch};
///
/// # fn main() -> Result<(), InferError> {
/// let device = Device::flex();
/// let mut estimator = KnnConfig::new().with_k(2).estimator(1, 1, 2);
/// estimator.update(&SampleBatch::new(&[1.0, 0.0, 1.0, 0.1, 1.0, -0.1], &[0; 3], &[0; 3]))?;
/// let scorer = estimator.fit(&device)?;
/// let embeddings = Tensor::from_data([[[3.0, 0.1]], [[-1.0, 0.0]]], &device);
/// let scores = scorer.score_views(&ViewBatch::new(embeddings, &[0]))?;
/// let scores = scores.into_data().try_to_vec::<f32>().unwrap();
/// assert!(scores[0] > -0.1 && scores[1] < -1.9);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct KnnScorer {
    config: KnnConfig,
    aux_classes: usize,
    dim: usize,
    /// `[columns, aux_classes]`
    indices: Vec<NeighbourIndex>,
}

impl KnnScorer {
    /// The configuration of the fit.
    pub fn config(&self) -> &KnnConfig {
        &self.config
    }

    /// Number of auxiliary classes.
    pub fn aux_classes(&self) -> usize {
        self.aux_classes
    }

    /// Length of an embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }
}

impl Scorer for KnnScorer {
    fn columns(&self) -> usize {
        self.indices.len() / self.aux_classes
    }

    fn views(&self) -> TestTimeViews {
        TestTimeViews::most(self.aux_classes)
    }

    /// Scores each view: `-|z - z_(k)|`, in `[-2, 0]`, f32, on the scorer's device.
    ///
    /// # Errors
    ///
    /// As [`MahalanobisScorer::score`](crate::MahalanobisScorer::score).
    fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
        let [images, views, dim] = batch.embeddings.dims();
        let columns = self.columns();
        batch.check(self.dim, self.aux_classes)?;
        let mut scores = vec![0.0; images * views * columns];
        for (view, &aux) in batch.view_aux.iter().enumerate() {
            for column in 0..columns {
                let queries = batch.embeddings.clone().slice_dim(1, view..view + 1).reshape([images, dim]);
                let distances = self.indices[column * self.aux_classes + aux]
                    .kth_distances(queries, self.config.k)
                    .map_err(|error| of_view(error, view))?;
                let of_column = scores.iter_mut().skip(view * columns + column).step_by(views * columns);
                of_column.zip(distances).for_each(|(score, distance)| *score = -distance);
            }
        }
        Ok(f32_tensor(scores, [images, views, columns], &self.indices[0].device()))
    }
}

/// An error of embeddings of one view.
fn of_view(error: InferError, view: usize) -> InferError {
    match error {
        InferError::NonFiniteEmbedding { image, .. } => InferError::NonFiniteEmbedding { image, view },
        InferError::ZeroEmbedding { image, .. } => InferError::ZeroEmbedding { image, view },
        other => other,
    }
}
