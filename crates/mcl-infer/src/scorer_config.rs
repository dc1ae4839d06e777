//! Which of the built-in scorers, and its settings.

use serde::{Deserialize, Serialize};

use crate::confidence::Confidence;
use crate::estimator::Estimator;
use crate::kl_matching::KlMatchingEstimator;
use crate::knn::KnnConfig;
use crate::logits::LogitScorer;
use crate::mahalanobis::MahalanobisConfig;
use crate::relative::RelativeMahalanobisConfig;
use crate::rotation::RotationScorer;
use crate::softmax::SoftmaxScorer;
use crate::vim::VimConfig;

/// The built-in scorers as a setting that can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ScorerConfig {
    /// The distance to class Gaussians, as in the paper.
    Mahalanobis(MahalanobisConfig),
    /// The distance to the k-th nearest training feature.
    Knn(KnnConfig),
    /// The softmax probabilities of the network's classifier.
    Softmax,
    /// The negative entropy of those probabilities.
    Entropy,
    /// The maximum logit of the classifier.
    MaxLogit,
    /// The energy of the logits.
    Energy,
    /// The highest probability of the logits, which are aggregated over the views before the softmax: the ensemble of CSI.
    EnsembledSoftmax,
    /// KL matching of the probabilities.
    KlMatching,
    /// The distance to class Gaussians, less that to one Gaussian of all samples.
    RelativeMahalanobis(RelativeMahalanobisConfig),
    /// The divergence of the class head and the probabilities of the rotation head.
    Rotation,
    /// The virtual logit. The `dim` of [`estimator`](Self::estimator) is that of the features.
    Vim(VimConfig),
}

impl ScorerConfig {
    /// An estimator without samples, for `classes` classes of `aux_classes` auxiliary classes each and
    /// embeddings of `dim` numbers.
    pub fn estimator(&self, classes: usize, aux_classes: usize, dim: usize) -> Box<dyn Estimator> {
        match self {
            Self::Mahalanobis(config) => Box::new(config.estimator(classes, aux_classes, dim)),
            Self::Knn(config) => Box::new(config.estimator(classes, aux_classes, dim)),
            Self::Softmax => Box::new(SoftmaxScorer::new(classes, aux_classes)),
            Self::Entropy => Box::new(
                SoftmaxScorer::new(classes, aux_classes).with_confidence(Confidence::NegativeEntropy),
            ),
            Self::MaxLogit => Box::new(LogitScorer::new(classes, aux_classes)),
            Self::Energy => {
                Box::new(LogitScorer::new(classes, aux_classes).with_confidence(Confidence::LogSumExp))
            }
            Self::EnsembledSoftmax => Box::new(
                LogitScorer::new(classes, aux_classes).with_confidence(Confidence::HighestProbability),
            ),
            Self::KlMatching => Box::new(KlMatchingEstimator::new(classes, aux_classes)),
            Self::RelativeMahalanobis(config) => Box::new(config.estimator(classes, aux_classes, dim)),
            Self::Rotation => Box::new(RotationScorer::new(classes, aux_classes)),
            Self::Vim(config) => Box::new(config.estimator(classes, aux_classes, dim)),
        }
    }
}

impl Default for ScorerConfig {
    /// The paper's.
    fn default() -> Self {
        Self::Mahalanobis(MahalanobisConfig::new())
    }
}
