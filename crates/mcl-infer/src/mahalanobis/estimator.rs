//! The Mahalanobis score among other scorers.

use burn::tensor::Device;

use super::config::MahalanobisConfig;
use super::statistics::GaussianStatistics;
use crate::error::InferError;
use crate::estimator::Estimator;
use crate::samples::SampleBatch;
use crate::scorer::Scorer;

/// Fits a [`MahalanobisScorer`](crate::MahalanobisScorer): [`GaussianStatistics`] with the configuration of
/// their fit.
#[derive(Debug, Clone)]
pub struct MahalanobisEstimator {
    config: MahalanobisConfig,
    statistics: GaussianStatistics,
}

impl MahalanobisConfig {
    /// An estimator without samples, for `classes` classes of `aux_classes` auxiliary classes each and
    /// embeddings of `dim` numbers.
    pub fn estimator(&self, classes: usize, aux_classes: usize, dim: usize) -> MahalanobisEstimator {
        MahalanobisEstimator { config: *self, statistics: self.statistics(classes, aux_classes, dim) }
    }
}

impl MahalanobisEstimator {
    /// What has been counted.
    pub fn statistics(&self) -> &GaussianStatistics {
        &self.statistics
    }
}

impl Estimator for MahalanobisEstimator {
    /// As [`GaussianStatistics::update`].
    fn update(&mut self, batch: &SampleBatch) -> Result<(), InferError> {
        self.statistics.update(batch.embeddings, batch.class, batch.aux)
    }

    /// As [`GaussianStatistics::fit`].
    fn fit(&self, device: &Device) -> Result<Box<dyn Scorer>, InferError> {
        Ok(Box::new(self.statistics.fit(&self.config, device)?))
    }
}
