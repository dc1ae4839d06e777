//! Folders that appear only once they are complete.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::DataError;

/// A new hidden folder beside the target that becomes the target, or is removed.
pub(crate) struct Staging {
    pub(crate) path: PathBuf,
    renamed: bool,
}

impl Staging {
    pub(crate) fn beside(target: &Path) -> Result<Self, DataError> {
        let parent = target.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(parent).map_err(DataError::io("create", parent))?;
        let name = crate::sets::folder::name(target);
        // Never a folder that is there already: it is another process's, or what is left of one that was killed.
        let mut count = 0u64;
        loop {
            let path = parent.join(format!(".{name}.{count}.partial"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, renamed: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => count += 1,
                Err(error) => return Err(DataError::io("create", &path)(error)),
            }
        }
    }

    pub(crate) fn rename_to(mut self, target: &Path) -> Result<(), DataError> {
        fs::rename(&self.path, target).map_err(DataError::io("create", target))?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Once renamed, the name is free for another process.
        if !self.renamed {
            let _as_far_as_it_goes = fs::remove_dir_all(&self.path);
        }
    }
}
