//! Inference for masked contrastive learning (Cho, Seol and Lee, IJCAI 2021): from embeddings to class
//! Gaussians, from Gaussians to scores, from scores to a verdict and to the numbers of a paper's table.
//!
//! | step | item |
//! |---|---|
//! | class Gaussians, one for each (class, rotation) | [`GaussianStatistics`], [`MahalanobisConfig`] |
//! | Mahalanobis score of each view under each class | [`MahalanobisScorer::score`] |
//! | scores of embeddings: k-NN, relative Mahalanobis | [`KnnConfig`], [`RelativeMahalanobisConfig`] |
//! | scores of logits: highest probability, entropy, maximum logit, energy, KL matching | [`SoftmaxScorer`], [`LogitScorer`], [`KlMatchingEstimator`] |
//! | scores of both: virtual logit; ReAct, which clips the features before any score of logits | [`VimConfig`], [`OnClippedFeatures`] |
//! | scores of a class head and a rotation head | [`RotationScorer`] |
//! | scores of your own | [`Scorer`], [`Estimator`] |
//! | scores of the encoder's features instead of the projections | [`OnFeatures`] |
//! | self-ensemble inference: the 1, 4 or 8 views of a test image, or 2 or 6 upright ones | [`TestTimeViews`] |
//! | self-ensemble inference: one score from all views (Eq. 19-20) | [`Aggregation`], [`Aggregate`] |
//! | scores and aggregation in one pass | [`Scorer::score_aggregated`] |
//! | a threshold with a guarantee, p-values | [`Calibration`] |
//! | nearest training images (Fig. 4) | [`NeighbourIndex`] |
//! | AUROC and the other metrics of the paper's tables | [`metrics`] |
//!
//! Everywhere a **higher** score means **more normal** (more in-distribution).
//!
//! # Features
//!
//! - `flex`: on Burn's CPU backend, scores are computed by loops of this crate, several times faster than by
//!   tensor operations. Other backends are not touched.
//!
//! # Example
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use mcl_infer::{Aggregation, GaussianStatistics, InferError, MahalanobisConfig};
//!
//! # fn main() -> Result<(), InferError> {
//! // Two classes, no auxiliary labels (one auxiliary class), embeddings of two numbers.
//! let mut statistics = GaussianStatistics::new(2, 1, 2);
//! let features = [1.0, 0.1, 1.0, -0.1, 1.0, 0.0, 0.1, 1.0, -0.1, 1.0, 0.0, 1.0];
//! statistics.update(&features, &[0, 0, 0, 1, 1, 1], &[0; 6])?;
//!
//! let device = Device::flex();
//! let scorer = statistics.fit(&MahalanobisConfig::new(), &device)?;
//!
//! // Two test images of one view each: [images, views, dim] -> [images, views, classes].
//! let embeddings = Tensor::<3>::from_data([[[0.98, 0.03]], [[-1.0, -1.0]]], &device);
//! let scores = scorer.score(embeddings, &[0])?;
//! let prediction = Aggregation::WeightedAverage.apply(scores);
//!
//! let score = prediction.score.into_data().try_to_vec::<f32>().unwrap();
//! assert!(score[0] > score[1], "the first image is the more normal one");
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod aggregation;
mod calibration;
mod cluster;
mod confidence;
mod error;
mod estimator;
mod kl_matching;
mod knn;
mod logits;
mod mahalanobis;
pub mod metrics;
mod neighbours;
mod on_features;
mod prediction;
mod react;
mod relative;
mod rotation;
mod samples;
mod scorer;
mod scorer_config;
mod softmax;
mod tensor;
mod views;
mod vim;

pub use aggregation::{Aggregate, Aggregation};
pub use calibration::Calibration;
pub use cluster::Cluster;
pub use confidence::Confidence;
pub use error::{Cause, InferError, Job};
pub use estimator::Estimator;
pub use kl_matching::KlMatchingEstimator;
pub use knn::{KnnConfig, KnnEstimator, KnnScorer};
pub use logits::LogitScorer;
pub use mahalanobis::{
    Covariance, Distance, GaussianStatistics, MahalanobisConfig, MahalanobisEstimator, MahalanobisRecord,
    MahalanobisScorer, Shrinkage,
};
pub use neighbours::{Neighbour, NeighbourIndex};
pub use on_features::OnFeatures;
pub use prediction::Prediction;
pub use react::OnClippedFeatures;
pub use relative::{RelativeMahalanobisConfig, RelativeMahalanobisEstimator};
pub use rotation::RotationScorer;
pub use samples::SampleBatch;
pub use scorer::{Scorer, ViewBatch};
pub use scorer_config::ScorerConfig;
pub use softmax::SoftmaxScorer;
pub use views::TestTimeViews;
pub use vim::{VimConfig, VimEstimator};
