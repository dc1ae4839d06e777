//! Reads the log of a run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::floats::each_or_nan;
use super::report::LossParts;
use super::{StepReport, TrainError, ValidationReport};
use crate::files::FileError;

/// The log of the steps in a run directory.
pub(super) const STEPS: &str = "train.jsonl";
/// The network of the best validation in a run directory.
pub(super) const BEST: &str = "best";
/// The log of the validations in a run directory.
pub(super) const VALIDATIONS: &str = "validation.jsonl";

/// Reads every step that a run logged in its directory, in order. An incomplete line, which a killed run may
/// leave, ends the history. A part of the loss that was NaN or infinite is read as NaN.
///
/// # Errors
///
/// [`TrainError::RunDir`] when there is no log or it cannot be read.
pub fn read_history(run_dir: impl AsRef<Path>) -> Result<Vec<StepReport>, TrainError> {
    read_lines(&run_dir.as_ref().join(STEPS))
}

/// Reads the parts of the loss at every step that a run logged, by the names from the
/// [`TrainingLoss`](super::TrainingLoss). Parts with a field in [`StepReport`] are left out. A part that was
/// NaN or infinite is read as NaN.
///
/// # Errors
///
/// As [`read_history`].
pub fn read_loss_parts(run_dir: impl AsRef<Path>) -> Result<Vec<BTreeMap<String, f32>>, TrainError> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(default, deserialize_with = "each_or_nan")]
        parts: LossParts,
    }
    Ok(read_lines::<Line>(&run_dir.as_ref().join(STEPS))?.into_iter().map(|line| line.parts).collect())
}

/// Reads every validation that a run logged in its directory, in order. A run without validation has none.
///
/// # Errors
///
/// [`TrainError::RunDir`] when the log cannot be read.
pub fn read_validations(run_dir: impl AsRef<Path>) -> Result<Vec<ValidationReport>, TrainError> {
    let path = run_dir.as_ref().join(VALIDATIONS);
    if path.exists() { read_lines(&path) } else { Ok(Vec::new()) }
}

fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, TrainError> {
    let text = fs::read(path).map_err(FileError::on("read", path))?;
    Ok(text.split(|&byte| byte == b'\n').map_while(|line| serde_json::from_slice(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_ends_the_history() {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<String> =
            (1..4).map(|i| serde_json::to_string(&StepReport::example(i)).unwrap()).collect();
        let text = format!("{}\n{}\n{}", lines[0], lines[1], &lines[2][..20]);
        fs::write(folder.path().join(STEPS), text).unwrap();
        assert_eq!(read_history(folder.path()).unwrap(), [1, 2].map(StepReport::example));
        assert!(matches!(read_history(folder.path().join("none")), Err(TrainError::RunDir(_))));
    }
}
