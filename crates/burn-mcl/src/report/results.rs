//! The report as data: `results.json` and `scores.csv`.

use std::fmt::Write;

use mcl_data::cell_name;
use serde_json::{Map, json};

use super::confusion::Confusion;
use super::gallery::Group;
use super::{Report, Summary, curves, date};
use crate::files::hex;

/// Goes up when a field changes its meaning.
const FORMAT: u32 = 1;

pub(super) fn json(report: &Report, summary: &Summary, gallery: &[Group]) -> String {
    let normal = &report.normal.scores;
    let curves: Map<_, _> = report
        .anomalous
        .iter()
        .map(|part| {
            let curves = json!({
                "roc": curves::roc(normal, &part.scores),
                "precision_recall": curves::precision_recall(normal, &part.scores),
            });
            (part.name.clone(), curves)
        })
        .collect();
    let value = json!({
        "format": FORMAT,
        "version": env!("CARGO_PKG_VERSION"),
        "created": date::now(),
        "title": report.title,
        "facts": report.facts,
        "summary": summary,
        "notes": report.notes(),
        "class_names": report.train.class_names(),
        "training_images": report.train.class_counts(),
        "confusion": Confusion::new(&report.normal, &report.anomalous, report.train.class_names()),
        "gallery": gallery,
        "curves": curves,
        "settings": report.settings.iter().cloned().collect::<Map<_, _>>(),
    });
    serde_json::to_string_pretty(&value).expect("a tree of plain values")
}

/// One line an image, the most anomalous of each set first.
///
/// Text that a spreadsheet would run as a formula has a `'` before it. Where the cell `image` is not the name
/// of the file to the letter, for this reason or because the name is not UTF-8, `image_hex` holds the bytes
/// of the name.
pub(super) fn csv(report: &Report) -> String {
    let classes = report.train.class_names();
    let mut out = String::from("set,image,class,predicted,score,p_value,is_anomaly,image_hex\n");
    for part in report.parts() {
        for i in part.most_anomalous() {
            let score = part.scores[i];
            let own = &part.images.class_names()[part.images.label(i)];
            let p_value = report.calibration.map(|calibration| calibration.p_value(score).to_string());
            let is_anomaly = report.threshold.map(|threshold| (score < threshold).to_string());
            let image = part.image_name(i);
            let bytes = part.files.get(i).map(|path| path.as_os_str().as_encoded_bytes());
            let bytes = bytes.filter(|&bytes| cell_name(&image).as_bytes() != bytes).map(hex);
            let fields =
                [&part.name, &image, own, &classes[part.predicted[i]]].map(|field| quoted(&cell_name(field)));
            writeln!(
                out,
                "{},{score},{},{},{}",
                fields.join(","),
                p_value.unwrap_or_default(),
                is_anomaly.unwrap_or_default(),
                bytes.unwrap_or_default()
            )
            .expect("a string takes it");
        }
    }
    out
}

/// A field as RFC 4180 has it.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        let cell = |text| quoted(&cell_name(text));
        assert_eq!(cell("=HYPERLINK(\"x\")"), r#""'=HYPERLINK(""x"")""#);
        assert_eq!(["+1", "-a", "@b", "\tc"].map(cell), ["'+1", "'-a", "'@b", "'\tc"]);
        assert_eq!(cell("\r=1"), "\"'\r=1\"");
        assert_eq!(["a=b", "a-1.png", ""].map(cell), ["a=b", "a-1.png", ""]);
    }
}
