//! How the class Gaussians are fitted, and which distance from them is a score.

use burn::config::Config;
use serde::{Deserialize, Serialize};

use super::shrinkage::Shrinkage;

/// Which samples share a covariance.
#[derive(Config, Debug, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Covariance {
    /// One covariance for each (class, auxiliary class), as in the paper.
    PerClass,
    /// One covariance for each auxiliary class, pooled over its classes around their own means (as in linear
    /// discriminant analysis): needs far fewer samples a class.
    Tied,
}

// `derive(Config)` copies the attributes of the variants to where `#[default]` is unknown.
#[expect(clippy::derivable_impls)]
impl Default for Covariance {
    fn default() -> Self {
        Self::PerClass
    }
}

/// What a score is the negative of.
#[derive(Config, Debug, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Distance {
    /// The squared Mahalanobis distance, as the paper writes it.
    Squared,
    /// Its square root, as the released code takes it.
    Root,
}

// `derive(Config)` copies the attributes of the variants to where `#[default]` is unknown.
#[expect(clippy::derivable_impls)]
impl Default for Distance {
    fn default() -> Self {
        Self::Squared
    }
}

/// How to fit a [`MahalanobisScorer`](crate::MahalanobisScorer).
///
/// A stored configuration that lacks a field is read with its default.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MahalanobisConfig {
    /// Which samples share a covariance. Default: [`Covariance::PerClass`]
    pub covariance: Covariance,

    /// What a score is the negative of. Default: [`Distance::Squared`]
    pub distance: Distance,

    /// Added to the diagonal of each covariance; in squared units of the embeddings. Default: 1e-9
    pub ridge: f64,

    /// How each covariance is shrunk before the ridge is added. Default: [`Shrinkage::None`]
    #[serde(skip_serializing_if = "Shrinkage::is_none")] // so that earlier versions read what they know
    pub shrinkage: Shrinkage,

    /// Whether embeddings are scaled to unit length, both those of the fit and those to be scored. Default: true
    ///
    /// The scaling happens when a sample is counted, so statistics are made for one choice: take them from
    /// [`MahalanobisConfig::statistics`].
    pub normalize: bool,
}

impl Config for MahalanobisConfig {}

impl MahalanobisConfig {
    /// The paper's Gaussians.
    pub fn new() -> Self {
        Self {
            covariance: Covariance::PerClass,
            distance: Distance::Squared,
            ridge: 1e-9,
            shrinkage: Shrinkage::None,
            normalize: true,
        }
    }

    /// The same with another choice of which samples share a covariance.
    #[must_use]
    pub fn with_covariance(mut self, covariance: Covariance) -> Self {
        self.covariance = covariance;
        self
    }

    /// The same with another distance.
    #[must_use]
    pub fn with_distance(mut self, distance: Distance) -> Self {
        self.distance = distance;
        self
    }

    /// The same with another ridge.
    #[must_use]
    pub fn with_ridge(mut self, ridge: f64) -> Self {
        self.ridge = ridge;
        self
    }

    /// The same with another shrinkage.
    #[must_use]
    pub fn with_shrinkage(mut self, shrinkage: Shrinkage) -> Self {
        self.shrinkage = shrinkage;
        self
    }

    /// The same with embeddings scaled to unit length, or not.
    #[must_use]
    pub fn with_normalize(mut self, normalize: bool) -> Self {
        self.normalize = normalize;
        self
    }
}

impl Default for MahalanobisConfig {
    fn default() -> Self {
        Self::new()
    }
}
