//! What becomes of what an export finds in its place.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::error::ExportError;
use super::messages::is_ours;
use crate::files::{self, FileError};

/// What becomes of a file or directory that is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// The file or directory is kept, and the export is an error.
    #[default]
    Keep,
    /// What an earlier export wrote is replaced when the new one is whole and on disk. Anything else is kept, and the export is
    /// an error.
    Replace,
}

impl Existing {
    /// Whether a file may be written.
    pub(super) fn allows_file(self, path: &Path) -> Result<(), ExportError> {
        // Of the name itself: a link is in the way even where it leads nowhere.
        let found = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.map_err(FileError::on("open", path))?,
        };
        if self == Self::Keep {
            return Err(ExportError::Exists { path: path.into() });
        }
        let mut start = Vec::new();
        if found.is_file() {
            let read = files::open(path).and_then(|file| file.take(64).read_to_end(&mut start));
            read.map_err(FileError::on("read", path))?;
        }
        if is_ours(&start) { Ok(()) } else { Err(ExportError::NoGraph { path: path.into() }) }
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
