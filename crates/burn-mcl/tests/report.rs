//! The report's page without a browser: well-formed, alone, whole, and free of what is not a number.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::common::{corners, tiny_run};
use burn::tensor::Device;
use burn_mcl::Progress;
use burn_mcl::data::ImageSet;
use burn_mcl::detector::{Detector, DetectorConfig};
use burn_mcl::embed::{Embeddings, embed};
use burn_mcl::evaluation::Evaluation;
use burn_mcl::infer::{Aggregation, MahalanobisConfig, TestTimeViews};
use burn_mcl::report::{Part, Report, ReportError};
use burn_mcl::scored::ScoredSet;
use burn_mcl::train::{StepReport, Trainer, ValidationReport};

struct Example {
    detector: Detector,
    train: ImageSet,
    projections: Embeddings,
    test: ImageSet,
    scores: ScoredSet,
    files: Vec<PathBuf>,
    history: Vec<StepReport>,
}

fn example() -> Example {
    let (train, test) = (corners(40, 0), corners(12, 4));
    let run = tiny_run(6);
    let mut history = Vec::new();
    let trainer = Trainer::new(run.clone(), &Device::flex()).unwrap().observer(|step| {
        history.push(*step);
        std::ops::ControlFlow::Continue(())
    });
    let model = trainer.fit(&train).unwrap();
    let config = DetectorConfig::new().with_gaussians(MahalanobisConfig::new().with_ridge(1e-3));
    let detector =
        Detector::fit(&model, run.model, &train, &corners(20, 1), config, Progress::Hidden).unwrap();
    let scores = scored(&detector, &test);
    let projections = embed(&model, &train, TestTimeViews::Identity, 32, Progress::Hidden).unwrap();
    let files = (0..test.len()).map(|i| PathBuf::from(format!("a \"<b>\" & 'c',{i}.png"))).collect();
    Example { detector, train, projections, test, scores, files, history }
}

fn scored(detector: &Detector, set: &ImageSet) -> ScoredSet {
    let views = detector.config().views;
    ScoredSet::new(detector.model(), detector.scorer(), set, views, 32, Progress::Hidden).unwrap()
}

impl Example {
    fn part(&self, name: &str) -> Part<'_> {
        Part::new(name, &self.test, self.scores.clone()).files(&self.files)
    }

    fn report(&self) -> Report<'_> {
        Report::new("A <title> & more", &self.train, &self.projections, self.part("normal"))
            .threshold(self.detector.threshold(), 0.95)
            .calibration(self.detector.calibration())
            .history(self.history.clone())
            .settings("Detector", self.detector.config())
            .note("A note.")
    }
}

/// Every tag is closed by its own kind, attributes are quoted, and no `<` or bare `&` is left in the text.
fn check_well_formed(html: &str) {
    let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("an HTML5 page");
    let style = rest.find("<style>").unwrap()..rest.find("</style>").unwrap();
    let without_style = [&rest[..style.start + 7], &rest[style.end..]].concat();
    rest = &without_style;
    let mut open: Vec<&str> = Vec::new();
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        assert!(!text.contains('>'), "a stray > in {text:?}");
        for entity in text.match_indices('&').map(|(i, _)| &text[i..]) {
            assert!(
                ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"].iter().any(|e| entity.starts_with(e)),
                "{entity}"
            );
        }
        let end = start + rest[start..].find('>').expect("the tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        assert!(tag.matches('"').count().is_multiple_of(2), "quotes in <{tag}>");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed by </{name}>");
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().expect("a name"));
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

fn check_alone_and_numeric(html: &str) {
    for attribute in ["src=\"", "href=\"", "url("] {
        for (i, _) in html.match_indices(attribute) {
            let target = &html[i + attribute.len()..][..8];
            assert!(
                target.starts_with("data:") || target.starts_with('#'),
                "{attribute}{target} leads elsewhere"
            );
        }
    }
    for forbidden in ["http:", "https:", "@import", "<script", "NaN", "inf\"", " inf", "Infinity"] {
        assert!(!html.contains(forbidden), "the page contains {forbidden:?}");
    }
}

fn ids(html: &str) -> Vec<&str> {
    html.split(" id=\"").skip(1).map(|rest| &rest[..rest.find('"').unwrap()]).collect()
}

#[test]
fn the_page_is_well_formed_alone_and_whole() {
    let example = example();
    let other = corners(9, 7).select_classes(&[1]).unwrap();
    let other_scores = scored(&example.detector, &other);
    let folder = tempfile::tempdir().unwrap();
    let others = [example.part("itself"), Part::new("other", &other, other_scores)];
    let report = example.report().anomalous(others);
    let index = report.write(folder.path().join("new/report")).unwrap();
    let html = fs::read_to_string(&index).unwrap();
    check_well_formed(&html);
    check_alone_and_numeric(&html);

    let sections = ["summary", "scores", "thresholds", "map", "classes", "pictures", "training", "settings"];
    assert_eq!(ids(&html), sections);
    for id in sections {
        assert!(html.contains(&format!("href=\"#{id}\"")), "{id} is reached from the top");
    }
    // Two score figures, ROC, precision, map, four training curves: each with a name, and with its data.
    assert_eq!(html.matches("role=\"img\" aria-label=\"").count(), 9);
    assert_eq!(html.matches(" as a table</summary>").count(), 9);
    assert!(
        html.matches("<img ").count() > 12
            && html.matches("<img ").count() == html.matches(" alt=\"").count()
    );
    assert!(html.contains("A &lt;title&gt; &amp; more") && html.contains("A note."));
    assert!(html.contains("a &quot;&lt;b&gt;&quot; &amp; &#39;c&#39;,"));

    let results = fs::read(index.with_file_name("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_slice(&results).unwrap();
    let summary = report.summary().unwrap();
    assert_eq!(results["summary"]["anomalous"][0]["auroc"], 0.5); // the same images on both sides
    assert_eq!(results["summary"]["threshold"].as_f64(), summary.threshold);
    assert_eq!(results["confusion"]["rows"].as_array().unwrap().len(), 2 + 2);
    let csv = fs::read_to_string(index.with_file_name("scores.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 24 + 24 + 9);
    assert!(csv.contains(r#"normal,"a ""<b>"" & 'c',"#), "quoted as RFC 4180 has it");
    let left: Vec<_> =
        fs::read_dir(index.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "nothing else is left: {left:?}");
}

#[test]
fn validations_are_on_the_page_and_a_picture_of_their_own() {
    let example = example();
    let mut validation = ValidationReport::new(0.5).with_metric("AUROC a & b", 0.5);
    validation.step = 3;
    let dir = tempfile::tempdir().unwrap();
    let page = example.report().validations(&[validation], 64).write(dir.path()).unwrap();
    let html = fs::read_to_string(page).unwrap();
    check_well_formed(&html);
    assert!(html.contains("AUROC a &amp; b (at the end 0.500)"));
    let svg = fs::read_to_string(dir.path().join("validation.svg")).unwrap();
    check_well_formed(&format!("<!DOCTYPE html>\n{svg}"));
    assert!(svg.contains("AUROC a &amp; b (at the end 0.500)"));
}

#[test]
fn no_cell_of_the_scores_is_a_formula() {
    let example = example();
    let pixels = example.test.pixels(0).to_vec();
    let images = ImageSet::new(pixels, (8, 8), vec![0], vec!["=cmd|calc".into()]).unwrap();
    let files = [PathBuf::from("@sum,1.png")];
    let part = Part::new("=HYPERLINK(1)", &images, scored(&example.detector, &images)).files(&files);
    let folder = tempfile::tempdir().unwrap();
    let report = Report::new("", &example.train, &example.projections, part);
    let csv = fs::read_to_string(report.write(folder.path()).unwrap().with_file_name("scores.csv")).unwrap();
    let line = csv.lines().nth(1).unwrap();
    assert!(line.starts_with("'=HYPERLINK(1),\"'@sum,1.png\",'=cmd|calc,"), "{line}");
    assert!(line.ends_with(",4073756d2c312e706e67"), "the name of the file to the letter: {line}");
    assert!(
        line.split(',').any(|cell| cell.starts_with("-") && cell.parse::<f64>().is_ok()),
        "a score: {line}"
    );
}

/// The threshold of a detector is about the scores of its own views and aggregation.
#[test]
fn a_report_flags_what_the_detector_flags() {
    let example = example();
    let Example { detector, train, projections, test, .. } = &example;
    let gaussians = detector.config().gaussians;
    for (views, aggregation) in
        [(TestTimeViews::RotationsAndFlips, Aggregation::Max), (TestTimeViews::Rotations, Aggregation::Mean)]
    {
        let config = DetectorConfig::new().with_gaussians(gaussians).with_tpr(0.5);
        let config = config.with_views(views).with_aggregation(aggregation);
        let (model, settings) = (detector.model(), detector.model_config().clone());
        let detector =
            Detector::fit(model, settings, train, &corners(20, 1), config, Progress::Hidden).unwrap();
        let report = Report::new("", train, projections, Part::of(&detector, "normal", test).unwrap())
            .threshold(detector.threshold(), detector.config().tpr);
        let found = detector.detect_set(test).unwrap();
        let flagged = found.iter().filter(|found| found.is_anomaly).count();
        assert!((1..test.len()).contains(&flagged), "{flagged} flagged: the test shows nothing");
        assert_eq!(report.summary().unwrap().false_alarms, Some(flagged as f64 / test.len() as f64));
    }
}

/// The classes of a test set may be fewer than those of training, and have other numbers.
#[test]
fn report_and_evaluation_find_classes_by_name() {
    let example = example();
    let train = example.train.select_classes(&[1, 0]).unwrap(); // "right" is class 0 of the detector now
    let Example { detector, projections, .. } = &example;
    let config = detector.config().clone();
    let (model, settings) = (detector.model(), detector.model_config().clone());
    let detector = Detector::fit(model, settings, &train, &corners(20, 1), config, Progress::Hidden).unwrap();
    let names = detector.class_names();
    let accuracy = |test: &ImageSet| {
        let part = Part::of(&detector, "test", test).unwrap();
        let evaluation = Evaluation::new(&part, &[], names).unwrap();
        let row = evaluation.row(TestTimeViews::RotationsAndFlips, Aggregation::WeightedAverage).unwrap();
        let summary = Report::new("", &train, projections, part).summary().unwrap();
        assert_eq!(row.accuracy, summary.accuracy);
        (row.accuracy, evaluation.to_string())
    };
    let found = detector.detect_set(&example.test).unwrap();
    let own = example.test.class_names();
    let right = |i: &usize| names[found[*i].label] == own[example.test.label(*i)];
    let right: Vec<usize> = (0..found.len()).filter(right).collect();
    let test = example.test.subset(&right).unwrap();
    assert_eq!(accuracy(&test).0, Some(1.0)); // by their numbers, all would be wrong

    let foreign = |name: &str| {
        let pixels = test.iter_pixels().collect::<Vec<_>>().concat();
        ImageSet::new(pixels, (8, 8), vec![0; test.len()], vec![name.into()]).unwrap()
    };
    assert!(accuracy(&foreign("right")).0.is_some());
    let (none, table) = accuracy(&foreign("middle"));
    assert!(none.is_none() && !table.contains("NaN"), "{table}");
}

/// It stays on the device of the scores: the default one may be busy, or not there.
#[test]
fn a_report_leaves_the_default_device_alone() {
    let test = Command::new(env::current_exe().unwrap())
        .args(["--exact", "report::the_page_is_well_formed_alone_and_whole"])
        .env("BURN_DEVICE", "there is none of this name")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&test.stdout);
    assert!(test.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
fn a_report_needs_neither_anomalies_nor_a_threshold_nor_a_history() {
    let example = example();
    let folder = tempfile::tempdir().unwrap();
    let part = example.part("normal");
    let report = Report::new("Bare", &example.train, &example.projections, part);
    let html = fs::read_to_string(report.write(folder.path()).unwrap()).unwrap();
    check_well_formed(&html);
    check_alone_and_numeric(&html);
    assert_eq!(ids(&html), ["summary", "scores", "map", "classes", "pictures"]);
}

#[test]
fn sets_of_one_image_and_foreign_classes_have_a_page() {
    let example = example();
    let one = corners(1, 9).take(1);
    let scores = scored(&example.detector, &one);
    let named = ImageSet::new(one.pixels(0).to_vec(), (8, 8), vec![0], vec!["new".into()]).unwrap();
    let part = |name| Part::new(name, &named, scores.clone());
    let folder = tempfile::tempdir().unwrap();
    let report = Report::new("One", &example.train, &example.projections, part("a")).anomalous([part("b")]);
    assert_eq!(report.summary().unwrap().accuracy, None);
    let html = fs::read_to_string(report.write(folder.path()).unwrap()).unwrap();
    check_well_formed(&html);
    check_alone_and_numeric(&html);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_written() {
    let example = example();
    let folder = tempfile::tempdir().unwrap();
    let refused = |report: Report, path: &Path| report.write(path.join("report")).unwrap_err();
    let part = example.part("normal").files(&example.files[..3]);
    let error = refused(Report::new("", &example.train, &example.projections, part), folder.path());
    assert!(matches!(error, ReportError::Count { images: 24, what: "files", found: 3, .. }), "{error}");
    let error = refused(example.report().anomalous([example.part("normal")]), folder.path());
    assert!(matches!(&error, ReportError::SameName { set } if set == "normal"), "{error}");
    let error = refused(example.report().threshold(f64::NAN, 0.95), folder.path());
    assert!(matches!(error, ReportError::NonFinite { .. }), "{error}");
    let other = corners(3, 0);
    let error = refused(Report::new("", &other, &example.projections, example.part("normal")), folder.path());
    assert!(matches!(error, ReportError::Count { what: "projections", .. }), "{error}");
    let none = example.test.take(0);
    let empty = || Part::new("none", &none, scored(&example.detector, &none));
    for report in [
        example.report().anomalous([empty()]),
        Report::new("", &example.train, &example.projections, empty()),
    ] {
        let error = refused(report, folder.path());
        assert!(matches!(&error, ReportError::Empty { set } if set == "none"), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = refused(example.report(), &file);
    assert!(matches!(&error, ReportError::File(error) if error.path.starts_with(&file)), "{error}");
}

#[test]
fn a_page_that_is_no_report_is_kept() {
    let example = example();
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("index.html");
    fs::write(&index, "<h1>mine</h1>").unwrap();
    for found in [example.report().write(folder.path()).map(drop), Report::may_write(folder.path())] {
        assert!(matches!(found, Err(ReportError::Foreign { path }) if path == index));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    fs::remove_file(&index).unwrap();
    example.report().write(folder.path()).unwrap();
    example.report().write(folder.path()).unwrap();
}
