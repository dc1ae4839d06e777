//! What becomes of what an export finds in its place.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::error::ExportError;
use crate::files::FileError;

/// What becomes of a file or directory that is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// The file or directory is kept, and the export is an error.
    #[default]
    Keep,
    /// The file or directory is replaced when the new one is whole and on disk.
    Replace,
}

impl Existing {
    /// Whether a file may be written.
    pub(super) fn allows_file(self, path: &Path) -> Result<(), ExportError> {
        if self == Self::Keep && path.exists() {
            return Err(ExportError::Exists { path: path.into() });
        }
        Ok(())
    }

    /// Whether a directory may be written whose files have these names; an empty directory may always be.
    pub(super) fn allows_directory(self, path: &Path, names: &[&str]) -> Result<(), ExportError> {
        if !path.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(path).map_err(FileError::on("list", path))? {
            let entry = entry.map_err(FileError::on("list", path))?;
            if self == Self::Keep {
                return Err(ExportError::Exists { path: path.into() });
            }
            if !names.iter().any(|name| entry.file_name() == OsStr::new(name)) {
                return Err(ExportError::Foreign { path: entry.path() });
            }
        }
        Ok(())
    }
}
