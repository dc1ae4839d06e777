//! The validations of a run over its hours, as a figure of the page and as a picture of its own.

use super::figure::{Figure, TABLE_ROWS};
use super::map;
use super::svg::{Axis, Chart, line_legend, standalone};
use super::text::number;
use crate::train::{StepReport, ValidationReport};

const TITLE: &str = "Validation";

/// The figures that a run was judged by, over the time of its steps: validations take none.
#[derive(Debug, Clone)]
pub(super) struct Validations {
    unit: &'static str,
    /// When each validation was made.
    times: Vec<f64>,
    /// The figures by name, in the order of the times.
    series: Vec<(String, Vec<f64>)>,
}

impl Validations {
    /// `views` is the number of views of a step. `None` without validations, or when there is no step of a validation in the
    /// history.
    pub(super) fn new(history: &[StepReport], reports: &[ValidationReport], views: usize) -> Option<Self> {
        let mut elapsed = 0.0;
        let seconds = history.iter().map(|step| {
            elapsed += views as f64 / step.views_per_second;
            (step.step, elapsed)
        });
        let seconds: std::collections::BTreeMap<usize, f64> = seconds.collect();
        let judged: Vec<_> = reports.iter().filter_map(|r| Some((*seconds.get(&r.step)?, r))).collect();
        let last = judged.last()?.0;
        let (unit, length) = if last < 2.0 * 3600.0 { ("minutes", 60.0) } else { ("hours", 3600.0) };
        let times = judged.iter().map(|(seconds, _)| seconds / length).collect();
        let names = judged[0].1.metrics.keys();
        let values = |name: &String| {
            judged.iter().map(|(_, r)| r.metrics.get(name).copied().unwrap_or(f64::NAN)).collect()
        };
        let series: Vec<(String, Vec<f64>)> = names.map(|name| (name.clone(), values(name))).collect();
        (!series.is_empty()).then_some(Self { unit, times, series })
    }

    fn names(&self) -> Vec<String> {
        let last = |values: &[f64]| match values.last() {
            Some(value) if value.is_finite() => format!(" (at the end {value:.3})"),
            _ => String::new(),
        };
        self.series.iter().map(|(name, values)| format!("{name}{}", last(values))).collect()
    }

    fn chart(&self) -> String {
        let all =
            self.series.iter().flat_map(|(_, values)| values).copied().filter(|value| value.is_finite());
        let (low, high) =
            all.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), value| (l.min(value), h.max(value)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let margin = 0.05 * (high - low);
        let x = Axis::linear(&format!("{} of training", self.unit), (0.0, self.times[self.times.len() - 1]));
        let mut chart = Chart::new(x, Axis::linear("accuracy, AUROC", (low - margin, high + margin)));
        for (series, (_, values)) in self.series.iter().enumerate() {
            let points = self.times.iter().copied().zip(values.iter().copied());
            let points: Vec<_> = points.filter(|point| point.1.is_finite()).collect();
            chart.line(&points, series, "");
        }
        chart.finish(TITLE, &self.names().join(", "))
    }

    pub(super) fn figure(&self) -> Figure {
        let rows = map::spread(self.times.len(), TABLE_ROWS).into_iter().map(|i| {
            let values = self.series.iter().map(|(_, values)| number(values[i]));
            [number(self.times[i])].into_iter().chain(values).collect()
        });
        Figure {
            title: TITLE.into(),
            caption: "Judged during the run; the time of judging is left out.".into(),
            chart: self.chart(),
            legend: line_legend(&self.names()),
            head: [self.unit.to_string()]
                .into_iter()
                .chain(self.series.iter().map(|s| s.0.clone()))
                .collect(),
            rows: rows.collect(),
        }
    }

    /// A file of SVG.
    pub(super) fn svg(&self) -> String {
        standalone(&self.chart(), &self.names())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of 10 views, half a second each.
    fn history(steps: usize) -> Vec<StepReport> {
        (1..=steps)
            .map(|step| StepReport { step, views_per_second: 20.0, ..StepReport::example(step) })
            .collect()
    }

    fn validation(step: usize, accuracy: f64) -> ValidationReport {
        let mut report = ValidationReport::new(accuracy).with_metric("accuracy", accuracy);
        report.step = step;
        report
    }

    #[test]
    fn time_is_that_of_the_steps() {
        let reports = [validation(120, 0.5), validation(240, 0.75), validation(900, 0.9)];
        let found = Validations::new(&history(240), &reports, 10).unwrap();
        assert_eq!((found.unit, &found.times[..]), ("minutes", &[1.0, 2.0][..]));
        assert_eq!(found.series, [("accuracy".to_string(), vec![0.5, 0.75])]);
        let figure = found.figure();
        assert_eq!(figure.rows[1], ["2.000", "0.750"].map(String::from));
        assert!(figure.legend.contains("accuracy (at the end 0.750)"), "{}", figure.legend);
        let hours = Validations::new(&history(240), &reports, 1200).unwrap();
        assert_eq!((hours.unit, &hours.times[..]), ("hours", &[2.0, 4.0][..]));
        assert!(Validations::new(&history(10), &reports, 10).is_none());
        assert!(Validations::new(&history(240), &[], 10).is_none());
    }

    #[test]
    fn a_figure_that_is_not_a_number_is_left_out() {
        let reports = [validation(1, f64::NAN), validation(2, 0.5)];
        let found = Validations::new(&history(2), &reports, 10).unwrap();
        let svg = found.svg();
        assert!(svg.starts_with("<svg xmlns=") && !svg.contains("NaN"), "{svg}");
        let only = Validations::new(&history(1), &reports[..1], 10).unwrap();
        assert!(!only.chart().contains("NaN"));
    }
}
