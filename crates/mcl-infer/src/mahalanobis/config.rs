//! How the class Gaussians are fitted, and which distance from them is a score.

use burn::config::Config;

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
#[derive(Config, Debug, Copy, PartialEq)]
pub struct MahalanobisConfig {
    /// Which samples share a covariance.
    #[config(default = "Covariance::PerClass")]
    pub covariance: Covariance,

    /// What a score is the negative of.
    #[config(default = "Distance::Squared")]
    pub distance: Distance,

    /// Added to the diagonal of each covariance; in squared units of the embeddings.
    #[config(default = 1e-9)]
    pub ridge: f64,

    /// Whether embeddings are scaled to unit length, both those of the fit and those to be scored.
    ///
    /// The scaling happens when a sample is counted, so statistics are made for one choice: take them from
    /// [`MahalanobisConfig::statistics`].
    #[config(default = true)]
    pub normalize: bool,
}

impl Default for MahalanobisConfig {
    fn default() -> Self {
        Self::new()
    }
}
