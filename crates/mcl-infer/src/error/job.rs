//! The job in which an error arose.

use super::InferError;

/// What was being done when an [`InferError`] arose, and so whose input is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Job {
    /// Samples were counted or merged: the training features or their labels are at fault.
    Count,
    /// Gaussians were fitted: a class has too few or too similar samples, or a setting is out of range.
    Fit,
    /// Embeddings were scored: the embeddings, or the views asked for.
    Score,
    /// Stored numbers were read: the file.
    Read,
    /// A threshold was placed: the held-out scores, or the rate asked for.
    Calibrate,
    /// The device failed, in any job.
    Device,
    /// A scorer of another crate failed in a way of its own.
    Other,
}

impl InferError {
    /// What was being done when the error arose.
    pub fn job(&self) -> Job {
        match self {
            Self::LabelCount { .. }
            | Self::FeatureCount { .. }
            | Self::ClassOutOfRange { .. }
            | Self::AuxOutOfRange { .. }
            | Self::NegativeLabel { .. }
            | Self::NonFiniteFeature { .. }
            | Self::ZeroFeature { .. }
            | Self::Unmergeable { .. } => Job::Count,
            Self::Empty { .. }
            | Self::OnlyTied
            | Self::NormalizeMismatch { .. }
            | Self::InvalidRidge { .. }
            | Self::InvalidNeighbours { .. }
            | Self::TooFewNeighbours { .. }
            | Self::InvalidSubspace { .. }
            | Self::TooFewSamples { .. }
            | Self::RankDeficient { .. }
            | Self::NoSpread { .. }
            | Self::NotPositiveDefinite { .. }
            | Self::ScaleOutOfRange { .. } => Job::Fit,
            Self::DimensionMismatch { .. }
            | Self::ViewCount { .. }
            | Self::ViewAuxOutOfRange { .. }
            | Self::NonFiniteEmbedding { .. }
            | Self::ZeroEmbedding { .. }
            | Self::NoFeatures
            | Self::LogitCount { .. }
            | Self::InvalidTemperature { .. }
            | Self::InvalidPercentile { .. }
            | Self::NoLogits => Job::Score,
            Self::RecordLength { .. }
            | Self::RecordValue { .. }
            | Self::RecordOfNothing { .. }
            | Self::RecordAsymmetry { .. } => Job::Read,
            Self::CalibrationScore { .. } | Self::Rate { .. } | Self::TooFewToCalibrate { .. } => {
                Job::Calibrate
            }
            Self::Device(_) => Job::Device,
            Self::Other(_) => Job::Other,
        }
    }
}
