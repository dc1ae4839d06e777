//! A ready-made validation: nearest neighbours by the projections.

use mcl_data::ImageSet;
use mcl_infer::{Neighbour, NeighbourIndex, TestTimeViews};
use mcl_model::Network;

use super::probe_sets::ProbeSets;
use super::{TrainError, Validation, ValidationReport};
use crate::embed::embed;
use crate::progress::Progress;

/// Judges a network by the `k` nearest reference images of each validation image. Images are compared by the
/// cosine of their projections.
///
/// The probe reports two kinds of figures. The accuracy is that of the majority among the `k` nearest
/// neighbours. The AUROC, one for each anomalous set, is that of the similarity to the `k`-th neighbour (Sun
/// et al. 2022). Networks are compared by the mean AUROC, or by the accuracy when no anomalous set is given.
///
/// The probe fits nothing, so the figures show early whether a run learns. Give the probe other images than
/// those of the results that you report: the choice of the best network favours the images of the probe.
#[derive(Debug, Clone)]
pub struct KnnProbe {
    reference: ImageSet,
    sets: ProbeSets,
    k: usize,
    batch_size: usize,
}

impl KnnProbe {
    /// Returns a probe that looks for the 20 nearest neighbours of each `validation` image among the
    /// `reference` images. A few thousand reference images suffice.
    pub fn new(reference: ImageSet, validation: ImageSet) -> Self {
        Self { reference, sets: ProbeSets::new(validation), k: 20, batch_size: 256 }
    }

    /// Adds an anomalous set. `name` stands for the set in the report.
    #[must_use]
    pub fn anomalous(mut self, name: impl Into<String>, set: ImageSet) -> Self {
        self.sets.add(name.into(), set);
        self
    }

    /// Sets the number of neighbours, from 1 to the number of reference images.
    #[must_use]
    pub fn neighbours(mut self, k: usize) -> Self {
        self.k = k;
        self
    }
}

impl<N: Network> Validation<N> for KnnProbe {
    fn check(&self) -> Result<(), TrainError> {
        let wrong = |setting, value: String, expected| Err(TrainError::Config { setting, value, expected });
        if self.k == 0 || self.k > self.reference.len() {
            return wrong(
                "neighbours of the probe",
                self.k.to_string(),
                "at least 1 and at most the number of reference images",
            );
        }
        let (reference, validation) = (self.reference.class_names(), self.sets.class_names());
        if reference != validation {
            let value = format!("{validation:?}");
            return wrong("classes of the probe's validation images", value, "those of its reference images");
        }
        self.sets.check()
    }

    fn validate(&mut self, network: &N) -> Result<ValidationReport, TrainError> {
        Validation::<N>::check(self)?;
        let project = |set: &ImageSet| -> Result<_, TrainError> {
            let found = embed(network, set, TestTimeViews::Identity, self.batch_size, Progress::Hidden)?;
            Ok(found.tensor(0, set.len(), &network.device()).reshape([set.len(), found.dim]))
        };
        let index = NeighbourIndex::new(project(&self.reference)?).map_err(TrainError::validation)?;
        let classes = self.reference.class_names().len();
        let label = |near: &Neighbour| self.reference.labels()[near.index];
        self.sets.report(|set| {
            let found = index.search(project(set)?, self.k).map_err(TrainError::validation)?;
            let predicted = found.iter().map(|found| majority(found.iter().map(label), classes)).collect();
            let similarity = |found: &Vec<Neighbour>| found.last().map_or(f64::NAN, |last| last.similarity);
            Ok((predicted, found.iter().map(similarity).collect()))
        })
    }
}

/// Returns the most frequent of the labels. Among equally frequent labels the first one wins, which is that
/// of the nearer neighbour.
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
