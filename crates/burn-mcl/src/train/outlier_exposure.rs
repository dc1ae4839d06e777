//! Outlier Exposure: a classifier that is unsure on auxiliary images (Hendrycks, Mazeika and Dietterich, ICLR 2019).

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use serde::{Deserialize, Serialize};

use super::cross_entropy::{CrossEntropy, CrossEntropyConfig};
use super::{LossInput, LossValue, TrainError, TrainingLoss};

/// Settings of Outlier Exposure.
///
/// ```text
/// loss = CE(class; views) - weight * mean over outlier views of (1 / labels) Σ_k log softmax(l)(k)
/// ```
///
/// The second term is the cross-entropy to the uniform distribution. [`Trainer::outliers`](super::Trainer::outliers) gives the
/// auxiliary images, which must be neither normal nor of the sets that are reported. The network needs a classifier of (class,
/// rotation).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct OutlierExposureConfig {
    /// The loss of the normal images.
    pub cross_entropy: CrossEntropyConfig,
    /// Factor of the loss of the outliers, above 0. Default: 0.5, the paper's for images
    pub weight: f64,
}

impl OutlierExposureConfig {
    /// The settings of the paper.
    pub fn new() -> Self {
        Self { cross_entropy: CrossEntropyConfig::new(), weight: 0.5 }
    }

    /// The same with another factor of the loss of the outliers.
    #[must_use]
    pub fn with_weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    pub(super) fn try_init(&self) -> Result<OutlierExposure, TrainError> {
        let weight = TrainError::unless_positive("objective.OutlierExposure.weight", self.weight)?;
        Ok(OutlierExposure { cross_entropy: self.cross_entropy.try_init()?, weight })
    }
}

impl Default for OutlierExposureConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// The cross-entropy of the normal images, and that of the outliers to the uniform distribution.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutlierExposure {
    cross_entropy: CrossEntropy,
    weight: f64,
}

/// The mean cross-entropy to the uniform distribution, `[views, labels] -> [1]`.
fn to_uniform(logits: Tensor<2>) -> Tensor<1> {
    log_softmax(logits, 1).mean().neg()
}

impl TrainingLoss for OutlierExposure {
    fn value(&self, input: &LossInput) -> LossValue {
        let normal = self.cross_entropy.value(input).total;
        let outliers = input.outlier_logits.clone().expect("outliers, as needs_outliers() asks for");
        let outliers = to_uniform(outliers);
        LossValue::new(normal.clone() + outliers.clone().mul_scalar(self.weight))
            .with_part("cross_entropy", normal)
            .with_part("outliers", outliers)
    }

    fn logits(&self, classes: usize, aux_classes: usize) -> Option<usize> {
        self.cross_entropy.logits(classes, aux_classes)
    }

    fn shapes_projections(&self) -> bool {
        false
    }

    fn needs_outliers(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::HostLabels;
    use super::*;
    use burn::tensor::Device;

    fn log_softmax_of(logits: &[f32]) -> Vec<f64> {
        let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        logits.iter().map(|&x| f64::from(x) - total.ln()).collect()
    }

    #[test]
    fn the_loss_is_that_of_the_paper() {
        let normal = [[1.0f32, -2.0, 0.5], [0.3, 0.2, 0.1]];
        let outliers = [[3.0f32, 0.0, 0.0], [0.1, 0.1, 0.1], [-1.0, 2.0, 0.0], [5.0, 5.0, -5.0]];
        let device = Device::flex();
        let input = LossInput {
            features: Tensor::zeros([2, 2], &device),
            projections: Tensor::zeros([1, 2, 2], &device),
            logits: Some(Tensor::from_data(normal, &device)),
            outlier_logits: Some(Tensor::from_data(outliers, &device)),
            class: Tensor::from_data([2], &device),
            aux: Tensor::from_data([0], &device),
            aux_classes: 1,
            on_host: HostLabels { class: vec![2], aux: vec![0] },
            seed: 0,
            step: 0,
        };
        let of_normal = -normal.iter().map(|row| log_softmax_of(row)[2]).sum::<f64>() / 2.0;
        let of_outliers = -outliers.iter().flat_map(|row| log_softmax_of(row)).sum::<f64>() / 12.0;
        for weight in [0.5, 2.0] {
            let loss = OutlierExposureConfig::new().with_weight(weight).try_init().unwrap();
            let found = f64::from(loss.value(&input).total.into_scalar::<f32>());
            let expected = of_normal + weight * of_outliers;
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
        // No classifier is less sure than one of equal logits.
        assert!(of_outliers > 3.0_f64.ln());
    }

    #[test]
    fn a_weight_out_of_range_is_named() {
        for weight in [0.0, f64::INFINITY] {
            let error = OutlierExposureConfig::new().with_weight(weight).try_init().unwrap_err();
            assert!(error.to_string().contains("OutlierExposure.weight"), "{error}");
        }
    }
}
