//! The figures of every threshold at once, with the chosen one on them: ROC, precision and recall.

use super::curves::{self, Curve, Point};
use super::figure::{Figure, TABLE_ROWS};
use super::map;
use super::svg::{Axis, Chart, line_legend};
use super::{Report, Summary};

/// One kind of curve over all thresholds.
struct Kind {
    title: &'static str,
    caption: &'static str,
    x: &'static str,
    y: &'static str,
    /// Of normal and anomalous scores.
    curve: fn(&[f64], &[f64]) -> Curve,
    /// The place of one threshold on the curve.
    at: fn(&[f64], &[f64], f64) -> Option<Point>,
}

const ROC: Kind = Kind {
    title: "ROC curve",
    caption: "How many anomalies are found, for how many false alarms.",
    x: "normal images flagged",
    y: "anomalies found",
    curve: curves::roc,
    at: curves::roc_at,
};

const PRECISION_RECALL: Kind = Kind {
    title: "Precision and recall",
    caption: "How many of the flagged images are anomalies, for how many of the anomalies found. Precision depends on how \
              many anomalies there are among the images: here, as many as in the sets.",
    x: "recall: anomalies found",
    y: "precision",
    curve: curves::precision_recall,
    at: curves::precision_recall_at,
};

/// Both figures.
pub(super) fn figures(report: &Report, summary: &Summary) -> Vec<Figure> {
    let named = |what: &str, of: &dyn Fn(usize) -> f64| -> Vec<String> {
        let rows = summary.anomalous.iter().enumerate();
        rows.map(|(i, row)| format!("{} ({what} {:.1}%)", row.set, 100.0 * of(i))).collect()
    };
    let metrics = |i: usize| &summary.anomalous[i].metrics;
    vec![
        figure(report, &ROC, &named("AUROC", &|i| metrics(i).auroc)),
        figure(
            report,
            &PRECISION_RECALL,
            &named("average precision", &|i| metrics(i).average_precision.out_of_distribution),
        ),
    ]
}

fn figure(report: &Report, kind: &Kind, names: &[String]) -> Figure {
    let (normal, share) = (&report.normal.scores, |x: f64| format!("{:.2}%", 100.0 * x));
    let mut chart = Chart::new(Axis::share(kind.x), Axis::share(kind.y));
    let (mut rows, mut points) = (Vec::new(), Vec::new());
    for (series, part) in report.anomalous.iter().enumerate() {
        let curve = (kind.curve)(normal, &part.scores);
        chart.line(&curve, series, "");
        let picked = map::spread(curve.len(), TABLE_ROWS).into_iter().map(|i| curve[i]);
        rows.extend(picked.map(|(x, y)| vec![part.name.clone(), share(x), share(y)]));
        let at = report.threshold.and_then(|threshold| (kind.at)(normal, &part.scores, threshold));
        points.extend(at.map(|at| (series, at)));
    }
    for &(series, (x, y)) in &points {
        let title = format!("threshold: {} {}, {} {}", kind.x, share(x), kind.y, share(y));
        chart.point((x, y), series, &title);
    }
    let circles = if points.is_empty() { "" } else { " The circles are the threshold of the detector." };
    Figure {
        title: kind.title.into(),
        caption: format!("{}{circles}", kind.caption),
        chart: chart.finish(kind.title, &names.join(", ")),
        legend: line_legend(names),
        head: vec!["set".into(), kind.x.into(), kind.y.into()],
        rows,
    }
}
