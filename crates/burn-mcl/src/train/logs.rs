//! Cuts the logs of a run directory when a run goes on, and sets them aside when a run begins again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::history::{BEST, STEPS, VALIDATIONS};
use crate::files::{self, FileError};

/// Drops the lines of the steps after `steps`, and all lines after an incomplete line.
pub(super) fn truncate_log(path: &Path, steps: usize) -> Result<(), FileError> {
    #[derive(Deserialize)]
    struct Line {
        step: usize,
    }
    let cut = || -> io::Result<()> {
        let mut bytes = 0;
        let mut reader = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        let kept = |line: &[u8]| {
            line.ends_with(b"\n") && serde_json::from_slice(line).is_ok_and(|Line { step }| step <= steps)
        };
        while reader.read_until(b'\n', &mut line)? > 0 && kept(&line) {
            bytes += line.len() as u64;
            line.clear();
        }
        OpenOptions::new().write(true).open(path)?.set_len(bytes)
    };
    cut().map_err(FileError::on("cut", path))
}

/// Renames the logs and the best network of a run without a checkpoint, so that a new run does not overwrite
/// these files. Returns the number of steps in the log, or `None` when the log has none.
pub(super) fn set_logs_aside(root: &Path) -> Result<Option<usize>, FileError> {
    let lines = |name: &str| {
        let text = fs::read(root.join(name)).unwrap_or_default();
        text.iter().filter(|&&byte| byte == b'\n').count()
    };
    let steps = lines(STEPS);
    for name in [STEPS, VALIDATIONS, BEST] {
        let path = root.join(name);
        if lines(name) > 0 || path.is_dir() {
            files::remove_dir(&root.join(format!("{name}.previous")))?;
            fs::rename(&path, root.join(format!("{name}.previous")))
                .map_err(FileError::on("rename", &path))?;
        }
    }
    Ok((steps > 0).then_some(steps))
}
