//! The Mahalanobis score: class statistics, Gaussians fitted to them, distances from the Gaussians (Eq.
//! 12-13).

mod config;
mod covariance;
mod estimator;
mod gaussians;
#[cfg(feature = "flex")]
mod host;
mod moments;
mod record;
mod scorer;
mod shrinkage;
mod split;
mod statistics;
mod tied;
mod whitening;

pub use config::{Covariance, Distance, MahalanobisConfig};
pub use estimator::MahalanobisEstimator;
pub use record::MahalanobisRecord;
pub use scorer::MahalanobisScorer;
pub use shrinkage::Shrinkage;
pub use statistics::GaussianStatistics;
