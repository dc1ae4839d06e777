//! The tables as Markdown, CSV and a page of HTML.

use std::fmt::Write;

use super::results::{Cell, Cells};
use super::tables::{Measured, Row};

/// Mean and standard deviation (over the seeds; 0 for one) of some values in percent.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let deviation = if values.len() > 1 { (squares / (values.len() - 1) as f64).sqrt() } else { 0.0 };
    (100.0 * mean, 100.0 * deviation)
}

/// One cell: the mean, the deviation where there are several seeds, and the paper's number where it is known.
fn cell(values: &[f64], paper: Option<f64>) -> String {
    if values.is_empty() {
        return "-".into();
    }
    let (mean, deviation) = mean_and_deviation(values);
    let mut text = format!("{mean:.1}");
    if values.len() > 1 {
        write!(text, " ± {deviation:.1}").expect("a string takes all");
    }
    if let Some(paper) = paper {
        write!(text, " (paper {paper})").expect("a string takes all");
    }
    text
}

fn accuracies(found: &[Cells]) -> Vec<f64> {
    found.iter().filter_map(|cells| cells.accuracy).collect()
}

fn of_set<'a>(found: &'a [Cells], name: &'a str) -> impl Iterator<Item = Cell> + 'a {
    found
        .iter()
        .flat_map(move |cells| cells.sets.iter().filter(move |(set, _)| set == name).map(|(_, cell)| *cell))
}

fn paper_of(row: &Row, set: Option<&str>) -> Option<f64> {
    let (accuracy, sets) = row.paper?;
    match set {
        None => Some(accuracy),
        Some(name) => sets.iter().find(|(set, _)| *set == name).map(|(_, auroc)| *auroc),
    }
}

/// The names of the sets: those that were there, and those of the paper that were not.
fn set_names(table: &Measured) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let found = table
        .rows
        .iter()
        .flat_map(|(_, found)| found)
        .flat_map(|cells| cells.sets.iter().map(|(name, _)| name.clone()));
    let cifar = table
        .rows
        .iter()
        .flat_map(|(row, _)| row.paper)
        .flat_map(|(_, sets)| sets.iter().map(|(name, _)| (*name).to_string()));
    for name in found.chain(cifar) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Head and rows as text.
fn cells(table: &Measured) -> (Vec<String>, Vec<Vec<String>>) {
    let names = set_names(table);
    let head = ["system".to_string(), "accuracy".to_string()]
        .into_iter()
        .chain(names.iter().map(|name| format!("AUROC, {name}")))
        .collect();
    let rows = table.rows.iter().map(|(row, found)| {
        let mut line = vec![row.label.clone(), cell(&accuracies(found), paper_of(row, None))];
        line.extend(names.iter().map(|name| {
            let aurocs: Vec<f64> = of_set(found, name).map(|cell| cell.auroc).collect();
            match (aurocs.is_empty(), paper_of(row, Some(name))) {
                (true, Some(paper)) => format!("- (paper {paper})"),
                (_, paper) => cell(&aurocs, paper),
            }
        }));
        line
    });
    (head, rows.collect())
}

/// What stands below a table.
fn notes(table: &Measured) -> String {
    let seeds = table.rows.iter().map(|(_, found)| found.len()).max().unwrap_or(0);
    let all = table.rows.iter().flat_map(|(_, found)| found).flat_map(|cells| &cells.sets);
    let widest = all.map(|(_, cell)| (cell.interval.1 - cell.interval.0) / 2.0).fold(0.0, f64::max);
    format!(
        "{seeds} run(s) of each system. A dash is a set that was not there. The bootstrap intervals (95 %) of the AUROC of one run reach \
         at most {:.1} points to either side.",
        100.0 * widest
    )
}

pub(crate) fn markdown(table: &Measured) -> String {
    let (head, rows) = cells(table);
    let mut text = format!(
        "## Table {}: {}\n\n| {} |\n|{}\n",
        table.number,
        table.title,
        head.join(" | "),
        "---|".repeat(head.len())
    );
    for row in rows {
        writeln!(text, "| {} |", row.join(" | ")).expect("a string takes all");
    }
    writeln!(text, "\n{}", notes(table)).expect("a string takes all");
    text
}

/// One line for each row, set and seed.
pub(crate) fn csv(tables: &[Measured]) -> String {
    let mut text = String::from("table,system,run,accuracy,set,auroc,low,high,fpr95,paper_auroc\n");
    for table in tables {
        for (row, found) in &table.rows {
            for (run, cells) in found.iter().enumerate() {
                for (set, Cell { auroc, interval: (low, high), fpr95 }) in &cells.sets {
                    let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
                    let (accuracy, paper) =
                        (number(cells.accuracy), number(paper_of(row, Some(set)).map(|p| p / 100.0)));
                    writeln!(
                        text,
                        "{},\"{}\",{run},{accuracy},\"{set}\",{auroc},{low},{high},{fpr95},{paper}",
                        table.number, row.label
                    )
                    .expect("a string takes all");
                }
            }
        }
    }
    text
}

pub(crate) fn html(tables: &[Measured]) -> String {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut text = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>The paper's tables</title>\n<style>body{font:16px/1.5 \
         system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse}th,td{padding:.3rem \
         .8rem;border-bottom:1px solid #ccc;text-align:right}th:first-child,td:first-child{text-align:left}</style>\n",
    );
    for table in tables {
        let (head, rows) = cells(table);
        let line = |cells: &[String], tag: &str| {
            let cells: String =
                cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
            format!("<tr>{cells}</tr>\n")
        };
        let rows: String = rows.iter().map(|row| line(row, "td")).collect();
        let title = escaped(table.title);
        writeln!(
            text,
            "<h2>Table {}: {title}</h2>\n<table>\n{}{rows}</table>\n<p>{}</p>",
            table.number,
            line(&head, "th"),
            escaped(&notes(table))
        )
        .expect("a string takes all");
    }
    text + "</html>\n"
}
