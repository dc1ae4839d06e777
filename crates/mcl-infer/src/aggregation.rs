//! From the scores of several views to one verdict: self-ensemble inference (Eq. 19-20).
//!
//! All four ways scale with the scores and are written so that nothing overflows and a distance of zero is no
//! division by zero.

use burn::config::Config;
use burn::tensor::{FloatDType, Tensor};

use crate::prediction::Prediction;

/// How the scores of an image's views become one score for each class: the ways of the paper and of its code,
/// as a setting that can be stored. A way of one's own is an [`Aggregate`].
///
/// With d(v, c) the distance (the negative score) of view v under class c:
#[derive(Config, Debug, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Aggregation {
    /// `-mean_v d(v, c)`
    Mean,

    /// `-min_v d(v, c)`: the best view counts.
    Max,

    /// The paper's weighted average (Eq. 19-20): a view weighs as much as its harmonic mean distance over
    /// classes.
    ///
    /// ```text
    /// w(v) = (Σ_c 1 / d(v, c))⁻¹
    /// score(c) = -Σ_v w(v) d(v, c) / Σ_v w(v)
    /// ```
    ///
    /// When every view is at distance zero of some class, all views weigh the same.
    WeightedAverage,

    /// What the released code computes under that name, there of [`Distance::Root`](crate::Distance::Root):
    /// for each class the harmonic mean over the views.
    ///
    /// ```text
    /// score(c) = -views / Σ_v 1 / d(v, c)
    /// ```
    ///
    /// A single view at distance zero makes it zero.
    HarmonicMean,
}

/// A way to make one score for each class of the scores of an image's views; [`Aggregation`] has those of the
/// paper.
///
/// A function or closure is one too. Each image must be judged by itself:
/// [`score_aggregated`](crate::Scorer::score_aggregated) hands over some images at a time.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use mcl_infer::{Aggregate, Prediction};
///
/// // The worst view counts: [images, views, classes] -> [images, classes].
/// let worst = |scores: Tensor<3>| scores.min_dim(1).squeeze_dim::<2>(1);
/// let scores = Tensor::from_data([[[-1.0, -2.0], [-5.0, -3.0]]], &Device::flex());
/// let prediction = Prediction::new(worst.aggregate(scores));
/// assert_eq!(prediction.score.into_data().try_to_vec::<f32>().unwrap(), [-3.0]);
/// ```
pub trait Aggregate {
    /// Combines the scores of the views.
    ///
    /// # Shapes
    ///
    /// - scores: `[images, views, classes]`, higher = more normal
    /// - output: `[images, classes]`
    fn aggregate(&self, scores: Tensor<3>) -> Tensor<2>;
}

impl<F: Fn(Tensor<3>) -> Tensor<2>> Aggregate for F {
    fn aggregate(&self, scores: Tensor<3>) -> Tensor<2> {
        self(scores)
    }
}

impl Aggregate for Aggregation {
    /// As [`Aggregation::apply`], f32.
    fn aggregate(&self, scores: Tensor<3>) -> Tensor<2> {
        let [images, views, classes] = scores.dims();
        assert!(
            views > 0 && classes > 0,
            "no verdict from {views} views and {classes} classes: at least one of each"
        );
        let scores = scores.cast(FloatDType::F32);
        let combined = match self {
            Self::Mean => scores.div_scalar(views as f32).sum_dim(1),
            Self::Max => scores.max_dim(1),
            Self::WeightedAverage => weighted_average(distances(scores)).neg(),
            Self::HarmonicMean => harmonic_mean(distances(scores), 1).neg(),
        };
        combined.reshape([images, classes])
    }
}

impl Aggregation {
    /// All of them, the released code's last.
    pub const ALL: &[Self] = &[Self::Mean, Self::Max, Self::WeightedAverage, Self::HarmonicMean];

    /// Combines the scores of the views and takes the best class.
    ///
    /// `Mean` and `Max` take any scores; `WeightedAverage` and `HarmonicMean` need negative distances, as
    /// [`MahalanobisScorer::score`](crate::MahalanobisScorer::score) gives, and read a positive score as a
    /// distance of zero.
    ///
    /// # Shapes
    ///
    /// - scores: `[images, views, classes]`, of any float type
    /// - output: see [`Prediction`], f32
    ///
    /// # Panics
    ///
    /// When there are no views or no classes.
    pub fn apply(&self, scores: Tensor<3>) -> Prediction {
        Prediction::new(self.aggregate(scores))
    }
}

fn distances(scores: Tensor<3>) -> Tensor<3> {
    scores.neg().clamp(0.0, f32::MAX)
}

/// Eq. 19-20 on distances [images, views, classes] -> [images, 1, classes].
fn weighted_average(distances: Tensor<3>) -> Tensor<3> {
    let weight = harmonic_mean(distances.clone(), 2); // [images, views, 1], up to the number of classes
    let largest = weight.clone().max_dim(1); // [images, 1, 1]
    let all_zero = vanishes(largest.clone()).expand(weight.dims());
    let weight = (weight / largest).mask_fill(all_zero, 1.0);
    let weight = weight.clone() / weight.sum_dim(1);
    (weight * distances).sum_dim(1)
}

/// The harmonic mean along `dim`, which stays as a dimension of one; zero where one of the distances is.
///
/// Relative to the smallest distance each reciprocal lies between 0 and 1, whatever the scale:
///
/// ```text
/// n / Σ 1/d = min / mean(min / d)
/// ```
fn harmonic_mean(distances: Tensor<3>, dim: usize) -> Tensor<3> {
    let nearest = distances.clone().min_dim(dim);
    let zero = vanishes(distances.clone());
    let share = (nearest.clone() / distances).mask_fill(zero, 1.0);
    nearest / share.mean_dim(dim)
}

/// Zero, or a subnormal, which some devices flush to zero.
fn vanishes(distances: Tensor<3>) -> Tensor<3, burn::tensor::Bool> {
    distances.lower_scalar(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData, Tolerance};

    fn combine(aggregation: Aggregation, scores: [[f32; 2]; 2]) -> [f32; 2] {
        let scores = Tensor::<3>::from_data([scores], &Device::flex());
        let scores = aggregation.apply(scores).scores.into_data().try_to_vec().unwrap();
        [scores[0], scores[1]]
    }

    #[test]
    fn by_hand() {
        // Harmonic means: of view 0 over classes 4/3, of view 1 2.4; weights 5/14 and 9/14. Of class 0 over
        // views 4/3, of class 1 12/5.
        let scores = [[-1.0, -2.0], [-2.0, -3.0]];
        for (aggregation, expected) in [
            (Aggregation::Mean, [-1.5, -2.5]),
            (Aggregation::Max, [-1.0, -2.0]),
            (Aggregation::WeightedAverage, [-(5.0 + 18.0) / 14.0, -(10.0 + 27.0) / 14.0]),
            (Aggregation::HarmonicMean, [-4.0 / 3.0, -2.4]),
        ] {
            let combined = TensorData::from(combine(aggregation, scores));
            combined.assert_approx_eq::<f32>(&TensorData::from(expected), Tolerance::relative(1e-6));
        }
    }

    #[test]
    fn label_is_that_of_the_highest_score() {
        let scores = [[[-3.0, -1.0, -2.0]], [[-0.5, -1.0, -2.0]]];
        for &aggregation in Aggregation::ALL {
            let scores = Tensor::<3>::from_data(scores, &Device::flex());
            let prediction = aggregation.apply(scores);
            assert_eq!(prediction.label.into_data().iter::<i64>().collect::<Vec<_>>(), [1, 0]);
            assert_eq!(prediction.score.into_data().try_to_vec::<f32>().unwrap(), [-1.0, -0.5]);
        }
    }

    #[test]
    fn zero_distances() {
        let (weighted, harmonic) = (Aggregation::WeightedAverage, Aggregation::HarmonicMean);
        // One view sits on the mean of class 0: it has no weight, and the harmonic mean of class 0 is zero.
        let one = [[0.0, -2.0], [-2.0, -4.0]];
        assert_eq!(combine(weighted, one), [-2.0, -4.0]);
        assert_eq!(combine(harmonic, one), [0.0, -8.0 / 3.0]);
        // Each view sits on some mean: equal weights.
        assert_eq!(combine(weighted, [[0.0, -2.0], [-2.0, 0.0]]), [-1.0, -1.0]);
        assert_eq!(combine(harmonic, [[0.0, -2.0], [-2.0, 0.0]]), [0.0, 0.0]);
        for &aggregation in Aggregation::ALL {
            assert_eq!(combine(aggregation, [[0.0; 2]; 2]).map(f32::abs), [0.0; 2]);
        }
    }

    #[test]
    fn any_scale() {
        let scores = [[-1.0, -2.0], [-2.0, -3.0]];
        for &aggregation in Aggregation::ALL {
            let one = combine(aggregation, scores);
            for scale in [1e-36, 1e-20, 1e20, 1e38] {
                let scaled = combine(aggregation, scores.map(|view| view.map(|score| score * scale)));
                let expected = TensorData::from(one);
                TensorData::from(scaled.map(|score| score / scale))
                    .assert_approx_eq::<f32>(&expected, Tolerance::relative(1e-5));
            }
        }
    }

    #[test]
    fn one_view_is_its_own_verdict() {
        let scores = Tensor::<3>::from_data([[[-3.0, -0.25]], [[0.0, -7.0]]], &Device::flex());
        for &aggregation in Aggregation::ALL {
            let combined = aggregation.apply(scores.clone()).scores.into_data();
            combined.assert_approx_eq::<f32>(
                &TensorData::from([[-3.0, -0.25], [0.0, -7.0]]),
                Tolerance::relative(1e-6),
            );
        }
    }

    /// Half precision has no `f32::MIN_POSITIVE`.
    #[test]
    fn scores_of_half_precision() {
        for &aggregation in Aggregation::ALL {
            let scores = Tensor::<3>::from_data([[[0.0, -2.0], [-2.0, -4.0]]], &Device::flex());
            let whole = aggregation.apply(scores.clone()).scores.into_data();
            let half = aggregation.apply(scores.cast(FloatDType::F16)).scores.into_data();
            half.assert_eq(&whole, true);
        }
    }

    #[test]
    #[should_panic(expected = "no verdict from 0 views and 2 classes")]
    fn no_views() {
        Aggregation::Mean.apply(Tensor::zeros([1, 0, 2], &Device::flex()));
    }
}
