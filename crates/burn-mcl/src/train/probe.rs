//! A ready-made validation: nearest neighbours on the projections.

use mcl_data::ImageSet;
use mcl_infer::metrics::{OodMetrics, accuracy};
use mcl_infer::{NeighbourIndex, TestTimeViews};
use mcl_model::Network;

use super::{TrainError, Validation, ValidationReport};
use crate::embed::embed;
use crate::progress::Progress;

/// Judges a network by the nearest reference images of each validation image, by the cosine of their projections: accuracy
/// of the majority among the `k` nearest, and AUROC of the similarity to the `k`-th (Sun et al. 2022) against each anomalous
/// set.
///
/// Nothing is fitted, so the probe shows early whether a run learns. The value by which networks are compared is the mean
/// AUROC, or the accuracy when no anomalous set is given. Take images that no result is reported on.
#[derive(Debug, Clone)]
pub struct KnnProbe {
    reference: ImageSet,
    validation: ImageSet,
    anomalous: Vec<(String, ImageSet)>,
    k: usize,
    batch_size: usize,
}

impl KnnProbe {
    /// A probe that looks for the neighbours of `validation` images among `reference` images, by default the 20 nearest. A
    /// few thousand reference images suffice.
    pub fn new(reference: ImageSet, validation: ImageSet) -> Self {
        Self { reference, validation, anomalous: Vec::new(), k: 20, batch_size: 256 }
    }

    /// Adds an anomalous set under a name.
    #[must_use]
    pub fn anomalous(mut self, name: impl Into<String>, set: ImageSet) -> Self {
        self.anomalous.push((name.into(), set));
        self
    }

    /// Takes this many neighbours, at least 1 and at most as many as there are reference images.
    #[must_use]
    pub fn neighbours(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    fn check(&self) -> Result<(), TrainError> {
        let count = self.reference.len();
        let wrong = |setting, value: String, expected| Err(TrainError::Config { setting, value, expected });
        if self.k == 0 || self.k > count {
            return wrong(
                "neighbours of the probe",
                self.k.to_string(),
                "at least 1 and at most the number of reference images",
            );
        }
        let names = (self.reference.class_names(), self.validation.class_names());
        if names.0 != names.1 {
            let value = format!("{:?}", names.1);
            return wrong("classes of the probe's validation images", value, "those of its reference images");
        }
        Ok(())
    }
}

impl<N: Network> Validation<N> for KnnProbe {
    fn validate(&mut self, network: &N) -> Result<ValidationReport, TrainError> {
        self.check()?;
        let project = |set: &ImageSet| -> Result<_, TrainError> {
            let found = embed(network, set, TestTimeViews::Identity, self.batch_size, Progress::Hidden)?;
            Ok(found.tensor(0, set.len(), &network.device()).reshape([set.len(), found.dim]))
        };
        let index = NeighbourIndex::new(project(&self.reference)?).map_err(TrainError::validation)?;
        let nearest = |set: &ImageSet| index.search(project(set)?, self.k).map_err(TrainError::validation);
        let similarity =
            |found: &[mcl_infer::Neighbour]| found.last().map_or(f64::NAN, |last| last.similarity);

        let found = nearest(&self.validation)?;
        let classes = self.reference.class_names().len();
        let predicted: Vec<usize> = found
            .iter()
            .map(|found| majority(found.iter().map(|near| self.reference.labels()[near.index]), classes))
            .collect();
        let accuracy = accuracy(&predicted, self.validation.labels()).map_err(TrainError::validation)?;
        let normal: Vec<f64> = found.iter().map(|found| similarity(found)).collect();

        let mut report = ValidationReport::new(accuracy).with_metric("accuracy", accuracy);
        let mut sum = 0.0;
        for (name, set) in &self.anomalous {
            let anomalous: Vec<f64> = nearest(set)?.iter().map(|found| similarity(found)).collect();
            let metrics = OodMetrics::new(&normal, &anomalous).map_err(TrainError::validation)?;
            sum += metrics.auroc;
            report = report.with_metric(format!("AUROC {name}"), metrics.auroc);
        }
        if !self.anomalous.is_empty() {
            report.value = sum / self.anomalous.len() as f64;
        }
        Ok(report)
    }
}

/// The class named most often, and among equals the one named first: that of the nearest neighbour.
fn majority(labels: impl Iterator<Item = usize>, classes: usize) -> usize {
    let mut counts = vec![0_usize; classes];
    let mut order = Vec::new();
    for label in labels {
        counts[label] += 1;
        order.push(label);
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    order.into_iter().find(|&label| counts[label] == most).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_decides_among_equals() {
        assert_eq!(majority([2, 1, 1].into_iter(), 3), 1);
        assert_eq!(majority([2, 1, 1, 2, 0].into_iter(), 3), 2);
    }
}
