//! A figure: a chart, its words, and its data as a table.

/// Rows of the table beside a curve.
pub(super) const TABLE_ROWS: usize = 41;

/// A chart with its words and numbers.
pub(super) struct Figure {
    pub(super) title: String,
    pub(super) caption: String,
    pub(super) chart: String,
    pub(super) legend: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}
