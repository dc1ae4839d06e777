//! Why a saved detector or checkpoint is refused.

use std::path::PathBuf;

use crate::files::FileError;

/// A saved detector or checkpoint that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The directory is something else.
    #[error("{} holds a {found}, not a {expected}", .path.display())]
    Kind {
        /// The directory.
        path: PathBuf,
        /// What it says it is.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A newer version of the library wrote it, in a format that this one does not know.
    #[error(
        "{} has format {found}, written by {library}, but this version reads up to {newest}: update burn-mcl",
        .path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Newest format that is known.
        newest: u32,
        /// Name and version of the library that wrote it.
        library: String,
    },
    /// A file that belongs to it is not there.
    #[error("{} is missing: the directory was not copied or kept as a whole", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file is there that does not belong to it. (Names that begin with a dot are let be.)
    #[error("{} does not belong there: move it elsewhere", .path.display())]
    Extra {
        /// The file or directory.
        path: PathBuf,
    },
    /// A file is not the one that was saved.
    #[error(
        "{} was cut, damaged or edited since it was saved: it has {found_bytes} bytes and SHA-256 {found}, \
         and had {expected_bytes} bytes and {expected}",
        .path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its length.
        found_bytes: u64,
        /// Its SHA-256; empty when the length differs already.
        found: String,
        /// Length in the manifest.
        expected_bytes: u64,
        /// SHA-256 in the manifest.
        expected: String,
    },
    /// A file is as it was saved, or is the manifest itself, and makes no sense.
    #[error("{} cannot be used: {reason}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
