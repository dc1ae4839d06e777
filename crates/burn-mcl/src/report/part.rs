//! One set of images in a report: its pictures, where they lie, and what was made of them.

use std::path::PathBuf;

use mcl_data::ImageSet;
use mcl_infer::{Aggregation, MahalanobisScorer, TestTimeViews};
use mcl_model::Network;

use super::ReportError;
use crate::detector::{Detector, DetectorConfig, DetectorError};
use crate::progress::Progress;
use crate::scored::ScoredSet;

/// A set of judged images.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    pub(super) name: String,
    pub(super) images: &'a ImageSet,
    pub(super) files: &'a [PathBuf],
    /// The class that each image was taken for, among the training classes.
    pub(super) predicted: Vec<usize>,
    /// Higher = more normal.
    pub(super) scores: Vec<f64>,
    scored: ScoredSet,
}

impl<'a> Part<'a> {
    /// Images as `detector` judges them: the scores that its threshold and its calibration are about.
    ///
    /// # Errors
    ///
    /// As [`ScoredSet::new`].
    pub fn of<N: Network>(
        detector: &Detector<N>,
        name: impl Into<String>,
        images: &'a ImageSet,
    ) -> Result<Self, DetectorError> {
        let DetectorConfig { views, aggregation, batch_size, .. } = *detector.config();
        let (model, scorer, progress) = (detector.model(), detector.scorer(), detector.progress());
        let scored = ScoredSet::new(model, scorer, images, views, batch_size, progress)?;
        Ok(Self::new(name, images, scored).judged(views, aggregation))
    }

    /// Images as `scored` judges them by all its views with the weighted average of the paper. The threshold of a
    /// detector with other settings says nothing about these scores: take [`of`](Self::of), or [`judged`](Self::judged).
    pub fn new(name: impl Into<String>, images: &'a ImageSet, scored: ScoredSet) -> Self {
        let part =
            Self { name: name.into(), images, files: &[], predicted: Vec::new(), scores: Vec::new(), scored };
        let views = part.scored.views();
        part.judged(views, Aggregation::WeightedAverage)
    }

    /// Scores all eight views of the images, or the upright one for Gaussians without rotations, and judges them as
    /// [`new`](Self::new) does.
    ///
    /// # Errors
    ///
    /// As [`ScoredSet::new`].
    pub fn score<N: Network>(
        name: impl Into<String>,
        images: &'a ImageSet,
        model: &N,
        scorer: &MahalanobisScorer,
        batch_size: usize,
        progress: Progress,
    ) -> Result<Self, DetectorError> {
        let views = match scorer.aux_classes() {
            1 => TestTimeViews::Identity,
            _ => TestTimeViews::RotationsAndFlips,
        };
        Ok(Self::new(name, images, ScoredSet::new(model, scorer, images, views, batch_size, progress)?))
    }

    /// The same, judged by other views or another aggregation.
    ///
    /// # Panics
    ///
    /// When fewer views were scored.
    #[must_use]
    pub fn judged(mut self, views: TestTimeViews, aggregation: Aggregation) -> Self {
        (self.predicted, self.scores) = self.scored.judge(views, aggregation);
        self
    }

    /// The file of each image, for the lists.
    #[must_use]
    pub fn files(mut self, files: &'a [PathBuf]) -> Self {
        self.files = files;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its images.
    pub fn images(&self) -> &'a ImageSet {
        self.images
    }

    /// The scores of every view.
    pub fn scored(&self) -> &ScoredSet {
        &self.scored
    }

    /// All images by score, the most anomalous first.
    pub fn most_anomalous(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        order.sort_by(|&a, &b| self.scores[a].total_cmp(&self.scores[b]));
        order
    }

    /// The projection of image `i`.
    pub(super) fn projection(&self, i: usize) -> &[f32] {
        let dim = self.scored.dim();
        &self.scored.projections()[i * dim..][..dim]
    }

    /// The score of each image; higher = more normal.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// What image `i` is called: its file, or its number.
    pub fn image_name(&self, i: usize) -> String {
        match self.files.get(i) {
            Some(path) => path.display().to_string(),
            None => format!("{} {i}", self.name),
        }
    }

    /// The training class of each image, by the names of the classes; `None` when a name is not among them, or there is
    /// one training class only.
    pub(crate) fn classes(&self, training: &[String]) -> Option<Vec<usize>> {
        if training.len() < 2 {
            return None;
        }
        let own = self.images.class_names();
        let of_class: Vec<Option<usize>> =
            own.iter().map(|name| training.iter().position(|other| other == name)).collect();
        self.images.labels().iter().map(|&label| of_class[label]).collect()
    }

    /// Checks that there is one of everything for each image, all finite.
    pub(super) fn validate(&self, classes: usize) -> Result<(), ReportError> {
        let images = self.images.len();
        if images == 0 {
            return Err(ReportError::Empty { set: self.name.clone() });
        }
        let counts = [("scores", self.scores.len()), ("predicted classes", self.predicted.len())];
        let files = (!self.files.is_empty()).then_some(("files", self.files.len()));
        for (what, found) in counts.into_iter().chain(files) {
            if found != images {
                return Err(ReportError::Count { set: self.name.clone(), images, what, found });
            }
        }
        if let Some(image) = self.predicted.iter().position(|&class| class >= classes) {
            let (set, class) = (self.name.clone(), self.predicted[image]);
            return Err(ReportError::Class { set, image, class, classes });
        }
        match self.scores.iter().position(|score| !score.is_finite()) {
            Some(image) => Err(ReportError::NonFinite {
                what: format!("the score of {}", self.image_name(image)),
                value: self.scores[image],
            }),
            None => Ok(()),
        }
    }
}
