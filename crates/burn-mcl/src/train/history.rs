//! The log of a run, read back.

use std::fs;
use std::path::Path;

use super::{StepReport, TrainError};
use crate::files::FileError;

/// Every step that a run has logged in its directory, in order. A line that is not whole, as a run leaves it when it is
/// killed, ends the history.
///
/// # Errors
///
/// [`TrainError::RunDir`] when there is no log or it cannot be read.
pub fn read_history(run_dir: impl AsRef<Path>) -> Result<Vec<StepReport>, TrainError> {
    let path = run_dir.as_ref().join("train.jsonl");
    let text = fs::read(&path).map_err(FileError::on("read", &path))?;
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
        fs::write(folder.path().join("train.jsonl"), text).unwrap();
        assert_eq!(read_history(folder.path()).unwrap(), [1, 2].map(StepReport::example));
        assert!(matches!(read_history(folder.path().join("none")), Err(TrainError::RunDir(_))));
    }
}
