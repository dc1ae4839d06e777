//! What a detector does, to look at: one HTML file that works offline, and the same as data.
//!
//! ```text
//! report/index.html      figures, pictures and settings; nothing is loaded from elsewhere
//! report/results.json    the numbers behind it
//! report/scores.csv      one line an image
//! ```
//!
//! | section | figure of the paper |
//! |---|---|
//! | summary: AUROC, FPR at 95% TPR, precision, false alarms | Tables 1, 3, 4 |
//! | score histograms with densities: correct, wrong, anomalous | Fig. 5 |
//! | ROC and precision-recall curves, the threshold on them | |
//! | map of the projections | Fig. 1 |
//! | confusion matrix | |
//! | most confident mistakes with their nearest training images | Fig. 4 |
//! | training curves, settings | |

mod confusion;
mod curves;
mod date;
mod density;
mod error;
mod figure;
mod figures;
mod gallery;
mod map;
mod page;
mod pictures;
mod results;
mod summary;
mod svg;
mod text;
mod thresholds;
mod validations;

use std::path::{Path, PathBuf};
use std::{fs, io};

use mcl_data::ImageSet;
use mcl_infer::Calibration;
use serde::Serialize;
use serde_json::Value;

pub use error::ReportError;
pub use summary::{Summary, SummaryRow};

use crate::embed::Embeddings;
use crate::files::{self, FileError, replace};
pub use crate::part::Part;
use crate::train::{StepReport, ValidationReport};
use validations::Validations;

/// The page of a report.
const INDEX: &str = "index.html";

/// Gathers what a report shows, and writes it.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use burn_mcl::{Progress, data::ImageSet, detector::Detector, embed::embed, infer::TestTimeViews};
/// # use burn_mcl::{report::{Part, Report}, train::read_history};
/// # let (detector, train, test, other): (Detector, ImageSet, ImageSet, ImageSet) = todo!();
/// let projections = embed(detector.model(), &train, TestTimeViews::Identity, 256, Progress::Terminal)?;
///
/// let report = Report::new("Screws", &train, &projections, Part::of(&detector, "test", &test)?)
///     .anomalous([Part::of(&detector, "scratched", &other)?])
///     .threshold(detector.threshold(), detector.config().tpr)
///     .calibration(detector.calibration())
///     .history(read_history("run")?);
/// println!("{}", report.summary()?);
/// report.write("run/report")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Report<'a> {
    title: String,
    train: &'a ImageSet,
    projections: &'a Embeddings,
    normal: Part<'a>,
    anomalous: Vec<Part<'a>>,
    threshold: Option<f64>,
    tpr: Option<f64>,
    calibration: Option<&'a Calibration>,
    history: Vec<StepReport>,
    validations: Option<Validations>,
    facts: Vec<(String, String)>,
    settings: Vec<(String, Value)>,
    notes: Vec<String>,
}

impl<'a> Report<'a> {
    /// A report on how normal images that the network has not seen are judged. `projections` are those of the
    /// training images, in one view or several, of which the first counts.
    pub fn new(
        title: impl Into<String>,
        train: &'a ImageSet,
        projections: &'a Embeddings,
        normal: Part<'a>,
    ) -> Self {
        Self {
            title: title.into(),
            train,
            projections,
            normal,
            anomalous: Vec::new(),
            threshold: None,
            tpr: None,
            calibration: None,
            history: Vec::new(),
            validations: None,
            facts: Vec::new(),
            settings: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds sets of anomalies.
    #[must_use]
    pub fn anomalous(mut self, parts: impl IntoIterator<Item = Part<'a>>) -> Self {
        self.anomalous.extend(parts);
        self
    }

    /// Scores below `threshold` are anomalies, and at least a share `tpr` of normal images was to reach it.
    /// The threshold of a detector goes with parts that it judged ([`Part::of`]).
    #[must_use]
    pub fn threshold(mut self, threshold: f64, tpr: f64) -> Self {
        (self.threshold, self.tpr) = (Some(threshold), Some(tpr));
        self
    }

    /// Where p-values come from, for `scores.csv`. The calibration of a detector goes with parts that it
    /// judged ([`Part::of`]).
    #[must_use]
    pub fn calibration(mut self, calibration: &'a Calibration) -> Self {
        self.calibration = Some(calibration);
        self
    }

    /// The steps of the training run ([`read_history`](crate::train::read_history)).
    #[must_use]
    pub fn history(mut self, steps: Vec<StepReport>) -> Self {
        self.history = steps;
        self
    }

    /// The validations of the training run ([`read_validations`](crate::train::read_validations)), over the time of the steps
    /// of the [history](Self::history), which must be given first. A step takes `views_per_batch` views
    /// ([`TrainConfig::views_per_batch`](crate::train::TrainConfig::views_per_batch)). [`write`](Self::write) makes a picture
    /// of them too, `validation.svg`.
    #[must_use]
    pub fn validations(mut self, reports: &[ValidationReport], views_per_batch: usize) -> Self {
        self.validations = Validations::new(&self.history, reports, views_per_batch);
        self
    }

    /// A fact to show at the top, under a name: where the images came from, say.
    #[must_use]
    pub fn fact(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.facts.push((name.into(), value.into()));
        self
    }

    /// Settings to show, under a name.
    ///
    /// # Panics
    ///
    /// When they cannot be JSON: maps whose keys are no strings.
    #[must_use]
    pub fn settings(mut self, name: impl Into<String>, settings: &impl Serialize) -> Self {
        let value = serde_json::to_value(settings).expect("settings are plain data");
        self.settings.push((name.into(), value));
        self
    }

    /// A sentence to show below the summary.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// The numbers at its top.
    ///
    /// # Errors
    ///
    /// [`ReportError::Empty`] when a set has no images; [`ReportError::SameName`] when two sets have one
    /// name; [`ReportError::Count`], [`ReportError::Class`] or [`ReportError::NonFinite`] when what was given
    /// does not fit together.
    pub fn summary(&self) -> Result<Summary, ReportError> {
        self.validate()?;
        let classes = self.train.class_names();
        Summary::new(&self.normal, &self.anomalous, classes, self.threshold, self.guarantee())
    }

    /// Writes `index.html`, `results.json`, `scores.csv` and, with [validations](Self::validations), `validation.svg` into the
    /// folder `path` and returns the path of the first. Each replaces an earlier one only when it is whole.
    ///
    /// # Errors
    ///
    /// As [`summary`](Self::summary) and [`may_write`](Self::may_write), and [`ReportError::File`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<PathBuf, ReportError> {
        let path = path.as_ref();
        Self::may_write(path)?;
        let summary = self.summary()?;
        let gallery = gallery::gallery(
            &self.parts(),
            self.train.class_names(),
            self.threshold,
            self.first_views(),
            self.projections.dim,
        )?;
        let results = results::json(self, &summary, &gallery);
        let page = page::html(self, &summary, &gallery);

        fs::create_dir_all(path).map_err(FileError::on("create", path))?;
        replace(&path.join("scores.csv"), results::csv(self).as_bytes())?;
        replace(&path.join("results.json"), results.as_bytes())?;
        if let Some(validations) = &self.validations {
            replace(&path.join("validation.svg"), validations.svg().as_bytes())?;
        }
        let index = path.join(INDEX);
        replace(&index, page.as_bytes())?;
        Ok(index)
    }

    /// Whether [`write`](Self::write) may write into the folder `path`: it replaces an earlier report, and no other page. To be
    /// asked before long work whose result is a report.
    ///
    /// # Errors
    ///
    /// [`ReportError::Foreign`] when the folder has an `index.html` that is no report, and [`ReportError::File`] when it cannot be
    /// read.
    pub fn may_write(path: impl AsRef<Path>) -> Result<(), ReportError> {
        let path = path.as_ref().join(INDEX);
        match files::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(FileError::on("read", &path)(error).into()),
            Ok(found) if page::is_ours(&found) => Ok(()),
            Ok(_) => Err(ReportError::Foreign { path }),
        }
    }

    /// The share of normal images below the threshold that is not exceeded on average.
    fn guarantee(&self) -> Option<f64> {
        let (threshold, tpr) = (self.threshold?, self.tpr?);
        let calibrated = self.calibration.filter(|calibration| !calibration.scores().is_empty());
        Some(calibrated.map_or(1.0 - tpr, |calibration| summary::guarantee(calibration, threshold)))
    }

    /// The notes given, and what the history says.
    fn notes(&self) -> Vec<String> {
        let last = self.history.last().filter(|step| step.step == step.total_steps);
        let collapse = last.and_then(StepReport::collapse).map(|message| format!("Warning: {message}."));
        collapse.into_iter().chain(self.notes.iter().cloned()).collect()
    }

    /// The sets of anomalies, as given.
    pub fn anomalous_sets(&self) -> &[Part<'a>] {
        &self.anomalous
    }

    /// The normal set, then the anomalous ones.
    fn parts(&self) -> Vec<&Part<'a>> {
        [&self.normal].into_iter().chain(&self.anomalous).collect()
    }

    /// Projections of the training images as they are, `[n, dim]`.
    fn first_views(&self) -> Vec<f32> {
        let Embeddings { values, views, dim, .. } = self.projections;
        values.chunks_exact((views * dim).max(1)).flat_map(|image| &image[..*dim]).copied().collect()
    }

    fn validate(&self) -> Result<(), ReportError> {
        let count = |set: &str, images, what, found| {
            let set = set.to_string();
            if images == found { Ok(()) } else { Err(ReportError::Count { set, images, what, found }) }
        };
        count("train", self.train.len(), "projections", self.projections.images)?;
        if self.train.is_empty() {
            return Err(ReportError::Empty { set: "train".into() });
        }
        let parts = self.parts();
        validate_all(&parts, self.train.class_names().len())?;
        for part in parts {
            let (own, dim) = (part.scored().dim(), self.projections.dim);
            if own != dim {
                return Err(ReportError::Dimension { set: part.name.clone(), found: own, expected: dim });
            }
        }
        match self.threshold {
            Some(value) if !value.is_finite() => {
                Err(ReportError::NonFinite { what: "the threshold".into(), value })
            }
            _ => Ok(()),
        }
    }
}

/// Checks each set, and that no two have one name.
fn validate_all(parts: &[&Part], classes: usize) -> Result<(), ReportError> {
    for (i, part) in parts.iter().enumerate() {
        if parts[..i].iter().any(|earlier| earlier.name == part.name) {
            return Err(ReportError::SameName { set: part.name.clone() });
        }
        validate(part, classes)?;
    }
    Ok(())
}

/// Checks that there is one of everything for each image of a set, all finite.
fn validate(part: &Part, classes: usize) -> Result<(), ReportError> {
    let (images, set) = (part.images.len(), || part.name.clone());
    if images == 0 {
        return Err(ReportError::Empty { set: set() });
    }
    let counts = [("scores", part.scores.len()), ("predicted classes", part.predicted.len())];
    let files = (!part.files.is_empty()).then_some(("files", part.files.len()));
    for (what, found) in counts.into_iter().chain(files) {
        if found != images {
            return Err(ReportError::Count { set: set(), images, what, found });
        }
    }
    if let Some(image) = part.predicted.iter().position(|&class| class >= classes) {
        return Err(ReportError::Class { set: set(), image, class: part.predicted[image], classes });
    }
    match part.scores.iter().position(|score| !score.is_finite()) {
        Some(image) => Err(ReportError::NonFinite {
            what: format!("the score of {}", part.image_name(image)),
            value: part.scores[image],
        }),
        None => Ok(()),
    }
}
