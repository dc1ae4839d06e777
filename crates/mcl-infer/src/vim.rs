//! The virtual logit as a score (Wang, Li, Feng and Zhang, "ViM: out-of-distribution with virtual-logit matching", CVPR 2022).

use burn::tensor::{Device, FloatDType, Tensor};
use nalgebra::{DMatrix, SymmetricEigen};
use serde::{Deserialize, Serialize};

use crate::aggregation::Aggregation;
use crate::cluster::Cluster;
use crate::confidence::Confidence;
use crate::error::InferError;
use crate::estimator::Estimator;
use crate::logits::Logits;
use crate::samples::{SampleBatch, SampleShape};
use crate::scorer::{Scorer, ViewBatch};
use crate::tensor::f32_tensor;
use crate::views::TestTimeViews;

/// Settings of virtual-logit scores.
///
/// ```text
/// score = ln Σ_c exp l_c - alpha |R x|
/// alpha = Σ max_c l_c / Σ |R x|,   both sums over the training samples
/// ```
///
/// x are the features of the encoder, l the logits. R projects onto the directions in which the training features vary the
/// least: all but the `principal` first eigenvectors of their second moments. The features are not centred. That is the
/// paper's origin for a classifier without a bias, as the classifiers of this library have none.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use mcl_infer::{Estimator, InferError, SampleBatch, Scorer, ViewBatch, VimConfig};
///
/// # fn main() -> Result<(), InferError> {
/// let device = Device::flex();
/// // Features of two numbers, of which the second hardly varies; two classes.
/// let mut estimator = VimConfig::new().with_principal(1).estimator(2, 1, 2);
/// let (features, logits) = ([3.0, 0.1, -3.0, 0.1], [4.0, 0.0, 0.0, 4.0]);
/// let batch = SampleBatch::new(&[0.0, 0.0], &[0, 1], &[0, 0]).with_features(&features).with_logits(&logits);
/// estimator.update(&batch)?;
/// let scorer = estimator.fit(&device)?;
/// let views = |features: [f32; 2]| {
///     ViewBatch::new(Tensor::zeros([1, 1, 1], &device), &[0])
///         .with_features(Tensor::from_data([[features]], &device))
///         .with_logits(Tensor::from_data([[[4.0, 0.0]]], &device))
/// };
/// let usual = scorer.score_views(&views([3.0, 0.1]))?.into_scalar::<f32>();
/// let unusual = scorer.score_views(&views([3.0, 3.0]))?.into_scalar::<f32>();
/// assert!(usual > unusual);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VimConfig {
    /// Dimensions of the principal subspace; by default the paper's number.
    principal: Option<usize>,
}

impl VimConfig {
    /// With the paper's subspace: 1,000 dimensions of features of 2,048 or more, 512 of 768 or more, and otherwise half.
    pub fn new() -> Self {
        Self::default()
    }

    /// With another number of dimensions in the principal subspace.
    #[must_use]
    pub fn with_principal(mut self, principal: usize) -> Self {
        self.principal = Some(principal);
        self
    }

    /// An estimator without samples, for `classes` classes of `aux_classes` auxiliary classes each and features of
    /// `feature_dim` numbers.
    pub fn estimator(&self, classes: usize, aux_classes: usize, feature_dim: usize) -> VimEstimator {
        let principal = self.principal.unwrap_or(match feature_dim {
            2048.. => 1000,
            768.. => 512,
            _ => feature_dim / 2,
        });
        VimEstimator {
            logits: Logits { classes, aux_classes },
            dim: feature_dim,
            principal,
            samples: vec![Samples::default(); aux_classes],
        }
    }
}

/// Gathers the features and logits of the training samples for virtual-logit scores.
///
/// Memory is that of all features, as in [`KnnEstimator`](crate::KnnEstimator).
#[derive(Debug, Clone)]
pub struct VimEstimator {
    logits: Logits,
    dim: usize,
    principal: usize,
    /// One entry an auxiliary class.
    samples: Vec<Samples>,
}

#[derive(Debug, Clone, Default)]
struct Samples {
    /// `[n, dim]`
    features: Vec<f32>,
    /// Sum of the highest logit of each sample.
    highest: f64,
}

impl Samples {
    /// The features as the columns of a matrix, `[dim, n]`.
    fn matrix(&self, dim: usize) -> DMatrix<f64> {
        DMatrix::from_iterator(dim, self.features.len() / dim, self.features.iter().map(|&x| f64::from(x)))
    }
}

impl Estimator for VimEstimator {
    fn update(&mut self, batch: &SampleBatch) -> Result<(), InferError> {
        let Logits { classes, aux_classes } = self.logits;
        let features = batch.require_features()?;
        let shape = SampleShape { classes, aux_classes, dim: self.dim, normalize: false };
        shape.check(&SampleBatch { embeddings: features, ..*batch })?;
        let logits = self.logits.of_samples(batch)?;
        for ((logits, &aux), features) in logits.zip(batch.aux).zip(features.chunks(self.dim.max(1))) {
            let samples = &mut self.samples[aux];
            samples.features.extend_from_slice(features);
            samples.highest += logits.into_iter().fold(f64::NEG_INFINITY, f64::max);
        }
        Ok(())
    }

    /// Fits the subspace and alpha of each auxiliary class.
    ///
    /// # Errors
    ///
    /// [`InferError::Empty`], [`InferError::InvalidSubspace`], [`InferError::TooFewSamples`] for an auxiliary class without
    /// samples, and [`InferError::NoSpread`] where all features lie in the principal subspace, so that alpha has no value.
    fn fit(&self, device: &Device) -> Result<Box<dyn Scorer>, InferError> {
        let (Logits { classes, aux_classes }, dim, principal) = (self.logits, self.dim, self.principal);
        if classes == 0 || aux_classes == 0 || dim == 0 {
            return Err(InferError::Empty { classes, aux_classes, dim });
        }
        if principal == 0 || principal >= dim {
            return Err(InferError::InvalidSubspace { principal, dim });
        }
        let device = device.clone().without_autodiff();
        let of_aux = |(aux, samples): (usize, &Samples)| {
            let (cluster, count) = (Cluster { class: None, aux }, (samples.features.len() / dim) as u64);
            if count == 0 {
                return Err(InferError::TooFewSamples { cluster, count, needed: 1 });
            }
            let features = samples.matrix(dim);
            let eigen = SymmetricEigen::new(&features * features.transpose());
            let mut order: Vec<usize> = (0..dim).collect();
            order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
            let residual = eigen.eigenvectors.select_columns(&order[principal..]); // [dim, dim - principal]
            let length: f64 = (residual.transpose() * &features).column_iter().map(|x| x.norm()).sum();
            let scale = features.norm() * (count as f64).sqrt();
            if length <= 1e-12 * scale {
                return Err(InferError::NoSpread { cluster, count });
            }
            // Scaled by alpha, so that the length of a projection is the virtual logit.
            let scaled = residual.transpose() * (samples.highest / length); // its columns are the rows of R^T
            let values = scaled.iter().map(|&x| x as f32).collect();
            Ok(f32_tensor(values, [dim, dim - principal], &device))
        };
        let residuals = self.samples.iter().enumerate().map(of_aux).collect::<Result<_, _>>()?;
        Ok(Box::new(VimScorer { logits: self.logits, residuals }))
    }
}

/// Scores a view by the energy of its logits less the virtual logit. Made by [`VimEstimator`].
#[derive(Debug, Clone)]
struct VimScorer {
    logits: Logits,
    /// alpha R of each auxiliary class, `[dim, dim - principal]`
    residuals: Vec<Tensor<2>>,
}

impl Scorer for VimScorer {
    /// One score for all classes.
    fn columns(&self) -> usize {
        1
    }

    fn views(&self) -> TestTimeViews {
        TestTimeViews::most(self.logits.aux_classes)
    }

    /// [`Aggregation::Mean`] and [`Aggregation::Max`].
    fn aggregations(&self) -> &[Aggregation] {
        &[Aggregation::Mean, Aggregation::Max]
    }

    fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
        let device = self.residuals[0].device();
        let logits = self.logits.of_views(batch)?.to_device(&device);
        let features = batch.require_features()?.clone().without_autodiff().to_device(&device);
        let features = features.cast(FloatDType::F32);
        let ([images, _, classes], [_, _, found]) = (logits.dims(), features.dims());
        let expected = self.residuals[0].dims()[0];
        if found != expected {
            return Err(InferError::DimensionMismatch { expected, found });
        }
        let of_view = |(view, &aux): (usize, &usize)| {
            let logits = logits.clone().narrow(1, view, 1).reshape([images, classes]);
            let features = features.clone().narrow(1, view, 1).reshape([images, found]);
            let energy = Confidence::LogSumExp.predict(logits).score.reshape([images, 1]);
            let virtual_logit = features.matmul(self.residuals[aux].clone()).square().sum_dim(1).sqrt();
            (energy - virtual_logit).reshape([images, 1, 1])
        };
        Ok(Tensor::cat(batch.view_aux.iter().enumerate().map(of_view).collect(), 1))
    }
}
