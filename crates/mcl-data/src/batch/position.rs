//! Where in the data a run stands.

/// Where in the data a run stands. Serialise the next position with a checkpoint, and the run resumes where it was.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Position {
    /// Epoch, from zero.
    pub epoch: usize,
    /// Batch in the epoch, from zero.
    pub batch: usize,
}
