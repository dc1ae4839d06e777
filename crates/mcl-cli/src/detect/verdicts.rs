//! What is printed of the pictures: text, lines of JSON, or a table.

use std::io::{self, Write};
use std::path::Path;

use burn_mcl::data::{cell_name, printable, utf8_name};
use burn_mcl::detector::{Detection, Detector};
use serde_json::{Value, json};

use super::{Found, LookedAt};
use crate::output;

/// Why a picture of another format is not judged.
const OTHER_FORMAT: &str = "this format cannot be read: convert it to JPEG or PNG";

/// The flagged pictures, the most anomalous first. Skipped pictures are said on standard error.
pub(super) fn text(
    detector: &Detector,
    looked_at: &[LookedAt],
    found: Found,
    out: &mut impl Write,
) -> io::Result<()> {
    for LookedAt { folder, .. } in looked_at {
        for file in &folder.unreadable {
            output::say(&format!("skipped: {}", file.reason));
        }
        for path in &folder.other_formats {
            output::say(&format!("skipped: {}: {OTHER_FORMAT}", printable(path)));
        }
    }
    let judged = looked_at.iter().flat_map(LookedAt::judged);
    let mut flagged: Vec<_> = judged.filter(|(_, found, _)| found.is_anomaly).collect();
    flagged.sort_by(|(_, a, _), (_, b, _)| a.score.total_cmp(&b.score));
    for (file, Detection { label, score, p_value, .. }, resembled) in flagged {
        let (file, class) = (printable(file), printable(&detector.class_names()[*label]));
        writeln!(out, "p-value {p_value:.4}  score {score:9.1}  nearest to {class}  {file}")?;
        for file in resembled {
            writeln!(out, "    resembles {}", printable(file))?;
        }
    }
    let Found { pictures, flagged, .. } = found;
    let expected = (1.0 - detector.config().tpr) * pictures as f64;
    writeln!(
        out,
        "{flagged} of {pictures} pictures flagged; if all were normal, {expected:.1} would be on average"
    )
}

/// A line for each picture.
pub(super) fn json(detector: &Detector, looked_at: &[LookedAt], out: &mut impl Write) -> io::Result<()> {
    for looked in looked_at {
        for (file, found, resembled) in looked.judged() {
            let class = &detector.class_names()[found.label];
            let line = json!({
                "class": class, "score": found.score, "p_value": found.p_value, "is_anomaly": found.is_anomaly,
                "resembles": resembled,
            });
            writeln!(out, "{}", of_file(file, line))?;
        }
        for (file, error) in looked.skipped() {
            writeln!(out, "{}", of_file(file, json!({ "error": error })))?;
        }
    }
    Ok(())
}

/// The line with the name of its file, and with the bytes of the name where the name is not UTF-8.
fn of_file(path: &Path, mut line: Value) -> Value {
    line["file"] = utf8_name(path).into();
    if path.to_str().is_none() {
        line["file_hex"] = hex(path.as_os_str().as_encoded_bytes()).into();
    }
    line
}

/// A header, and a row for each picture. Where a column says nothing of a picture, the column is empty.
pub(super) fn csv(detector: &Detector, looked_at: &[LookedAt], out: &mut impl Write) -> io::Result<()> {
    // In memory first: the errors of `out` stay what they are.
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["file", "is_anomaly", "p_value", "score", "class", "error", "file_hex"])?;
    for looked in looked_at {
        for (file, found, _) in looked.judged() {
            let (anomaly, p_value) = (found.is_anomaly.to_string(), found.p_value.to_string());
            let (score, class) = (found.score.to_string(), cell_name(&detector.class_names()[found.label]));
            let [file, hex] = name_cells(file);
            table.write_record([&file, &anomaly, &p_value, &score, &class, "", &hex])?;
        }
        for (file, error) in looked.skipped() {
            let [file, hex] = name_cells(file);
            table.write_record([&file, "", "", "", "", error, &hex])?;
        }
    }
    out.write_all(&table.into_inner().map_err(csv::IntoInnerError::into_error)?)
}

/// The name of a file as a cell, and the bytes of the name in hexadecimal where the cell is not the name to the letter.
fn name_cells(path: &Path) -> [String; 2] {
    let cell = cell_name(path);
    let bytes = path.as_os_str().as_encoded_bytes();
    let hex = if cell.as_bytes() == bytes { String::new() } else { hex(bytes) };
    [cell, hex]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl LookedAt {
    /// The pictures that were judged: file, verdict, and training pictures that the picture resembles.
    fn judged(&self) -> impl Iterator<Item = (&Path, &Detection, &[String])> {
        let verdicts = self.found.iter().zip(&self.resembled);
        self.folder
            .files
            .iter()
            .zip(verdicts)
            .map(|(file, (found, resembled))| (&**file, found, &**resembled))
    }

    /// The pictures that were not judged, and why.
    fn skipped(&self) -> impl Iterator<Item = (&Path, &str)> {
        let unreadable = self.folder.unreadable.iter().map(|file| (&*file.path, file.reason.as_str()));
        unreadable.chain(self.folder.other_formats.iter().map(|path| (&**path, OTHER_FORMAT)))
    }
}
