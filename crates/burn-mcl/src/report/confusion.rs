//! Which classes were predicted for the images of which class or set.

use serde::Serialize;

use super::Part;

/// Counts of images: a row for each class of the normal set and for each anomalous set, a column for each
/// training class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Confusion {
    pub(super) rows: Vec<Row>,
    pub(super) columns: Vec<String>,
}

/// Where the images of one class or set went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// The column that is right; `None` for anomalies and for classes that training did not have.
    pub(super) right: Option<usize>,
    pub(super) counts: Vec<usize>,
}

impl Confusion {
    pub(super) fn new(normal: &Part, anomalous: &[Part], class_names: &[String]) -> Self {
        let own = normal.images.class_names();
        let mut rows: Vec<Row> = own
            .iter()
            .map(|name| Row {
                name: name.clone(),
                right: class_names.iter().position(|other| other == name),
                counts: vec![0; class_names.len()],
            })
            .collect();
        for (&label, &predicted) in normal.images.labels().iter().zip(&normal.predicted) {
            rows[label].counts[predicted] += 1;
        }
        rows.retain(|row| row.counts.iter().any(|&count| count > 0));
        rows.sort_by_key(|row| row.right.unwrap_or(usize::MAX)); // the diagonal, whatever the order of the folders
        for part in anomalous {
            let mut counts = vec![0; class_names.len()];
            part.predicted.iter().for_each(|&class| counts[class] += 1);
            rows.push(Row { name: part.name.clone(), right: None, counts });
        }
        Self { rows, columns: class_names.to_vec() }
    }
}
