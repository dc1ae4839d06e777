//! The images of a probe, and the report of a probe.

use mcl_data::ImageSet;
use mcl_infer::metrics::{OodMetrics, accuracy};

use super::{TrainError, ValidationReport};

/// Normal images, and sets of anomalous ones.
#[derive(Debug, Clone)]
pub(super) struct ProbeSets {
    validation: ImageSet,
    anomalous: Vec<(String, ImageSet)>,
}

impl ProbeSets {
    pub(super) fn new(validation: ImageSet) -> Self {
        Self { validation, anomalous: Vec::new() }
    }

    pub(super) fn add(&mut self, name: String, set: ImageSet) {
        self.anomalous.push((name, set));
    }

    pub(super) fn class_names(&self) -> &[String] {
        self.validation.class_names()
    }

    /// Refuses sets without images.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let wrong = |setting, value: String, expected| Err(TrainError::Config { setting, value, expected });
        if self.validation.is_empty() {
            return wrong("validation images of the probe", "0".into(), "at least 1");
        }
        match self.anomalous.iter().find(|(_, set)| set.is_empty()) {
            Some((name, _)) => {
                wrong("anomalous set of the probe", format!("`{name}` without images"), "of at least 1 image")
            }
            None => Ok(()),
        }
    }

    /// The accuracy, and the AUROC of each anomalous set, from what `judge` says of a set: a class and a score of each image,
    /// higher = more normal. The value is the mean AUROC, or the accuracy without anomalous sets.
    pub(super) fn report(
        &self,
        judge: impl Fn(&ImageSet) -> Result<(Vec<usize>, Vec<f64>), TrainError>,
    ) -> Result<ValidationReport, TrainError> {
        let (predicted, normal) = judge(&self.validation)?;
        let accuracy = accuracy(&predicted, self.validation.labels()).map_err(TrainError::validation)?;
        let mut report = ValidationReport::new(accuracy).with_metric("accuracy", accuracy);
        let mut sum = 0.0;
        for (name, set) in &self.anomalous {
            let metrics = OodMetrics::new(&normal, &judge(set)?.1).map_err(TrainError::validation)?;
            sum += metrics.auroc;
            report = report.with_metric(format!("AUROC {name}"), metrics.auroc);
        }
        if !self.anomalous.is_empty() {
            report.value = sum / self.anomalous.len() as f64;
        }
        Ok(report)
    }
}
