//! From the scores of several views to one verdict: self-ensemble inference (Eq. 19-20).
//!
//! All four ways scale with the scores and are written so that nothing overflows and a distance of zero is no
//! division by zero.

use burn::config::Config;
use burn::tensor::{Int, Tensor};

/// How the scores of an image's views become one score for each class.
///
/// With d(v, c) the distance (the negative score) of view v under class c:
#[derive(Config, Debug, Copy, PartialEq, Eq, Hash)]
pub enum Aggregation {
    /// `-mean_v d(v, c)`
    Mean,

    /// `-min_v d(v, c)`: the best view counts.
    Max,

    /// The paper's weighted average (Eq. 19-20): a view weighs as much as its harmonic mean distance over classes.
    ///
    /// ```text
    /// w(v) = (Σ_c 1 / d(v, c))⁻¹
    /// score(c) = -Σ_v w(v) d(v, c) / Σ_v w(v)
    /// ```
    ///
    /// When every view is at distance zero of some class, all views weigh the same.
    WeightedAverage,

    /// What the released code computes under that name: for each class the harmonic mean over the views.
    ///
    /// ```text
    /// score(c) = -views / Σ_v 1 / d(v, c)
    /// ```
    ///
    /// A single view at distance zero makes it zero.
    HarmonicMean,
}

/// The verdict on a batch of images.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// One score for each class, `[images, classes]`; higher = more normal.
    pub scores: Tensor<2>,
    /// The class of the highest score, `[images]`.
    pub label: Tensor<1, Int>,
    /// The highest score, `[images]`: what an image is told normal or anomalous by.
    pub score: Tensor<1>,
}

impl Aggregation {
    /// All of them, in the order of the paper's Table 4 with the released code's last.
    pub const ALL: [Self; 4] = [Self::Mean, Self::Max, Self::WeightedAverage, Self::HarmonicMean];

    /// Combines the scores of the views and takes the best class.
    ///
    /// `Mean` and `Max` take any scores; `WeightedAverage` and `HarmonicMean` need negative distances, as
    /// [`MahalanobisScorer::score`](crate::MahalanobisScorer::score) gives, and read a positive score as a distance
    /// of zero.
    ///
    /// # Shapes
    ///
    /// - scores: `[images, views, classes]`
    /// - output: see [`Prediction`]
    ///
    /// # Panics
    ///
    /// When there are no views or no classes.
    pub fn apply(&self, scores: Tensor<3>) -> Prediction {
        let [images, views, classes] = scores.dims();
        assert!(
            views > 0 && classes > 0,
            "no verdict from {views} views and {classes} classes: at least one of each"
        );
        let combined = match self {
            Self::Mean => scores.div_scalar(views as f32).sum_dim(1),
            Self::Max => scores.max_dim(1),
            Self::WeightedAverage => weighted_average(distances(scores)).neg(),
            Self::HarmonicMean => harmonic_mean(distances(scores), 1).neg(),
        };
        let scores = combined.reshape([images, classes]);
        let (score, label) = scores.clone().max_dim_with_indices(1);
        Prediction { scores, label: label.reshape([images]), score: score.reshape([images]) }
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
