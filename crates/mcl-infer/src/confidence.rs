//! From the scores of the classes to the one score of an image.

use burn::tensor::activation::softmax;
use burn::tensor::{FloatDType, Tensor};

use crate::prediction::Prediction;

/// How the scores of the classes become the score of an image. The predicted class is always the class of the highest
/// score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Confidence {
    /// The highest score: the distance to the nearest class, or the probability of the likeliest one (Hendrycks and Gimpel,
    /// ICLR 2017).
    #[default]
    Highest,

    /// The negative entropy of the classes, for scores that are probabilities: an image of which the network takes three
    /// classes for possible is more anomalous than an image of two.
    ///
    /// ```text
    /// score = Σ_c p(c) ln p(c),   p(c) = s(c) / Σ_c' s(c')
    /// ```
    ///
    /// The score lies between `-ln classes` and 0. The scores s must not be negative.
    NegativeEntropy,

    /// The logarithm of the sum of the exponentials, for scores that are logits: the negative free energy (Liu et al.,
    /// NeurIPS 2020).
    ///
    /// ```text
    /// score = ln Σ_c exp s(c)
    /// ```
    LogSumExp,

    /// The highest probability, for scores that are logits: the logits are aggregated before the softmax (Tack et al., NeurIPS 2020).
    ///
    /// ```text
    /// score = max_c exp s(c) / Σ_c' exp s(c')
    /// ```
    HighestProbability,

    /// The negative mean, for scores that are logarithms of probabilities: the Kullback-Leibler divergence of the probabilities from
    /// the even distribution, up to a constant.
    ///
    /// ```text
    /// score = -(1 / classes) Σ_c s(c) = KL(uniform || p) + ln classes,   s = ln p
    /// ```
    NegativeMean,
}

impl Confidence {
    /// Takes the best class of each image, and the score of the image.
    ///
    /// # Shapes
    ///
    /// - scores: `[images, classes]`, higher = more normal
    ///
    /// # Panics
    ///
    /// When there are no classes.
    pub fn predict(self, scores: Tensor<2>) -> Prediction {
        let mut prediction = Prediction::new(scores);
        let scores = prediction.scores.clone().cast(FloatDType::F32); // [images, classes]
        let [images, _] = scores.dims();
        match self {
            Self::Highest => {}
            Self::NegativeEntropy => {
                let p = scores.clone() / scores.sum_dim(1);
                // p ln p is 0 where p is 0.
                let logarithms = p.clone().clamp_min(f32::MIN_POSITIVE).log();
                prediction.score = (p * logarithms).sum_dim(1).reshape([images]);
            }
            Self::LogSumExp => {
                // Relative to the largest, so that no exponential overflows.
                let largest = scores.clone().max_dim(1);
                let sum = (scores - largest.clone()).exp().sum_dim(1);
                prediction.score = (sum.log() + largest).reshape([images]);
            }
            Self::HighestProbability => {
                prediction.score = softmax(scores, 1).max_dim(1).reshape([images]);
            }
            Self::NegativeMean => prediction.score = scores.mean_dim(1).neg().reshape([images]),
        }
        prediction
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn scores(confidence: Confidence, rows: [[f32; 3]; 4]) -> (Vec<usize>, Vec<f64>) {
        confidence.predict(Tensor::from_data(rows, &Device::flex())).into_host().unwrap()
    }

    #[test]
    fn entropy_is_its_definition() {
        // The third row does not sum to 1: it means the same as the second.
        let rows = [[0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [0.4, 0.6, 1.0], [1.0, 1.0, 1.0]];
        let (labels, found) = scores(Confidence::NegativeEntropy, rows);
        assert_eq!(labels[..3], [1, 2, 2]);
        let p_ln_p = |p: f64| p * p.ln();
        let uneven = p_ln_p(0.2) + p_ln_p(0.3) + p_ln_p(0.5);
        for (found, expected) in found.iter().zip([0.0, uneven, uneven, -3.0_f64.ln()]) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
    }

    #[test]
    fn the_sum_of_exponentials_is_its_definition_and_does_not_overflow() {
        let rows = [[0.0, 1.0, 0.0], [900.0, 901.0, 899.0], [-900.0, -900.0, -900.0], [f32::NAN, 0.0, 0.0]];
        let (labels, found) = scores(Confidence::LogSumExp, rows);
        assert_eq!(labels[..2], [1, 1]);
        let at = |logits: [f64; 3]| logits.iter().map(|x| x.exp()).sum::<f64>().ln();
        let expected = [at([0.0, 1.0, 0.0]), 900.0 + at([0.0, 1.0, -1.0]), -900.0 + 3.0_f64.ln()];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found} for {expected}");
        }
        assert!(found[3].is_nan());
    }

    #[test]
    fn the_highest_probability_and_the_negative_mean_are_their_definitions() {
        let rows = [[0.0, 1.0, 0.0], [900.0, 901.0, 899.0], [-9.0, -9.0, -9.0], [f32::NAN, 0.0, 0.0]];
        let (labels, found) = scores(Confidence::HighestProbability, rows);
        assert_eq!(labels[..2], [1, 1]);
        let e = 1.0_f64.exp();
        for (found, expected) in found.iter().zip([e / (e + 2.0), e / (e + 1.0 + e.recip()), 1.0 / 3.0]) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
        assert!(found[3].is_nan());
        let (labels, found) = scores(Confidence::NegativeMean, rows);
        assert_eq!(labels[..2], [1, 1]);
        assert!(
            (found[0] + 1.0 / 3.0).abs() < 1e-6 && (found[1] + 900.0).abs() < 1e-3 && found[2] == 9.0,
            "{found:?}"
        );
        assert!(found[3].is_nan());
    }

    #[test]
    fn entropy_counts_all_classes_and_the_highest_score_one() {
        let rows = [[0.6, 0.4, 0.0], [0.6, 0.2, 0.2], [f32::NAN, 0.5, 0.5], [1.0, 0.0, 0.0]];
        let (_, highest) = scores(Confidence::Highest, rows);
        let (_, entropy) = scores(Confidence::NegativeEntropy, rows);
        assert_eq!(highest[0], highest[1]);
        assert!(entropy[0] > entropy[1]);
        assert!(entropy[2].is_nan(), "what is not a number stays so");
    }
}
