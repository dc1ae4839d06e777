//! KL matching as a score (Hendrycks et al., "Scaling out-of-distribution detection for real-world settings", ICML 2022).

use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Device, Tensor};

use crate::aggregation::Aggregation;
use crate::cluster::Cluster;
use crate::error::InferError;
use crate::estimator::Estimator;
use crate::logits::Logits;
use crate::samples::SampleBatch;
use crate::scorer::{Scorer, ViewBatch};
use crate::tensor::f32_tensor;
use crate::views::TestTimeViews;

/// Added to the scores of a class without samples: more than any two divergences differ by, since no logarithm here is
/// below -709.
const UNSEEN: f32 = -1e4;

/// Averages the probabilities of the samples of each predicted class: the templates of KL matching.
///
/// ```text
/// d(c) = mean of p(x) over the samples x whose likeliest class is c
/// score(c) = -KL(p ‖ d(c)) = -Σ_k p_k ln(p_k / d_k(c))
/// ```
///
/// The samples should be held-out images, which the network has not learned by heart. A class that no sample was predicted as
/// scores below all others. The estimator reads logits alone.
#[derive(Debug, Clone)]
pub struct KlMatchingEstimator {
    logits: Logits,
    /// Sums of probabilities, `[aux_classes, classes predicted, classes]`, and the samples behind them.
    sums: Vec<Vec<f64>>,
    counts: Vec<u64>,
}

impl KlMatchingEstimator {
    /// For a classifier of `classes` classes of `aux_classes` auxiliary classes each (1 where there are none).
    pub fn new(classes: usize, aux_classes: usize) -> Self {
        let templates = classes.saturating_mul(aux_classes);
        Self {
            logits: Logits { classes, aux_classes },
            sums: vec![vec![0.0; classes]; templates],
            counts: vec![0; templates],
        }
    }
}

impl Estimator for KlMatchingEstimator {
    fn update(&mut self, batch: &SampleBatch) -> Result<(), InferError> {
        for (logits, &aux) in self.logits.of_samples(batch)?.zip(batch.aux) {
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let predicted = logits.iter().position(|&logit| logit == largest).unwrap_or_default();
            let template = aux * self.logits.classes + predicted;
            let total: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
            for (sum, logit) in self.sums[template].iter_mut().zip(&logits) {
                *sum += (logit - largest).exp() / total;
            }
            self.counts[template] += 1;
        }
        Ok(())
    }

    /// Fits the templates.
    ///
    /// # Errors
    ///
    /// [`InferError::TooFewSamples`] for an auxiliary class without samples.
    fn fit(&self, device: &Device) -> Result<Box<dyn Scorer>, InferError> {
        let Logits { classes, aux_classes } = self.logits;
        if classes == 0 || aux_classes == 0 {
            return Err(InferError::Empty { classes, aux_classes, dim: classes });
        }
        let of_aux = |aux: usize| {
            let range = aux * classes..(aux + 1) * classes;
            let counts = &self.counts[range.clone()];
            // A class without samples takes the template of another, UNSEEN below it.
            let Some(other) = counts.iter().position(|&count| count > 0) else {
                return Err(InferError::TooFewSamples {
                    cluster: Cluster { class: None, aux },
                    count: 0,
                    needed: 1,
                });
            };
            let sums = &self.sums[range];
            let template = |class: usize| {
                let class = if counts[class] > 0 { class } else { other };
                // ln d, [classes]
                sums[class]
                    .iter()
                    .map(move |sum| (sum / counts[class] as f64).max(f64::MIN_POSITIVE).ln() as f32)
            };
            let values = (0..classes).flat_map(template).collect();
            let seen = counts.iter().map(|&count| if count > 0 { 0.0 } else { UNSEEN }).collect();
            let device = device.clone().without_autodiff();
            let logarithms = f32_tensor(values, [classes, classes], &device).transpose();
            Ok(Templates { logarithms, unseen: f32_tensor(seen, [1, classes], &device) })
        };
        let templates = (0..aux_classes).map(of_aux).collect::<Result<_, _>>()?;
        Ok(Box::new(KlMatchingScorer { logits: self.logits, templates }))
    }
}

/// The templates of one auxiliary class.
#[derive(Debug, Clone)]
struct Templates {
    /// ln d, `[classes, templates]`
    logarithms: Tensor<2>,
    /// 0 for a template that was seen, and [`UNSEEN`] for others, `[1, templates]`
    unseen: Tensor<2>,
}

/// Scores a view by how little its probabilities differ from the templates. Made by [`KlMatchingEstimator`].
#[derive(Debug, Clone)]
struct KlMatchingScorer {
    logits: Logits,
    templates: Vec<Templates>,
}

impl Scorer for KlMatchingScorer {
    fn columns(&self) -> usize {
        self.logits.classes
    }

    fn views(&self) -> TestTimeViews {
        TestTimeViews::most(self.logits.aux_classes)
    }

    /// [`Aggregation::Mean`] and [`Aggregation::Max`].
    fn aggregations(&self) -> &[Aggregation] {
        &[Aggregation::Mean, Aggregation::Max]
    }

    fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
        let logits = self.logits.of_views(batch)?.to_device(&self.templates[0].unseen.device());
        let [images, _, classes] = logits.dims();
        let of_view = |(view, &aux): (usize, &usize)| {
            let logits = logits.clone().narrow(1, view, 1).reshape([images, classes]);
            let p = softmax(logits.clone(), 1);
            let Templates { logarithms, unseen } = &self.templates[aux];
            let entropy = (p.clone() * log_softmax(logits, 1)).sum_dim(1); // [images, 1]
            (p.matmul(logarithms.clone()) - entropy + unseen.clone()).reshape([images, 1, classes])
        };
        Ok(Tensor::cat(batch.view_aux.iter().enumerate().map(of_view).collect(), 1))
    }
}
