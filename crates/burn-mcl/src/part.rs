//! One judged set of images: its pictures, where they lie, and what was made of them. Reports and evaluations
//! are made of such sets.

use std::path::PathBuf;

use mcl_data::{ImageSet, utf8_name};
use mcl_infer::{Aggregate, Aggregation, Scorer, TestTimeViews};
use mcl_model::Network;

use crate::detector::{Detector, DetectorConfig, DetectorError};
use crate::progress::Progress;
use crate::scored::ScoredSet;

/// A set of judged images.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    pub(crate) name: String,
    pub(crate) images: &'a ImageSet,
    pub(crate) files: &'a [PathBuf],
    /// The class predicted for each image, among the training classes.
    pub(crate) predicted: Vec<usize>,
    /// Higher = more normal.
    pub(crate) scores: Vec<f64>,
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
        let (model, scorer, progress) = (detector.model(), detector.scored_by(), detector.progress());
        let scored = ScoredSet::new(model, scorer, images, views, batch_size, progress)?;
        Ok(Self::new(name, images, scored).judged(views, aggregation))
    }

    /// Images as `scored` judges them by all its views with the weighted average of the paper, or with the first
    /// aggregation that suits the scores. The threshold of a detector with other settings says nothing about these scores: take [`of`](Self::of), or
    /// [`judged`](Self::judged).
    pub fn new(name: impl Into<String>, images: &'a ImageSet, scored: ScoredSet) -> Self {
        let part =
            Self { name: name.into(), images, files: &[], predicted: Vec::new(), scores: Vec::new(), scored };
        let views = part.scored.views();
        let papers = Aggregation::WeightedAverage;
        let suited = part.scored.aggregations();
        let aggregation =
            if suited.contains(&papers) { papers } else { suited.first().copied().unwrap_or(papers) };
        part.judged(views, aggregation)
    }

    /// Scores all views of the images that the scorer knows ([`Scorer::views`]), and judges them as [`new`](Self::new)
    /// does.
    ///
    /// # Errors
    ///
    /// As [`ScoredSet::new`].
    pub fn score<N: Network>(
        name: impl Into<String>,
        images: &'a ImageSet,
        model: &N,
        scorer: &dyn Scorer,
        batch_size: usize,
        progress: Progress,
    ) -> Result<Self, DetectorError> {
        let scored = ScoredSet::new(model, scorer, images, scorer.views(), batch_size, progress)?;
        Ok(Self::new(name, images, scored))
    }

    /// The same, judged by other views or another aggregation.
    ///
    /// # Panics
    ///
    /// When fewer views were scored, or others ([`ScoredSet::judge`]).
    #[must_use]
    pub fn judged(mut self, views: TestTimeViews, aggregation: impl Aggregate) -> Self {
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
    pub(crate) fn projection(&self, i: usize) -> &[f32] {
        let dim = self.scored.dim();
        &self.scored.projections()[i * dim..][..dim]
    }

    /// The score of each image; higher = more normal.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// What image `i` is called: its file, or its number. Bytes of a file name that are not UTF-8 are written
    /// `\xE4`; [`printable`](mcl_data::printable) makes the name fit for a terminal.
    pub fn image_name(&self, i: usize) -> String {
        match self.files.get(i) {
            Some(path) => utf8_name(path),
            None => format!("{} {i}", self.name),
        }
    }

    /// The training class of each image, by the names of the classes; `None` when a name is not among them, or when the
    /// scores tell no classes apart.
    pub(crate) fn classes(&self, training: &[String]) -> Option<Vec<usize>> {
        if training.len() < 2 || self.scored.columns() != training.len() {
            return None;
        }
        let own = self.images.class_names();
        let of_class: Vec<Option<usize>> =
            own.iter().map(|name| training.iter().position(|other| other == name)).collect();
        self.images.labels().iter().map(|&label| of_class[label]).collect()
    }
}
