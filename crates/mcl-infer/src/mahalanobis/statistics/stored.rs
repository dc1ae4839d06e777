//! The stored form of the statistics, checked when read.

use serde::Deserialize;

use super::GaussianStatistics;
use crate::cluster::Cluster;
use crate::error::InferError;
use crate::mahalanobis::record::{check_length, check_values, shape_product};

/// The fields as they are stored.
#[derive(Deserialize)]
#[serde(rename = "GaussianStatistics")]
pub(super) struct Stored {
    classes: usize,
    aux_classes: usize,
    dim: usize,
    normalize: bool,
    counts: Vec<u64>,
    means: Vec<f64>,
    scatters: Vec<f64>,
}

impl TryFrom<Stored> for GaussianStatistics {
    type Error = InferError;

    fn try_from(stored: Stored) -> Result<Self, InferError> {
        let Stored { classes, aux_classes, dim, normalize, counts, means, scatters } = stored;
        let clusters = shape_product(&[classes, aux_classes]);
        check_length("counts", clusters, counts.len())?;
        // No stream is that long, and sums of a few such counts still fit.
        if let Some(position) = counts.iter().position(|&count| count > 1 << 53) {
            let value = counts[position] as f64;
            return Err(InferError::RecordValue { field: "counts", position, value });
        }
        check_values("means", shape_product(&[clusters, dim]), &means)?;
        // The number of scatters says whether they are tied.
        let tied = shape_product(&[aux_classes, dim, dim]);
        let each = shape_product(&[clusters, dim, dim]);
        let expected = if scatters.len() == tied && classes > 0 { tied } else { each };
        check_values("scatters", expected, &scatters)?;
        let statistics = Self { classes, aux_classes, dim, normalize, counts, means, scatters };
        statistics.check_empty_clusters()?;
        Ok(statistics)
    }
}

impl GaussianStatistics {
    /// Refuses a mean or a scatter of no samples.
    fn check_empty_clusters(&self) -> Result<(), InferError> {
        let zero = |values: &[f64]| values.iter().all(|&value| value == 0.0);
        let (dim, aux_classes, tied) = (self.dim, self.aux_classes, self.is_tied());
        for (index, _) in self.counts.iter().enumerate().filter(|&(_, &count)| count == 0) {
            let cluster = Cluster { class: Some(index / aux_classes), aux: index % aux_classes };
            if !zero(&self.means[index * dim..][..dim]) {
                return Err(InferError::RecordOfNothing { field: "means", cluster });
            }
            if !tied && !zero(&self.scatters[index * dim * dim..][..dim * dim]) {
                return Err(InferError::RecordOfNothing { field: "scatters", cluster });
            }
        }
        let auxiliary = if tied { 0..aux_classes } else { 0..0 };
        for aux in auxiliary.filter(|&aux| (0..self.classes).all(|class| self.count(class, aux) == 0)) {
            if !zero(&self.scatters[aux * dim * dim..][..dim * dim]) {
                let cluster = Cluster { class: None, aux };
                return Err(InferError::RecordOfNothing { field: "scatters", cluster });
            }
        }
        Ok(())
    }
}
