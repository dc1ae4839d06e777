//! A classifier with two heads, one for the class and one for the rotation (Hendrycks et al., NeurIPS 2019).

use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::cross_entropy::{CrossEntropy, CrossEntropyConfig};
use super::{LossInput, LossValue, TrainError, TrainingLoss};

/// Settings of the auxiliary prediction of rotations.
///
/// ```text
/// loss = CE(class; upright views) + weight * CE(rotation; all views)
/// ```
///
/// The network needs a classifier of `classes + rotations` outputs, those of the classes first. The classes are learned from the
/// upright views alone, as in the paper (Hendrycks, Mazeika, Kadavath and Song, "Using Self-Supervised Learning Can Improve
/// Model Robustness and Uncertainty"). [`RotationScorer`](mcl_infer::RotationScorer) has its score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ClassAndRotationConfig {
    /// The loss of both heads.
    pub cross_entropy: CrossEntropyConfig,
    /// Factor of the loss of the rotations, above 0. Default: 0.5, that of the paper's code
    pub weight: f64,
}

impl ClassAndRotationConfig {
    /// The settings of the paper.
    pub fn new() -> Self {
        Self { cross_entropy: CrossEntropyConfig::new(), weight: 0.5 }
    }

    /// The same with another factor of the loss of the rotations.
    #[must_use]
    pub fn with_weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    pub(super) fn try_init(&self) -> Result<ClassAndRotation, TrainError> {
        let weight = TrainError::unless_positive("objective.ClassAndRotation.weight", self.weight)?;
        Ok(ClassAndRotation { cross_entropy: self.cross_entropy.try_init()?, weight })
    }
}

impl Default for ClassAndRotationConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// The loss of both heads.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClassAndRotation {
    cross_entropy: CrossEntropy,
    weight: f64,
}

impl ClassAndRotation {
    /// The mean loss of the classes over the upright views, `[1]`; 0 when a batch of drawn rotations has none.
    fn of_classes(self, logits: Tensor<2>, input: &LossInput) -> Tensor<1> {
        let ([views, outputs], device) = (logits.dims(), logits.device());
        let samples = views / 2;
        let upright: Vec<i64> =
            (0..samples as i64).filter(|&sample| input.on_host.aux[sample as usize] == 0).collect();
        let count = upright.len();
        if count == 0 {
            return Tensor::zeros([1], &device);
        }
        let upright = Tensor::<1, Int>::from_data(TensorData::new(upright, [count]), &device);
        let logits = logits.reshape([samples, 2 * outputs]).select(0, upright.clone());
        let class = input.class.clone().select(0, upright);
        self.cross_entropy.forward(logits.reshape([2 * count, outputs]), class)
    }
}

impl TrainingLoss for ClassAndRotation {
    fn value(&self, input: &LossInput) -> LossValue {
        let logits = input.logits.clone().expect("a network with a classifier, as logits() asks for");
        let classes = logits.dims()[1] - input.aux_classes;
        let class = self.of_classes(logits.clone().narrow(1, 0, classes), input);
        let rotation =
            self.cross_entropy.forward(logits.narrow(1, classes, input.aux_classes), input.aux.clone());
        LossValue::new(class.clone() + rotation.clone().mul_scalar(self.weight))
            .with_part("class", class)
            .with_part("rotation", rotation)
    }

    fn logits(&self, classes: usize, aux_classes: usize) -> Option<usize> {
        Some(classes + aux_classes)
    }

    fn shapes_projections(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::HostLabels;
    use super::*;
    use burn::tensor::Device;

    const LOGITS: [[f32; 4]; 6] = [
        [1.0, -2.0, 0.5, 0.25],
        [0.3, 0.2, 0.1, -0.5],
        [-1.0, 4.0, 2.0, 1.0],
        [0.0, 0.0, 7.0, 3.0],
        [2.0, 1.0, -1.0, 0.0],
        [0.5, 1.5, 0.0, 2.0],
    ];

    /// Three samples of two classes and two rotations.
    fn input(aux: [i64; 3]) -> LossInput {
        let device = Device::flex();
        let class = [1, 0, 1];
        LossInput {
            features: Tensor::zeros([6, 2], &device),
            projections: Tensor::zeros([3, 2, 2], &device),
            logits: Some(Tensor::from_data(LOGITS, &device)),
            outlier_logits: None,
            class: Tensor::from_data(class, &device),
            aux: Tensor::from_data(aux, &device),
            aux_classes: 2,
            on_host: HostLabels { class: class.into(), aux: aux.into() },
            seed: 0,
            step: 0,
        }
    }

    /// `-ln softmax(logits)(label)`
    fn cross_entropy(logits: &[f32], label: i64) -> f64 {
        let exps: Vec<f64> = logits.iter().map(|&x| f64::from(x).exp()).collect();
        -(exps[label as usize] / exps.iter().sum::<f64>()).ln()
    }

    #[test]
    fn the_loss_is_that_of_the_paper() {
        for aux in [[0, 1, 0], [1, 1, 0], [1, 1, 1]] {
            let input = input(aux);
            let (mut class, mut upright, mut rotation) = (0.0, 0, 0.0);
            for (view, logits) in LOGITS.iter().enumerate() {
                let sample = view / 2;
                rotation += cross_entropy(&logits[2..], aux[sample]) / 6.0;
                if aux[sample] == 0 {
                    class += cross_entropy(&logits[..2], input.on_host.class[sample]);
                    upright += 1;
                }
            }
            let expected = class / f64::from(upright.max(1)) + 0.5 * rotation;
            let found = ClassAndRotationConfig::new().try_init().unwrap().value(&input);
            let found = f64::from(found.total.into_scalar::<f32>());
            assert!((found - expected).abs() < 1e-6, "{aux:?}: {found} for {expected}");
        }
    }

    #[test]
    fn a_weight_out_of_range_is_named() {
        for weight in [0.0, f64::NAN] {
            let error = ClassAndRotationConfig::new().with_weight(weight).try_init().unwrap_err();
            assert!(error.to_string().contains("ClassAndRotation.weight"), "{error}");
        }
    }
}
