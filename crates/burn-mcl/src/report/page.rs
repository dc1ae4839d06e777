//! The page: sections, figures, tables and pictures. Every tag is closed, as in XML, so that it can be
//! checked.

use std::fmt::Write;

use super::confusion::Confusion;
use super::figure::Figure;
use super::gallery::{Group, Item};
use super::summary::percent;
use super::text::{escape, number};
use super::validations::Validations;
use super::{Report, Summary, date, figures, pictures, thresholds};

const STYLE: &str = concat!(include_str!("style.css"), include_str!("chart.css"));

pub(super) fn html(report: &Report, summary: &Summary, gallery: &[Group]) -> String {
    let mut sections: Vec<(&str, &str, String)> =
        vec![("summary", "Summary", summary_section(report, summary))];
    sections.push(("scores", "Scores", figures_section(&figures::scores(report))));
    if !report.anomalous.is_empty() {
        sections.push(("thresholds", "Thresholds", figures_section(&thresholds::figures(report, summary))));
    }
    sections.push(("map", "Map", figures_section(&[figures::projections(report)])));
    sections.push(("classes", "Classes", confusion_section(report)));
    sections.push(("pictures", "Pictures", gallery_section(report, gallery)));
    let mut training = figures::training(&report.history);
    training.splice(..0, report.validations.iter().map(Validations::figure));
    if !training.is_empty() {
        sections.push(("training", "Training", figures_section(&training)));
    }
    if !report.settings.is_empty() {
        sections.push(("settings", "Settings", settings_section(report)));
    }

    let title = escape(&report.title);
    let mut out = format!(
        r##"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<title>{title}</title>
<link rel="icon" href="data:,"/>
<style>
{STYLE}</style>
</head>
<body>
<a class="skip" href="#summary">Skip to the summary</a>
<header>
<h1>{title}</h1>
<nav aria-label="Sections"><ul>"##
    );
    for (id, name, _) in &sections {
        put(&mut out, format_args!(r##"<li><a href="#{id}">{name}</a></li>"##));
    }
    out.push_str("</ul></nav>\n</header>\n<main>\n");
    for (id, name, body) in &sections {
        put(&mut out, format_args!("<section id=\"{id}\">\n<h2>{name}</h2>\n{body}</section>\n"));
    }
    let (version, date) = (env!("CARGO_PKG_VERSION"), date::now());
    put(
        &mut out,
        format_args!(
            "</main>\n<footer><p>Made by burn-mcl {version} at {date}. The numbers are in <code>results.json</code>, every score in \
             <code>scores.csv</code>, beside this file.</p></footer>\n</body>\n</html>\n"
        ),
    );
    out
}

/// Whether the page is one of [`html`], of any version: the footer says so.
pub(super) fn is_ours(page: &[u8]) -> bool {
    String::from_utf8_lossy(page).contains("<footer><p>Made by burn-mcl ")
}

fn put(out: &mut String, text: std::fmt::Arguments) {
    out.write_fmt(text).expect("a string takes it");
}

fn summary_section(report: &Report, summary: &Summary) -> String {
    let mut out = String::new();
    let training = report.train.class_counts();
    let classes = match training.len() {
        1 => "one class".to_string(),
        n => format!("{n} classes"),
    };
    let held_out = report.calibration.map_or_else(String::new, |calibration| {
        format!(" {} other images were held out to place the threshold.", calibration.scores().len())
    });
    put(&mut out, format_args!("<p>Trained on {} images of {classes}.{held_out}</p>\n", report.train.len()));
    let head = ["set", "images", "flagged", "AUROC", "FPR at 95% TPR", "average precision"];
    let normal =
        [&summary.normal, &summary.images.to_string(), &percent(summary.false_alarms), "–", "–", "–"];
    let mut rows = vec![normal.map(String::from).to_vec()];
    for row in &summary.anomalous {
        rows.push(vec![
            row.set.clone(),
            row.images.to_string(),
            percent(row.found),
            percent(Some(row.metrics.auroc)),
            percent(Some(row.metrics.fpr_at_95_tpr.in_distribution)),
            percent(Some(row.metrics.average_precision.out_of_distribution)),
        ]);
    }
    out.push_str(&table("Summary", &head.map(String::from), &rows));
    if let (Some(threshold), Some(promised)) = (summary.threshold, summary.false_alarms_promised) {
        let (threshold, promised) = (number(threshold), percent(Some(promised)));
        put(
            &mut out,
            format_args!(
                "<p>An image is flagged as an anomaly when its score is below {threshold}. The threshold guarantees that at \
                 most {promised} of normal images are flagged, on average over draws of the held-out images. Of the set {}, \
                 {} are flagged: of all normal images like these, probably {} to {} (95% interval).</p>\n",
                escape(&summary.normal),
                percent(summary.false_alarms),
                percent(summary.false_alarms_interval.map(|interval| interval.0)),
                percent(summary.false_alarms_interval.map(|interval| interval.1))
            ),
        );
    }
    if let Some(accuracy) = summary.accuracy {
        let accuracy = percent(Some(accuracy));
        put(&mut out, format_args!("<p>Of the normal images, {accuracy} are given their class.</p>\n"));
    }
    for note in report.notes() {
        put(&mut out, format_args!("<p class=\"note\">{}</p>\n", escape(&note)));
    }
    if !report.facts.is_empty() {
        let rows: Vec<_> =
            report.facts.iter().map(|(name, value)| vec![name.clone(), value.clone()]).collect();
        out.push_str("<details><summary>Where the images came from</summary>");
        out.push_str(&table("Where the images came from", &["what", "value"].map(String::from), &rows));
        out.push_str("</details>\n");
    }
    out.push_str(
        "<details><summary>What the columns mean</summary><dl>\
         <dt>AUROC</dt><dd>How often a normal image scores higher than an anomaly; 50% is guessing.</dd>\
         <dt>FPR at 95% TPR</dt><dd>Anomalies that pass when 95% of normal images pass; normal images are the positives. \
         Lower is better.</dd>\
         <dt>Average precision</dt><dd>Area under the precision-recall curve with anomalies as the positives.</dd>\
         <dt>Flagged</dt><dd>Share of the set below the threshold.</dd></dl></details>\n",
    );
    out
}

fn figures_section(figures: &[Figure]) -> String {
    let mut out = String::from("<div class=\"figures\">\n");
    for figure in figures {
        let title = escape(&figure.title);
        put(
            &mut out,
            format_args!(
                "<figure>\n<figcaption><h3>{title}</h3><p>{}</p></figcaption>\n{}\n{}\n\
                 <details><summary>{title} as a table</summary>{}</details>\n</figure>\n",
                escape(&figure.caption),
                figure.legend,
                figure.chart,
                table(&figure.title, &figure.head, &figure.rows)
            ),
        );
    }
    out + "</div>\n"
}

/// A table that scrolls by itself, with the keyboard too.
fn table(name: &str, head: &[String], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, row: &[String]| -> String {
        row.iter().map(|cell| format!("<{tag}>{}</{}>", escape(cell), &tag[..2])).collect()
    };
    let mut out = format!(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{}\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n",
        escape(name),
        cells("th scope=\"col\"", head)
    );
    for row in rows {
        put(&mut out, format_args!("<tr>{}</tr>\n", cells("td", row)));
    }
    out + "</tbody></table></div>\n"
}

fn confusion_section(report: &Report) -> String {
    let confusion = Confusion::new(&report.normal, &report.anomalous, report.train.class_names());
    let mut out = String::from(
        "<p>Rows are what images are, columns the classes that were predicted, in percent of the row. Anomalies are of no class: \
         their rows show what they resemble.</p>\n\
         <div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Confusion matrix\"><table class=\"confusion\">\n\
         <thead><tr><td></td>",
    );
    for column in &confusion.columns {
        put(&mut out, format_args!("<th scope=\"col\">{}</th>", escape(column)));
    }
    out.push_str("<th scope=\"col\">images</th></tr></thead>\n<tbody>\n");
    for row in &confusion.rows {
        put(&mut out, format_args!("<tr><th scope=\"row\">{}</th>", escape(&row.name)));
        let total: usize = row.counts.iter().sum();
        for (column, &count) in row.counts.iter().enumerate() {
            let share = count as f64 / total.max(1) as f64;
            let class = if row.right == Some(column) { "right" } else { "other" };
            let text = if count == 0 { String::new() } else { format!("{:.0}", 100.0 * share) };
            put(&mut out, format_args!("<td class=\"{class}\" style=\"--share:{share:.2}\">{text}</td>"));
        }
        put(&mut out, format_args!("<td>{total}</td></tr>\n"));
    }
    out + "</tbody></table></div>\n"
}

fn gallery_section(report: &Report, gallery: &[Group]) -> String {
    let mut out =
        String::from("<p>Beside each image the training images nearest to it, with their similarity.</p>\n");
    for group in gallery {
        put(
            &mut out,
            format_args!("<h3>{}</h3>\n<p>{}</p>\n<ul class=\"gallery\">\n", group.title, group.why),
        );
        for item in &group.items {
            out.push_str(&gallery_item(report, item));
        }
        out.push_str("</ul>\n");
    }
    out
}

fn gallery_item(report: &Report, item: &Item) -> String {
    let images = report.parts()[item.part].images;
    let picture = pictures::data_uri(images, item.image);
    let (name, class, predicted) = (escape(&item.name), escape(&item.class), escape(&item.predicted));
    let mut out = format!(
        "<li><figure><img class=\"large\" src=\"{picture}\" alt=\"{name}\" title=\"{name}\"/>\n\
         <figcaption><b>{class}</b> predicted as <b>{predicted}</b>, score {}<br/><span class=\"file\">{name}</span></figcaption>\n\
         <div class=\"nearest\">",
        number(item.score)
    );
    for neighbour in &item.nearest {
        let class = escape(&report.train.class_names()[report.train.label(neighbour.index)]);
        let (picture, similarity) = (pictures::data_uri(report.train, neighbour.index), neighbour.similarity);
        put(
            &mut out,
            format_args!(
                "<div><img src=\"{picture}\" alt=\"training image {} of {class}\"/><span>{class} {similarity:.2}</span></div>",
                neighbour.index
            ),
        );
    }
    out + "</div></figure></li>\n"
}

fn settings_section(report: &Report) -> String {
    let mut out = String::new();
    for (name, settings) in &report.settings {
        let json = serde_json::to_string_pretty(settings).expect("a tree of plain values");
        let (name, json) = (escape(name), escape(&json));
        put(
            &mut out,
            format_args!("<details><summary>{name}</summary><pre tabindex=\"0\">{json}</pre></details>\n"),
        );
    }
    out
}
