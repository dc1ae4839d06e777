//! Clipped features before any score of logits (Sun, Guo and Li, "ReAct: Out-of-distribution Detection With Rectified
//! Activations", NeurIPS 2021).

use burn::tensor::{Device, FloatDType, Tensor};

use crate::aggregation::Aggregation;
use crate::confidence::Confidence;
use crate::error::InferError;
use crate::estimator::Estimator;
use crate::samples::SampleBatch;
use crate::scorer::{Scorer, ViewBatch};
use crate::views::TestTimeViews;

/// Hands the logits of clipped features to an estimator or scorer, in place of the logits of the network.
///
/// ```text
/// logits = min(x, c) W + b,   c the percentile of all numbers of all training features
/// ```
///
/// x are the features of the encoder, W and b the classifier. An anomalous image often makes a few features very large, which makes
/// the network sure; clipped, they do not. [`LogitScorer`](crate::LogitScorer) with the energy inside is the paper's detector.
///
/// The features of the training samples are kept until [`fit`](Estimator::fit).
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use mcl_infer::{Confidence, Estimator, InferError, LogitScorer, OnClippedFeatures, SampleBatch, Scorer, ViewBatch};
///
/// # fn main() -> Result<(), InferError> {
/// let device = Device::flex();
/// // A classifier of two features and two classes, without bias.
/// let weight = Tensor::from_data([[1.0, 0.0], [0.0, 1.0]], &device);
/// let energy = LogitScorer::new(2, 1).with_confidence(Confidence::LogSumExp);
/// let mut estimator = OnClippedFeatures::new(energy, weight, None).with_percentile(1.0);
/// let batch = SampleBatch::new(&[0.0, 0.0], &[0, 1], &[0, 0]).with_features(&[3.0, 0.0, 0.0, 2.0]);
/// estimator.update(&batch.with_logits(&[3.0, 0.0, 0.0, 2.0]))?;
/// let scorer = estimator.fit(&device)?; // clips at 3, the largest training feature
/// let views = ViewBatch::new(Tensor::zeros([1, 1, 1], &device), &[0])
///     .with_features(Tensor::from_data([[[900.0, 0.0]]], &device));
/// assert_eq!(scorer.score_views(&views)?.into_data().to_vec::<f32>().unwrap(), [3.0, 0.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct OnClippedFeatures<T> {
    inner: T,
    /// `[features, outputs]`
    weight: Tensor<2>,
    /// `[outputs]`
    bias: Option<Tensor<1>>,
    percentile: f64,
    features: Vec<f32>,
}

impl<T> OnClippedFeatures<T> {
    /// For the classifier whose outputs are `features * weight + bias`; the percentile is 0.9, that of the paper.
    ///
    /// # Shapes
    ///
    /// - `weight`: `[features, outputs]`, as in `burn::nn::Linear`
    /// - `bias`: `[outputs]`
    pub fn new(inner: T, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self { inner, weight, bias, percentile: 0.9, features: Vec::new() }
    }

    /// With another share of the training features that stay as they are, above 0 and at most 1.
    #[must_use]
    pub fn with_percentile(mut self, percentile: f64) -> Self {
        self.percentile = percentile;
        self
    }
}

impl<T: Estimator> Estimator for OnClippedFeatures<T> {
    /// As the inner estimator; [`InferError::NoFeatures`] when the batch has no features, and [`InferError::DimensionMismatch`]
    /// when they do not fit the classifier. The inner estimator sees the logits of the network.
    fn update(&mut self, batch: &SampleBatch) -> Result<(), InferError> {
        let features = batch.require_features()?;
        let [expected, _] = self.weight.dims();
        if batch.aux.len() * expected != features.len() {
            return Err(InferError::DimensionMismatch {
                expected,
                found: features.len() / batch.aux.len().max(1),
            });
        }
        self.inner.update(batch)?;
        self.features.extend_from_slice(features);
        Ok(())
    }

    /// As the inner estimator; [`InferError::InvalidPercentile`] when the percentile is out of range, and [`InferError::Empty`]
    /// without samples.
    fn fit(&self, device: &Device) -> Result<Box<dyn Scorer>, InferError> {
        let percentile = self.percentile;
        if !(percentile > 0.0 && percentile <= 1.0) {
            return Err(InferError::InvalidPercentile { percentile });
        }
        if self.features.is_empty() {
            let [dim, outputs] = self.weight.dims();
            return Err(InferError::Empty { classes: outputs, aux_classes: 0, dim });
        }
        Ok(Box::new(ClippedScorer {
            inner: self.inner.fit(device)?,
            weight: self.weight.clone().to_device(device),
            bias: self.bias.clone().map(|bias| bias.to_device(device)),
            limit: quantile(&mut self.features.clone(), percentile),
        }))
    }
}

/// The value below which a share of all values lies, linear between neighbours: `numpy.percentile`.
fn quantile(values: &mut [f32], share: f64) -> f32 {
    let at = (values.len() - 1) as f64 * share;
    let (_, &mut low, above) = values.select_nth_unstable_by(at.floor() as usize, f32::total_cmp);
    let high = above.iter().copied().min_by(f32::total_cmp).unwrap_or(low);
    (f64::from(low) + (f64::from(high) - f64::from(low)) * at.fract()) as f32
}

/// The scorer that [`OnClippedFeatures`] makes.
#[derive(Debug)]
struct ClippedScorer {
    inner: Box<dyn Scorer>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    limit: f32,
}

impl Scorer for ClippedScorer {
    fn columns(&self) -> usize {
        self.inner.columns()
    }

    fn views(&self) -> TestTimeViews {
        self.inner.views()
    }

    fn aggregations(&self) -> &[Aggregation] {
        self.inner.aggregations()
    }

    fn confidence(&self) -> Confidence {
        self.inner.confidence()
    }

    fn score_views(&self, batch: &ViewBatch) -> Result<Tensor<3>, InferError> {
        let features = batch.require_features()?.clone().without_autodiff().cast(FloatDType::F32);
        let ([images, views, found], [expected, outputs]) = (features.dims(), self.weight.dims());
        if found != expected {
            return Err(InferError::DimensionMismatch { expected, found });
        }
        let clipped = features.clamp_max(self.limit).reshape([images * views, found]);
        let mut logits = clipped.matmul(self.weight.clone()); // [images * views, outputs]
        if let Some(bias) = &self.bias {
            logits = logits + bias.clone().unsqueeze();
        }
        self.inner.score_views(&batch.clone().with_logits(logits.reshape([images, views, outputs])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_numpys() {
        // numpy.percentile([3, 1, 2, 10], [50, 90, 100])
        for (share, expected) in [(0.5, 2.5), (0.9, 7.9), (1.0, 10.0)] {
            let found = quantile(&mut [3.0, 1.0, 2.0, 10.0], share);
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
        assert_eq!(quantile(&mut [4.0], 0.3), 4.0);
    }
}
