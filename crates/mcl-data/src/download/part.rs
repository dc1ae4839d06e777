//! The unfinished file of a download.

#[cfg(unix)]
use std::fs::Metadata;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::DataError;

/// How often the file is opened again: without an end on a file system whose numbers of files change.
const MOST_ROUNDS: u32 = 100;

/// The unfinished file, locked against other processes that download it.
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) length: u64,
}

impl Part {
    /// Opens or creates the file and locks it. If another process holds the lock, calls `waiting` and waits.
    pub(super) fn open(path: &Path, waiting: impl Fn()) -> Result<Self, DataError> {
        let mut rounds = 0;
        loop {
            rounds += 1;
            let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
            let mut file = open.map_err(DataError::io("create", path))?;
            let locked = match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    waiting();
                    file.lock()
                }
                Err(TryLockError::Error(error)) => Err(error),
                Ok(()) => Ok(()),
            };
            match locked {
                Ok(()) => {}
                // A file system without locks: go on without.
                Err(error) if is_without_locks(&error) => {}
                Err(error) => return Err(DataError::io("lock", path)(error)),
            }
            // Its owner until now may have renamed or removed the file: then another has to be opened, and locked.
            if is_at(&file, path) || rounds == MOST_ROUNDS {
                let length = file.seek(SeekFrom::End(0)).map_err(DataError::io("read", path))?;
                return Ok(Self { path: path.to_path_buf(), file, length });
            }
        }
    }

    /// Removes a file that was only created to be locked.
    pub(super) fn remove_if_empty(self) -> Result<(), DataError> {
        if self.length > 0 {
            return Ok(());
        }
        std::fs::remove_file(&self.path).map_err(DataError::io("remove", &self.path))
    }

    pub(super) fn restart(&mut self) -> Result<(), DataError> {
        self.file.set_len(0).map_err(DataError::io("truncate", &self.path))?;
        self.file.rewind().map_err(DataError::io("truncate", &self.path))?;
        self.length = 0;
        Ok(())
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.file.write_all(bytes).map_err(DataError::io("write", &self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// Whether a file system has no locks, rather than that one is held. NFS without its lock daemon answers ENOLCK, which
/// has no kind of its own.
fn is_without_locks(error: &io::Error) -> bool {
    // The second is that of macOS and the BSDs.
    const ENOLCK: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 37 } else { 77 };
    error.kind() == io::ErrorKind::Unsupported || (cfg!(unix) && error.raw_os_error() == Some(ENOLCK))
}

/// Whether `path` still leads to the open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |open: &Metadata, there: &Metadata| (open.dev(), open.ino()) == (there.dev(), there.ino());
    matches!((file.metadata(), std::fs::metadata(path)), (Ok(open), Ok(there)) if same(&open, &there))
}

/// Whether `path` still leads to a file: where files have no numbers, open ones cannot be renamed either.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn file_systems_without_locks_are_told_from_locked_files() {
        let by = |code| is_without_locks(&io::Error::from_raw_os_error(code));
        let (enolck, enosys, eopnotsupp, eacces, ewouldblock) = (37, 38, 95, 13, 11);
        assert!(by(enolck) && by(enosys) && by(eopnotsupp));
        assert!(!by(eacces) && !by(ewouldblock));
    }
}
