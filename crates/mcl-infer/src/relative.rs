//! The relative Mahalanobis distance as a score (Ren et al., "A simple fix to Mahalanobis distance for improving near-OOD
//! detection", 2021).

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::aggregation::Aggregation;
use crate::error::InferError;
use crate::estimator::Estimator;
use crate::mahalanobis::{Covariance, Distance, MahalanobisConfig, MahalanobisEstimator};
use crate::samples::SampleBatch;
use crate::scorer::{Scorer, ViewBatch};
use crate::views::TestTimeViews;

/// Settings of relative Mahalanobis scores.
///
/// ```text
/// score(c) = d0²(x) - dc²(x)
/// ```
///
/// dc is the Mahalanobis distance to the Gaussian of class c, and d0 the distance to one Gaussian of the samples of all
/// classes. The difference takes away what makes an image unusual among all images, and leaves what makes the image unusual
/// for its class.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use mcl_infer::{Estimator, InferError, RelativeMahalanobisConfig, SampleBatch, Scorer, ViewBatch};
///
/// # fn main() -> Result<(), InferError> {
/// let device = Device::flex();
/// let mut estimator = RelativeMahalanobisConfig::new().estimator(2, 1, 2); // two classes, embeddings of two numbers
/// let samples = [1.0, 0.1, 1.0, -0.1, 0.9, 0.0, 0.1, 1.0, -0.1, 1.0, 0.0, 0.9];
/// estimator.update(&SampleBatch::new(&samples, &[0, 0, 0, 1, 1, 1], &[0; 6]))?;
/// let scorer = estimator.fit(&device)?;
/// let embeddings = Tensor::from_data([[[1.0, 0.0]], [[0.7, 0.7]]], &device);
/// let scores = scorer.score_views(&ViewBatch::new(embeddings, &[0]))?; // [images, views, classes]
/// let scores = scores.into_data().try_to_vec::<f32>().unwrap();
/// assert!(scores[0] > scores[2], "the first image lies in a class, the second between two");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RelativeMahalanobisConfig {
    gaussians: MahalanobisConfig,
}

impl RelativeMahalanobisConfig {
    /// The paper's: one covariance for all classes.
    pub fn new() -> Self {
        Self::from_gaussians(MahalanobisConfig::new().with_covariance(Covariance::Tied))
    }

    /// With these Gaussians of the classes. The Gaussian of all samples has the same ridge, shrinkage and normalisation.
    /// Distances are squared, whatever `gaussians` says.
    pub fn from_gaussians(gaussians: MahalanobisConfig) -> Self {
        Self { gaussians: gaussians.with_distance(Distance::Squared) }
    }

    /// An estimator without samples, for `classes` classes of `aux_classes` auxiliary classes each and embeddings of `dim`
    /// numbers.
    pub fn estimator(&self, classes: usize, aux_classes: usize, dim: usize) -> RelativeMahalanobisEstimator {
        let all = self.gaussians.with_covariance(Covariance::PerClass);
        RelativeMahalanobisEstimator {
            classes: self.gaussians.estimator(classes, aux_classes, dim),
            all: all.estimator(1, aux_classes, dim),
            aux_classes,
        }
    }
}

impl Default for RelativeMahalanobisConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts the samples for relative Mahalanobis scores.
#[derive(Debug, Clone)]
pub struct RelativeMahalanobisEstimator {
    classes: MahalanobisEstimator,
    /// The same samples, all of one class.
    all: MahalanobisEstimator,
    aux_classes: usize,
}

impl Estimator for RelativeMahalanobisEstimator {
    fn update(&mut self, batch: &SampleBatch) -> Result<(), InferError> {
        self.classes.update(batch)?;
        // The same checks have passed.
        self.all.update(&SampleBatch { class: &vec![0; batch.class.len()], ..*batch })
    }

    /// As [`GaussianStatistics::fit`](crate::GaussianStatistics::fit).
    fn fit(&self, device: &Device) -> Result<Box<dyn Scorer>, InferError> {
        let (classes, all) = (self.classes.fit(device)?, self.all.fit(device)?);
        Ok(Box::new(RelativeMahalanobisScorer { classes, all, aux_classes: self.aux_classes }))
    }
}

/// Scores embeddings by the difference of two distances. Made by [`RelativeMahalanobisEstimator`].
#[derive(Debug)]
struct RelativeMahalanobisScorer {
    classes: Box<dyn Scorer>,
    all: Box<dyn Scorer>,
    aux_classes: usize,
}

impl Scorer for RelativeMahalanobisScorer {
    fn columns(&self) -> usize {
        self.classes.columns()
    }

    fn views(&self) -> TestTimeViews {
        TestTimeViews::most(self.aux_classes)
    }

    /// A difference of distances has either sign: [`Aggregation::Mean`] and [`Aggregation::Max`].
    fn aggregations(&self) -> &[Aggregation] {
        &[Aggregation::Mean, Aggregation::Max]
    }

    fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
        Ok(self.classes.score_views(batch)? - self.all.score_views(batch)?)
    }
}
