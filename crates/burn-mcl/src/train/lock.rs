//! The lock of a run directory, which keeps two runs from writing there at once.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::TrainError;
use crate::files::FileError;

/// The file that is locked. It stays when the run ends.
pub(super) const LOCK: &str = "lock";

/// Takes the lock of the run directory `root`. The system releases the lock when the file is dropped or the
/// process ends.
pub(super) fn lock(root: &Path) -> Result<File, TrainError> {
    let path = root.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(FileError::on("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TrainError::InUse { path: root.to_path_buf() }),
        Err(TryLockError::Error(error)) if without_locks(&error) => {
            tracing::warn!(path = %path.display(), "this file system has no locks: start no second run in this directory");
            Ok(file)
        }
        Err(TryLockError::Error(error)) => Err(FileError::on("lock", &path)(error).into()),
    }
}

/// Whether an error of locking says that the file system has no locks.
fn without_locks(error: &io::Error) -> bool {
    // ENOLCK: NFS whose lock daemon is not running. The standard library has no kind for it.
    let no_daemon = if cfg!(any(target_os = "linux", target_os = "android")) { 37 } else { 77 };
    error.kind() == io::ErrorKind::Unsupported || (cfg!(unix) && error.raw_os_error() == Some(no_daemon))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_locks_is_told_from_other_errors() {
        let says = |code| without_locks(&io::Error::from_raw_os_error(code));
        assert!(says(37) && says(95), "ENOLCK and EOPNOTSUPP");
        assert!(!says(5) && !says(13), "EIO and EACCES");
    }
}
