//! A ready-made validation: the classifier of the network.

use mcl_data::ImageSet;
use mcl_infer::{Aggregation, Confidence, Scorer, SoftmaxScorer, TestTimeViews};
use mcl_model::Network;

use super::probe_sets::ProbeSets;
use super::{TrainError, Validation, ValidationReport};
use crate::embed::embed_outputs;
use crate::progress::Progress;

/// Judges a network by its classifier of (class, rotation).
///
/// The probe reports the accuracy of the likeliest class and the AUROC, for each anomalous set, of the negative entropy
/// ([`Confidence::NegativeEntropy`]) of the mean probabilities over the views. Networks are compared by the mean AUROC, or by
/// the accuracy when no anomalous set is given.
///
/// Give the probe other images than those of the results that you report: the choice of the best network favours the images
/// of the probe.
#[derive(Debug, Clone)]
pub struct ClassifierProbe {
    sets: ProbeSets,
    views: TestTimeViews,
    batch_size: usize,
}

impl ClassifierProbe {
    /// Returns a probe of these images, each in its one upright view. Their classes are those of the training images.
    pub fn new(validation: ImageSet) -> Self {
        Self { sets: ProbeSets::new(validation), views: TestTimeViews::Identity, batch_size: 256 }
    }

    /// Adds an anomalous set. `name` stands for the set in the report.
    #[must_use]
    pub fn anomalous(mut self, name: impl Into<String>, set: ImageSet) -> Self {
        self.sets.add(name.into(), set);
        self
    }

    /// Judges each image by these views. A network that was trained without rotations knows none that
    /// [rotate](TestTimeViews::rotates).
    #[must_use]
    pub fn views(mut self, views: TestTimeViews) -> Self {
        self.views = views;
        self
    }
}

impl<N: Network> Validation<N> for ClassifierProbe {
    fn check(&self) -> Result<(), TrainError> {
        self.sets.check()
    }

    fn validate(&mut self, network: &N) -> Result<ValidationReport, TrainError> {
        let classes = self.sets.class_names().len();
        let device = network.device().without_autodiff();
        self.sets.report(|set| {
            let found = embed_outputs(network, set, self.views, self.batch_size, Progress::Hidden)?;
            let outputs = found.logits.len() / (found.images * found.views).max(1);
            let scorer = SoftmaxScorer::new(classes, (outputs / classes.max(1)).max(1));
            let batch = found.view_batch(self.views.aux(), &device);
            let scorer = scorer.with_confidence(Confidence::NegativeEntropy);
            let prediction = scorer.score_aggregated(&batch, &Aggregation::Mean);
            prediction.and_then(mcl_infer::Prediction::into_host).map_err(TrainError::validation)
        })
    }
}
