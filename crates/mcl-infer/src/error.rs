//! What can go wrong between embeddings and scores, with the class at fault and what to do about it.

mod cause;
mod job;

pub use cause::Cause;
pub use job::Job;

use thiserror::Error;

use crate::cluster::Cluster;

/// An error of counting, fitting, scoring, reading stored numbers or calibrating; [`InferError::job`] says
/// which.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum InferError {
    // ---- Counting samples
    /// `classes`, `aux_classes` or `dim` is zero.
    #[error(
        "statistics of {classes} classes, {aux_classes} auxiliary classes and dimension {dim} hold no Gaussian: \
         all three must be at least 1"
    )]
    Empty {
        /// Number of classes.
        classes: usize,
        /// Number of auxiliary classes.
        aux_classes: usize,
        /// Length of an embedding.
        dim: usize,
    },

    /// There is not one class label and one auxiliary label a row.
    #[error("{class} class labels but {aux} auxiliary labels: each row of features needs one of both")]
    LabelCount {
        /// Number of class labels.
        class: usize,
        /// Number of auxiliary labels.
        aux: usize,
    },

    /// The features are not `rows * dim` numbers.
    #[error("{found} features for {rows} labels: rows of {dim} need {}", .rows * .dim)]
    FeatureCount {
        /// Number of labels.
        rows: usize,
        /// Length of an embedding.
        dim: usize,
        /// How many numbers were given.
        found: usize,
    },

    /// A class label is not below the number of classes.
    #[error("row {row} has class {class}, but there are only {classes} classes, counted from 0")]
    ClassOutOfRange {
        /// Row of the features.
        row: usize,
        /// Its class.
        class: usize,
        /// Number of classes.
        classes: usize,
    },

    /// An auxiliary label is not below the number of auxiliary classes.
    #[error("row {row} has auxiliary class {aux}, but there are only {aux_classes} of them, counted from 0")]
    AuxOutOfRange {
        /// Row of the features.
        row: usize,
        /// Its auxiliary class.
        aux: usize,
        /// Number of auxiliary classes.
        aux_classes: usize,
    },

    /// A label of a tensor is negative.
    #[error("row {row} has the label {label}: classes and auxiliary classes are counted from 0")]
    NegativeLabel {
        /// Row of the features.
        row: usize,
        /// The label.
        label: i64,
    },

    /// A feature is NaN or infinite.
    #[error(
        "row {row} (class {class}, auxiliary class {aux}) holds {value} at position {column}: \
         check that the model's weights and the images are finite"
    )]
    NonFiniteFeature {
        /// Row of the features.
        row: usize,
        /// Position in the row.
        column: usize,
        /// Class of the row.
        class: usize,
        /// Auxiliary class of the row.
        aux: usize,
        /// The value.
        value: f32,
    },

    /// A row of zeros has no direction, so it cannot be L2-normalised.
    #[error(
        "row {row} (class {class}, auxiliary class {aux}) is all zeros and cannot be normalised: \
         drop it, or fit with `normalize: false`"
    )]
    ZeroFeature {
        /// Row of the features.
        row: usize,
        /// Class of the row.
        class: usize,
        /// Auxiliary class of the row.
        aux: usize,
    },

    /// Two sets of statistics are not about the same thing and cannot be merged.
    #[error("statistics with {what} {other} cannot be merged into statistics with {what} {own}")]
    Unmergeable {
        /// What differs.
        what: &'static str,
        /// What this side has.
        own: usize,
        /// What the other side has.
        other: usize,
    },

    // ---- Fitting
    /// Statistics with one scatter for each auxiliary class cannot give each class a covariance of its own.
    #[error(
        "the statistics hold one scatter for each auxiliary class, but the configuration asks for a covariance for \
         each class: count the samples again, with `MahalanobisConfig::statistics` of this configuration, or fit \
         with `Covariance::Tied`"
    )]
    OnlyTied,

    /// The statistics were gathered with another `normalize` than the configuration asks for.
    #[error(
        "the statistics were gathered with normalize = {statistics}, but the configuration says {config}: \
         gather them again, from `MahalanobisConfig::statistics`"
    )]
    NormalizeMismatch {
        /// Whether the statistics hold normalised features.
        statistics: bool,
        /// What the configuration says.
        config: bool,
    },

    /// The ridge is negative, infinite or NaN.
    #[error("ridge {ridge} must be finite and not negative")]
    InvalidRidge {
        /// The ridge.
        ridge: f64,
    },

    /// The number of neighbours of a k-NN scorer is zero.
    #[error("k-NN scores need the distance to at least the first neighbour: k = {k} must be at least 1")]
    InvalidNeighbours {
        /// The number of neighbours.
        k: usize,
    },

    /// There are fewer samples to search than the neighbour that is asked for.
    #[error(
        "{cluster} has {count} samples, fewer than the {k} neighbours asked for: give it more, or a smaller k"
    )]
    TooFewNeighbours {
        /// Whose samples.
        cluster: Cluster,
        /// How many there are.
        count: usize,
        /// The number of neighbours.
        k: usize,
    },

    /// A principal subspace is to have no dimension, or all dimensions of the features.
    #[error(
        "a principal subspace of {principal} dimensions leaves no residual of features of {dim}: give between 1 and \
         {}",
        .dim.saturating_sub(1)
    )]
    InvalidSubspace {
        /// Dimensions of the subspace.
        principal: usize,
        /// Length of a feature.
        dim: usize,
    },

    /// A Gaussian has too few samples for a mean or an unbiased covariance.
    #[error(
        "{cluster} has {count} samples, at least {needed} are needed: give it more{}",
        match .cluster.class {
            None => "",
            // Where the covariance is shared, an empty class is what is wrong, and sharing is no way out.
            Some(_) if *.needed == 1 => ", or leave the class out",
            Some(_) => ", leave the class out, or share one covariance between the classes (Covariance::Tied)",
        }
    )]
    TooFewSamples {
        /// Whose samples.
        cluster: Cluster,
        /// How many there are.
        count: u64,
        /// How many there must be.
        needed: u64,
    },

    /// The samples, less one for each mean taken out of them, are fewer than the dimensions of the
    /// covariance, and the ridge is too small to stand in for the directions in which nothing was seen.
    #[error(
        "{cluster}: {count} samples cannot fill a covariance of dimension {dim}, and ridge {ridge:e} is too small \
         to stand in for what they miss: give it more samples, or a ridge of at least {needed:e}{}",
        .cluster.or_tied()
    )]
    RankDeficient {
        /// Whose samples.
        cluster: Cluster,
        /// How many there are.
        count: u64,
        /// Length of an embedding.
        dim: usize,
        /// The configured ridge.
        ridge: f64,
        /// The least ridge that is accepted here: a millionth of the mean variance of the directions seen.
        needed: f64,
    },

    /// All samples of a Gaussian are the same, so it has no width.
    #[error(
        "{cluster}: all {count} samples have the same embedding, so there is no spread to measure a distance \
         by: check for duplicate images or a collapsed model{}",
        .cluster.or_tied()
    )]
    NoSpread {
        /// Whose samples.
        cluster: Cluster,
        /// How many there are.
        count: u64,
    },

    /// A covariance, with its ridge, is not numerically positive definite.
    #[error(
        "the covariance of {cluster} is not positive definite with ridge {ridge:e}: raise the ridge, or give it \
         more varied samples{}",
        .cluster.or_tied()
    )]
    NotPositiveDefinite {
        /// Whose covariance.
        cluster: Cluster,
        /// The configured ridge.
        ridge: f64,
    },

    /// A Gaussian lies or spreads too far, or is too narrow, for scores in f32.
    #[error(
        "{cluster}: {value:e} is beyond what scores in f32 can tell apart: scale the features to a mean and spread \
         near 1, or fit with `normalize: true`"
    )]
    ScaleOutOfRange {
        /// Whose Gaussian.
        cluster: Cluster,
        /// The mean or the standard deviation that is too large, or the inverse of one that is too small.
        value: f64,
    },

    // ---- Scoring
    /// The embeddings or features to score have another length than those of the fit.
    #[error("embeddings of dimension {found} given to a scorer that was fitted to dimension {expected}")]
    DimensionMismatch {
        /// Dimension of the fit.
        expected: usize,
        /// Dimension of the embeddings.
        found: usize,
    },

    /// There is not one auxiliary class for each view.
    #[error("{found} auxiliary classes for {views} views: each view needs one")]
    ViewCount {
        /// Number of views in the embeddings.
        views: usize,
        /// Length of `view_aux`.
        found: usize,
    },

    /// A view is to be scored by an auxiliary class that was not fitted.
    #[error("view {view} asks for auxiliary class {aux}, but only {aux_classes} were fitted, counted from 0")]
    ViewAuxOutOfRange {
        /// The view.
        view: usize,
        /// The auxiliary class it asks for.
        aux: usize,
        /// Number of auxiliary classes.
        aux_classes: usize,
    },

    /// An embedding to score holds NaN or infinity.
    #[error(
        "the embedding of image {image}, view {view} is not finite: check the model's weights and the image"
    )]
    NonFiniteEmbedding {
        /// The image.
        image: usize,
        /// The view.
        view: usize,
    },

    /// An embedding to score is all zeros and cannot be L2-normalised.
    #[error("the embedding of image {image}, view {view} is all zeros and cannot be normalised")]
    ZeroEmbedding {
        /// The image.
        image: usize,
        /// The view.
        view: usize,
    },

    /// The scorer is made of the encoder's features, and the samples or views bring none.
    #[error("the scorer needs the features of the encoder: give them beside the embeddings")]
    NoFeatures,

    /// The scorer is made of logits, and the samples or views bring none.
    #[error("the scorer needs the logits of the network: give them beside the embeddings")]
    NoLogits,

    /// The classifier has another number of outputs than the scorer was made for.
    #[error(
        "the scorer takes {expected} logits of a view, and the network gives {found}: fit it for the classes of the network"
    )]
    LogitCount {
        /// Classes times auxiliary classes; their sum for [`RotationScorer`](crate::RotationScorer).
        expected: usize,
        /// Logits of a view.
        found: usize,
    },

    /// A percentile is not above 0 and at most 1.
    #[error("a percentile of {percentile} is not above 0 and at most 1 (90% is 0.9)")]
    InvalidPercentile {
        /// The percentile.
        percentile: f64,
    },

    /// The temperature of a softmax is not a positive number.
    #[error("temperature {temperature} divides no logits: give one above 0, such as 1 or 2")]
    InvalidTemperature {
        /// The temperature.
        temperature: f64,
    },

    // ---- Reading stored scorers and statistics
    /// A stored scorer or stored statistics contradict themselves.
    #[error(
        "stored {field} hold {found} values instead of {expected}: the file is damaged or of another kind"
    )]
    RecordLength {
        /// Which part.
        field: &'static str,
        /// How many values it must hold.
        expected: usize,
        /// How many it holds.
        found: usize,
    },

    /// A stored scorer or stored statistics hold NaN or infinity, or a count beyond all streams.
    #[error("stored {field} hold {value} at position {position}: the file is damaged")]
    RecordValue {
        /// Which part.
        field: &'static str,
        /// Where in it.
        position: usize,
        /// The value.
        value: f64,
    },

    /// Stored statistics of no samples hold a mean or a scatter.
    #[error("stored {field} of {cluster} are not zero, but it has no samples: the file is damaged")]
    RecordOfNothing {
        /// Which part.
        field: &'static str,
        /// Whose.
        cluster: Cluster,
    },

    /// A stored covariance is not symmetric.
    #[error(
        "the stored covariance of {cluster} is not symmetric: {value} in row {row}, column {column}, but {mirrored} \
         in row {column}, column {row}: the file is damaged or of another kind"
    )]
    RecordAsymmetry {
        /// Whose covariance.
        cluster: Cluster,
        /// Row of the entry.
        row: usize,
        /// Column of the entry.
        column: usize,
        /// The entry.
        value: f64,
        /// The entry on the other side of the diagonal.
        mirrored: f64,
    },

    // ---- Calibrating
    /// A calibration score is NaN or infinite.
    #[error("calibration score {position} is {score}: check that the images and the weights are finite")]
    CalibrationScore {
        /// Position of the score.
        position: usize,
        /// The score.
        score: f64,
    },

    /// A rate is not above 0 and below 1.
    #[error("a true positive rate of {rate} is not above 0 and below 1")]
    Rate {
        /// The rate.
        rate: f64,
    },

    /// There are too few calibration scores for a threshold.
    #[error(
        "{scores} calibration scores cannot place a threshold at a true positive rate of {tpr}: give at least \
         {needed}, of images held out from training"
    )]
    TooFewToCalibrate {
        /// Scores given.
        scores: usize,
        /// Scores needed.
        needed: usize,
        /// The true positive rate asked for.
        tpr: f64,
    },

    // ---- Any job
    /// The device could not run or return the computation.
    #[error("the device failed")]
    Device(#[source] Cause),

    /// A scorer of another crate failed in a way of its own; see [`InferError::other`].
    #[error(transparent)]
    Other(Cause),
}

impl InferError {
    /// Wraps an error of a scorer that is not of this crate.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(Cause::new(error))
    }

    /// A failure of the device, with its source.
    pub(crate) fn device(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Device(Cause::new(error))
    }
}
