//! The figures of the page.

use super::density::{Densities, ScoreAxis, ScoreScale};
use super::figure::{Figure, TABLE_ROWS};
use super::map::{self, MAX_POINTS};
use super::svg::{Axis, Chart, Mark, line_legend, mark_legend};
use super::text::number;
use super::{Part, Report};
use crate::train::StepReport;

/// Points of a training curve.
const STEPS: usize = 240;

/// Fig. 5 of the paper: one figure for each anomalous set, or one of the normal scores alone.
pub(super) fn scores(report: &Report) -> Vec<Figure> {
    let normal = &report.normal;
    let training = report.train.class_names();
    let groups: Vec<(&str, Vec<f64>)> = match normal.classes(training) {
        Some(classes) => {
            let of = |right: bool| -> Vec<f64> {
                let judged = normal.scores.iter().zip(classes.iter().zip(&normal.predicted));
                judged.filter(|(_, (class, predicted))| (class == predicted) == right).map(|j| *j.0).collect()
            };
            vec![("normal, class right", of(true)), ("normal, class wrong", of(false))]
        }
        None => vec![("normal", normal.scores.clone())],
    };
    let sets: Vec<Option<&Part>> = match &report.anomalous[..] {
        [] => vec![None],
        parts => parts.iter().map(Some).collect(),
    };
    // One axis and one scale of density, so that figures can be compared.
    let of_normal = groups.iter().map(|(_, scores)| &scores[..]);
    let all: Vec<_> = of_normal.chain(report.anomalous.iter().map(|part| &part.scores[..])).collect();
    let axis = ScoreAxis::of(&all, report.threshold);
    let densities: Vec<_> = sets
        .iter()
        .map(|set| {
            let mut groups: Vec<(&str, &[f64])> =
                groups.iter().map(|(name, scores)| (*name, &scores[..])).collect();
            groups.extend(set.iter().map(|part| (&*part.name, &part.scores[..])));
            Densities::new(axis, &groups)
        })
        .collect();
    let top = 1.05 * densities.iter().map(Densities::top).fold(0.0, f64::max);
    sets.iter().zip(&densities).map(|(set, densities)| score_figure(report, *set, densities, top)).collect()
}

fn score_figure(report: &Report, anomalous: Option<&Part>, densities: &Densities, top: f64) -> Figure {
    let axis = densities.axis;
    let x = match axis.scale {
        ScoreScale::Linear => Axis::linear("score (higher = more normal)", axis.range),
        ScoreScale::Log => log_axis(axis.range),
    };
    let mut chart = Chart::new(x, Axis::bare("density", (0.0, top)));
    for (series, group) in densities.groups.iter().enumerate() {
        for (i, &count) in group.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            chart.bar(axis.bin(i), densities.height(group, count), series);
        }
    }
    for (series, group) in densities.groups.iter().enumerate() {
        chart.line(&group.line, series, "");
    }
    if let Some(threshold) = report.threshold {
        chart.rule(axis.scale.place(threshold), "threshold");
    }
    let against = anomalous.map_or_else(String::new, |part| format!(" and {}", part.name));
    let title = format!("Scores of {}{against}", report.normal.name);
    let names: Vec<String> =
        densities.groups.iter().map(|group| format!("{} ({})", group.name, group.images)).collect();
    let edge = |i: usize| match axis.scale {
        ScoreScale::Linear => number(axis.bin(i).0),
        ScoreScale::Log => number(-10f64.powf(-axis.bin(i).0)),
    };
    let rows = (0..densities.groups[0].counts.len()).map(|i| {
        let counts = densities.groups.iter().map(|group| group.counts[i].to_string());
        [edge(i)].into_iter().chain(counts).collect()
    });
    Figure {
        chart: chart.finish(&title, &format!("Histograms and densities of {}", names.join(", "))),
        caption: "The further apart the groups, the better. The figures of all sets have the same axes. What lies beyond the \
                  axis is counted at its ends."
            .into(),
        legend: line_legend(&names),
        head: [format!("{}, from", "score")].into_iter().chain(names).collect(),
        rows: rows.collect(),
        title,
    }
}

/// Ticks at powers of ten of the distance, and between them where there is room.
fn log_axis((low, high): (f64, f64)) -> Axis {
    let steps: &[f64] = match high - low {
        span if span < 1.2 => &[1.0, 2.0, 3.0, 5.0, 7.0],
        span if span < 3.0 => &[1.0, 3.0],
        _ => &[1.0],
    };
    let powers = (-high).floor() as i32..=(-low).ceil() as i32;
    let distances = powers.flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
    let ticks = distances.map(|distance| (-distance.log10(), distance)).filter(|t| t.0 >= low && t.0 <= high);
    let text = |distance: f64| match distance {
        d if (1.0..1e6).contains(&d) => format!("−{d:.0}"),
        d if (1e-3..1.0).contains(&d) => format!("−{}", (d * 1e6).round() / 1e6),
        d => format!("−{d:.0e}"),
    };
    let ticks = ticks.map(|(place, distance)| (place, text(distance))).collect();
    Axis { label: "score, logarithmic (right = more normal)".into(), range: (low, high), ticks }
}

/// Fig. 1 of the paper.
pub(super) fn projections(report: &Report) -> Figure {
    let dim = report.projections.dim;
    let parts = report.parts();
    let limit = MAX_POINTS / parts.len();
    let picks: Vec<(usize, usize)> = parts
        .iter()
        .enumerate()
        .flat_map(|(p, part)| map::spread(part.scores.len(), limit).into_iter().map(move |i| (p, i)))
        .collect();
    let rows: Vec<f32> = picks.iter().flat_map(|&(p, i)| parts[p].projection(i).to_vec()).collect();
    let places = map::embed(&rows, dim);

    let classes = report.normal.images.class_names();
    let mark = |(p, i): (usize, usize)| match p {
        0 => Mark::Class(report.normal.images.label(i)),
        _ => Mark::Anomaly(p - 1),
    };
    let group = |pick: (usize, usize)| match mark(pick) {
        Mark::Class(class) => classes[class].clone(),
        Mark::Anomaly(set) => report.anomalous[set].name.clone(),
    };
    let mut chart = Chart::new(Axis::bare("", (-0.02, 1.02)), Axis::bare("", (-0.02, 1.02)));
    // Anomalies first: what is drawn later lies on top, and the classes are what the eye looks for.
    let (normal, anomalous): (Vec<_>, Vec<_>) = picks.iter().zip(&places).partition(|(pick, _)| pick.0 == 0);
    for (&pick, place) in anomalous.into_iter().chain(normal) {
        let name = parts[pick.0].image_name(pick.1);
        chart.mark((place[0], place[1]), mark(pick), &format!("{}: {name}", group(pick)));
    }
    let present = |class: &usize| report.normal.images.labels().contains(class);
    let names: Vec<(Mark, String)> = (0..classes.len())
        .filter(present)
        .map(|class| (Mark::Class(class), classes[class].clone()))
        .chain(report.anomalous.iter().enumerate().map(|(i, part)| (Mark::Anomaly(i), part.name.clone())))
        .collect();
    let title = "Map of the projections";
    let rows = picks.iter().zip(&places).map(|(&pick, place)| {
        let name = parts[pick.0].image_name(pick.1);
        vec![group(pick), name, format!("{:.3}", place[0]), format!("{:.3}", place[1])]
    });
    Figure {
        title: title.into(),
        caption: format!(
            "{} images that were not trained on, placed by t-SNE so that neighbours stay neighbours; axes have no \
             meaning. Normal classes should be islands, with the anomalies between them.",
            picks.len()
        ),
        chart: chart.finish(title, "Normal images by class, and anomalies, in two dimensions"),
        legend: mark_legend(&names),
        head: ["class or set", "image", "x", "y"].map(String::from).into(),
        rows: rows.collect(),
    }
}

/// How the run went; nothing if there is no history.
pub(super) fn training(steps: &[StepReport]) -> Vec<Figure> {
    if steps.is_empty() {
        return Vec::new();
    }
    let mut losses: Vec<(&str, Vec<f64>)> = vec![("loss", of(steps, |s| f64::from(s.loss)))];
    if steps.iter().all(|step| step.attraction.is_some()) {
        losses.push(("contrastive (CCM)", of(steps, |s| f64::from(s.contrastive))));
        losses.push(("attraction (SPA)", of(steps, |s| f64::from(s.attraction.unwrap_or_default()))));
    }
    let mut figures = vec![
        curve_figure("Loss", "Mean over neighbouring steps.", steps, &losses, None),
        curve_figure("Learning rate", "", steps, &[("learning rate", of(steps, |s| s.learning_rate))], None),
        curve_figure(
            "Views per second",
            &format!("{:.1}% of the time went into waiting for batches.", 100.0 * waiting(steps)),
            steps,
            &[("views per second", of(steps, |s| s.views_per_second))],
            None,
        ),
    ];
    // Not a number where the loss leaves the projections alone.
    if steps.iter().any(|step| step.concentration.is_finite()) {
        let concentration = curve_figure(
            "Concentration",
            "Length of the mean projection: 1 when all images lie at one point. A run that stays near 1 has collapsed.",
            steps,
            &[("concentration", of(steps, |s| f64::from(s.concentration)))],
            Some((0.0, 1.0)),
        );
        figures.insert(1, concentration);
    }
    figures
}

/// The share of the time that was spent waiting for batches, all of which have the same number of views.
fn waiting(steps: &[StepReport]) -> f64 {
    let seconds: f64 = steps.iter().map(|step| step.views_per_second.recip()).sum();
    steps.iter().map(|step| step.data_wait / step.views_per_second).sum::<f64>() / seconds
}

fn of(steps: &[StepReport], value: impl Fn(&StepReport) -> f64) -> Vec<f64> {
    steps.iter().map(value).collect()
}

fn curve_figure(
    title: &str,
    caption: &str,
    steps: &[StepReport],
    series: &[(&str, Vec<f64>)],
    range: Option<(f64, f64)>,
) -> Figure {
    let chunk = steps.len().div_ceil(STEPS);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let means: Vec<Vec<f64>> =
        series.iter().map(|(_, values)| values.chunks(chunk).map(mean).collect()).collect();
    let at: Vec<f64> = steps.chunks(chunk).map(|chunk| chunk[chunk.len() - 1].step as f64).collect();
    let highest = means.iter().flatten().copied().fold(0.0, f64::max);
    let lowest = means.iter().flatten().copied().fold(0.0, f64::min);
    let x = Axis::linear("step", (0.0, at[at.len() - 1]));
    let y = Axis::linear(title, range.unwrap_or((lowest, highest * 1.05)));
    let mut chart = Chart::new(x, y);
    for (i, values) in means.iter().enumerate() {
        chart.line(&at.iter().copied().zip(values.iter().copied()).collect::<Vec<_>>(), i, "");
    }
    let names: Vec<String> = series.iter().map(|(name, _)| name.to_string()).collect();
    let rows = map::spread(at.len(), TABLE_ROWS).into_iter().map(|i| {
        let values = means.iter().map(|values| number(values[i]));
        [format!("{:.0}", at[i])].into_iter().chain(values).collect()
    });
    Figure {
        title: title.into(),
        caption: caption.into(),
        chart: chart.finish(title, &format!("{} over the steps of the run", names.join(", "))),
        legend: if names.len() > 1 { line_legend(&names) } else { String::new() },
        head: ["step".to_string()].into_iter().chain(names).collect(),
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_step_counts_for_its_time() {
        let step = |views_per_second, data_wait| StepReport {
            views_per_second,
            data_wait,
            ..StepReport::example(1)
        };
        // One second that did not wait, and three of which half did.
        assert!((waiting(&[step(300.0, 0.0), step(100.0, 0.5)]) - 1.5 / 4.0).abs() < 1e-12);
    }
}
