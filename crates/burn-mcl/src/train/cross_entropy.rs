//! Cross-entropy over the pairs (class, rotation), on the logits of the network's classifier.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::{LossInput, LossValue, TrainError, TrainingLoss};

/// Settings of the cross-entropy over (class, rotation).
///
/// ```text
/// loss = -Σ_k q(k) log softmax(l)(k),   q = (1 - smoothing) onehot(class, rotation) + smoothing / labels
/// ```
///
/// The mean over all views is minimised. The network needs a classifier with one output for each pair
/// ([`MclModelConfig::classifier`](mcl_model::MclModelConfig)).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CrossEntropyConfig {
    /// Share of the target that is spread over all labels (label smoothing), from 0 to below 1. Default: 0
    pub smoothing: f64,
    /// Temperature of normalised logits, above 0: the logits of a view are divided by their length and by the
    /// temperature (LogitNorm, Wei et al., ICML 2022, who take 0.04). `None`, the default, takes the logits as they
    /// are.
    pub norm_temperature: Option<f64>,
}

impl CrossEntropyConfig {
    /// Cross-entropy as it is: no smoothing, no normalisation.
    pub fn new() -> Self {
        Self { smoothing: 0.0, norm_temperature: None }
    }

    /// The same with another share of label smoothing.
    #[must_use]
    pub fn with_smoothing(mut self, smoothing: f64) -> Self {
        self.smoothing = smoothing;
        self
    }

    /// The same on normalised logits, or not.
    #[must_use]
    pub fn with_norm_temperature(mut self, temperature: Option<f64>) -> Self {
        self.norm_temperature = temperature;
        self
    }

    pub(super) fn try_init(&self) -> Result<CrossEntropy, TrainError> {
        let refuse = |setting, value: f64, expected| {
            Err(TrainError::Config { setting, value: value.to_string(), expected })
        };
        if !(0.0..1.0).contains(&self.smoothing) {
            return refuse("smoothing", self.smoothing, "from 0 to below 1");
        }
        match self.norm_temperature {
            Some(temperature) if !(temperature.is_finite() && temperature > 0.0) => {
                refuse("norm_temperature", temperature, "a positive number when given")
            }
            _ => Ok(CrossEntropy(*self)),
        }
    }
}

impl Default for CrossEntropyConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// The cross-entropy over (class, rotation).
#[derive(Debug, Clone, Copy)]
pub(super) struct CrossEntropy(CrossEntropyConfig);

impl CrossEntropy {
    /// The mean loss, `[1]`.
    ///
    /// # Shapes
    ///
    /// - `logits`: `[2 * samples, labels]`; the two views of a sample are neighbours
    /// - `target`: `[samples]`, in `0..labels`
    pub(super) fn forward(self, logits: Tensor<2>, target: Tensor<1, Int>) -> Tensor<1> {
        let CrossEntropyConfig { smoothing, norm_temperature } = self.0;
        let [views, _] = logits.dims();
        let logits = match norm_temperature {
            None => logits,
            Some(temperature) => {
                let length = logits.clone().square().sum_dim(1).sqrt().add_scalar(1e-7); // [views, 1]
                logits / length.mul_scalar(temperature)
            }
        };
        let target = target.reshape([views / 2, 1]).repeat_dim(1, 2).reshape([views, 1]); // of both views
        let log_probabilities = log_softmax(logits, 1);
        let right = log_probabilities.clone().gather(1, target).mean();
        if smoothing == 0.0 {
            return right.neg();
        }
        (right.mul_scalar(1.0 - smoothing) + log_probabilities.mean().mul_scalar(smoothing)).neg()
    }
}

impl TrainingLoss for CrossEntropy {
    fn value(&self, input: &LossInput) -> LossValue {
        let logits = input.logits.clone().expect("a network with a classifier, as logits() asks for");
        LossValue::new(self.forward(logits, input.joint_labels()))
    }

    fn logits(&self, classes: usize, aux_classes: usize) -> Option<usize> {
        Some(classes * aux_classes)
    }

    fn shapes_projections(&self) -> bool {
        false
    }
}

/// A contrastive loss and a weighted cross-entropy.
pub(super) struct WithCrossEntropy<L> {
    pub(super) contrastive: L,
    pub(super) cross_entropy: CrossEntropy,
    pub(super) weight: f64,
}

impl<L: TrainingLoss> TrainingLoss for WithCrossEntropy<L> {
    fn value(&self, input: &LossInput) -> LossValue {
        let contrastive = self.contrastive.value(input);
        let cross_entropy = self.cross_entropy.value(input).total;
        let total = contrastive.total + cross_entropy.clone().mul_scalar(self.weight);
        LossValue { total, parts: contrastive.parts }.with_part("cross_entropy", cross_entropy)
    }

    fn logits(&self, classes: usize, aux_classes: usize) -> Option<usize> {
        self.cross_entropy.logits(classes, aux_classes)
    }

    fn shapes_projections(&self) -> bool {
        self.contrastive.shapes_projections()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    const LOGITS: [[f32; 3]; 4] = [[1.0, -2.0, 0.5], [0.3, 0.2, 0.1], [-1.0, 4.0, 2.0], [0.0, 0.0, 7.0]];
    const TARGET: [usize; 2] = [2, 1];

    /// The definition, in f64.
    fn expected(config: CrossEntropyConfig, logits: &[[f32; 3]; 4]) -> f64 {
        let mut sum = 0.0;
        for (view, row) in logits.iter().enumerate() {
            let mut row = row.map(f64::from);
            if let Some(temperature) = config.norm_temperature {
                let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                row = row.map(|x| x / (length * temperature));
            }
            let total: f64 = row.iter().map(|x| x.exp()).sum();
            for (label, x) in row.iter().enumerate() {
                let hot = if label == TARGET[view / 2] { 1.0 } else { 0.0 };
                let q = (1.0 - config.smoothing) * hot + config.smoothing / 3.0;
                sum -= q * (x.exp() / total).ln();
            }
        }
        sum / 4.0
    }

    fn configs() -> [CrossEntropyConfig; 3] {
        let plain = CrossEntropyConfig::new();
        [plain, plain.with_smoothing(0.2), plain.with_smoothing(0.1).with_norm_temperature(Some(0.5))]
    }

    fn found(config: CrossEntropyConfig, logits: Tensor<2>) -> Tensor<1> {
        let target = Tensor::from_ints(TARGET.map(|label| label as i32), &logits.device());
        config.try_init().unwrap().forward(logits, target)
    }

    #[test]
    fn the_loss_is_its_definition() {
        for config in configs() {
            let loss = found(config, Tensor::from_data(LOGITS, &Device::flex())).into_scalar::<f32>();
            assert!((f64::from(loss) - expected(config, &LOGITS)).abs() < 1e-6, "{config:?}: {loss}");
        }
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let step = 1e-3;
        for config in configs() {
            let logits = Tensor::<2>::from_data(LOGITS, &Device::flex().autodiff()).require_grad();
            let gradients = found(config, logits.clone()).backward();
            let gradient: TensorData = logits.grad(&gradients).unwrap().into_data();
            for (at, gradient) in gradient.iter::<f64>().enumerate() {
                let moved = |by: f32| {
                    let mut logits = LOGITS;
                    logits[at / 3][at % 3] += by;
                    expected(config, &logits)
                };
                let difference = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
                assert!((gradient - difference).abs() < 1e-4, "{config:?} {at}: {gradient} for {difference}");
            }
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let plain = CrossEntropyConfig::new();
        for (config, name) in [
            (plain.with_smoothing(1.0), "smoothing"),
            (plain.with_smoothing(f64::NAN), "smoothing"),
            (plain.with_norm_temperature(Some(0.0)), "norm_temperature"),
        ] {
            match config.try_init() {
                Err(TrainError::Config { setting, .. }) => assert_eq!(setting, name),
                other => panic!("{other:?}"),
            }
        }
    }
}
