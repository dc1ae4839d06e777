//! How a system scores images.

use burn::tensor::Tensor;
use mcl_data::ImageSet;
use mcl_infer::{
    Aggregation, Confidence, Estimator, InferError, MahalanobisConfig, OnFeatures, Scorer, ScorerConfig,
    Shrinkage, TestTimeViews, ViewBatch,
};
use mcl_model::Network;

use super::System;
use crate::detector::{DetectorError, update_estimators};
use crate::embed::embed_outputs;
use crate::progress::Progress;

/// A way of scoring images.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Scoring {
    /// The scorer.
    pub scorer: ScorerConfig,
    /// Whether the scorer takes the features of the encoder in place of the projections.
    pub on_features: bool,
    /// Views of an image.
    pub views: TestTimeViews,
    /// How the scores of the views become one.
    pub aggregation: Aggregation,
}

impl Scoring {
    /// A scorer of the projections or logits of one view.
    pub fn new(scorer: ScorerConfig) -> Self {
        let (views, aggregation) = (TestTimeViews::Identity, Aggregation::Mean);
        Self { scorer, on_features: false, views, aggregation }
    }

    /// The Gaussians of the classes, with shrunken covariances, of the projections of one view.
    pub fn gaussians() -> Self {
        Self::new(ScorerConfig::Mahalanobis(MahalanobisConfig::new().with_shrinkage(Shrinkage::Oas)))
    }

    /// The same for the features of the encoder.
    #[must_use]
    pub fn on_features(mut self) -> Self {
        self.on_features = true;
        self
    }

    /// The same for several views.
    #[must_use]
    pub fn with_views(mut self, views: TestTimeViews, aggregation: Aggregation) -> Self {
        (self.views, self.aggregation) = (views, aggregation);
        self
    }
}

impl System {
    /// Returns the score of the system's own publication.
    pub fn scoring(self) -> Scoring {
        let (four, mean) = (TestTimeViews::Rotations, Aggregation::Mean);
        match self {
            Self::CrossEntropy | Self::OutlierExposure | Self::SupConLinear => {
                Scoring::new(ScorerConfig::Softmax)
            }
            Self::AuxiliaryRotation => Scoring::new(ScorerConfig::Rotation).with_views(four, mean),
            Self::SupCon => Scoring::gaussians().on_features(),
            Self::Csi => Scoring::new(ScorerConfig::EnsembledSoftmax).with_views(four, mean),
            Self::SimClrFineTuned | Self::SimClrJoint | Self::MclFineTuned => {
                Scoring::new(ScorerConfig::Softmax)
            }
            Self::Mcl | Self::MclWithoutAttraction | Self::MclUpright | Self::MclAugmented => {
                Scoring::gaussians()
            }
            Self::MclCrossEntropy => Scoring::new(ScorerConfig::Entropy),
        }
    }
}

/// Fits the scorers of several ways of scoring, in one pass of the network over the training images. `rotated` says whether the
/// network was trained with rotations as auxiliary classes. The scorer of a network that was not takes rotated views for views of
/// the one auxiliary class that there is.
///
/// # Errors
///
/// [`DetectorError`] when a scorer cannot be fitted.
pub fn fit_scorings<N: Network>(
    model: &N,
    train: &ImageSet,
    scorings: &[Scoring],
    rotated: bool,
    batch_size: usize,
    progress: Progress,
) -> Result<Vec<Box<dyn Scorer>>, DetectorError> {
    let views = if rotated { TestTimeViews::Rotations } else { TestTimeViews::Identity };
    let (classes, aux_classes) = (train.class_names().len(), views.aux().len());
    let one = embed_outputs(model, &train.take(1), TestTimeViews::Identity, 1, Progress::Hidden)?;
    let (dim, feature_dim) = (one.dim, one.features.len());
    let estimator = |scoring: &Scoring| -> Box<dyn Estimator> {
        match scoring.scorer {
            scorer if scoring.on_features => {
                Box::new(OnFeatures(scorer.estimator(classes, aux_classes, feature_dim)))
            }
            // The virtual logit looks for the features by itself.
            scorer @ ScorerConfig::Vim(_) => scorer.estimator(classes, aux_classes, feature_dim),
            scorer => scorer.estimator(classes, aux_classes, dim),
        }
    };
    let mut estimators: Vec<_> = scorings.iter().map(estimator).collect();
    update_estimators(model, train, views, &mut estimators, batch_size, progress)?;
    let device = model.device().without_autodiff();
    let fit = estimators.iter().map(|estimator| -> Result<Box<dyn Scorer>, DetectorError> {
        let scorer = estimator.fit(&device)?;
        Ok(if rotated { scorer } else { Box::new(OneAuxClass(scorer)) })
    });
    fit.collect()
}

/// A scorer of one auxiliary class, which takes views of any.
#[derive(Debug)]
struct OneAuxClass(Box<dyn Scorer>);

impl Scorer for OneAuxClass {
    fn columns(&self) -> usize {
        self.0.columns()
    }

    fn aggregations(&self) -> &[Aggregation] {
        self.0.aggregations()
    }

    fn confidence(&self) -> Confidence {
        self.0.confidence()
    }

    fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
        let view_aux = vec![0; batch.view_aux.len()];
        self.0.score_views(&ViewBatch { view_aux: &view_aux, ..batch.clone() })
    }
}
