//! Why a saved detector or checkpoint is refused.

use std::path::PathBuf;

use mcl_data::printable;

use crate::files::FileError;

/// A saved detector or checkpoint that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The directory is something else.
    #[error("{} holds a {}, not a {expected}", printable(.path), printable(.found))]
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
        "{} has format {found}, written by {}, but this version reads up to {newest}: update burn-mcl",
        printable(.path), printable(.library)
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
    #[error("{} is missing: the directory was not copied or kept as a whole", printable(.path))]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file is there that does not belong to it. (Names that begin with a dot are let be.)
    #[error("{} does not belong there: move it elsewhere", printable(.path))]
    Extra {
        /// The file or directory.
        path: PathBuf,
    },
    /// A file is not the one that was saved.
    #[error(
        "{} was cut, damaged or edited since it was saved: it has {}, and had {}",
        printable(.path),
        described(*.found_bytes, .found),
        described(*.expected_bytes, if .found.is_empty() { "" } else { .expected })
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
    #[error("{} cannot be used: {}", printable(.path), printable(.reason))]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A file by its length, and by its hash where both sides have one.
fn described(bytes: u64, sha256: &str) -> String {
    match sha256 {
        "" => format!("{bytes} bytes"),
        hash => format!("{bytes} bytes and SHA-256 {}", printable(hash)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_length_is_described_without_hashes() {
        let changed = |found: &str| ArtifactError::Changed {
            path: "model\n.bpk".into(),
            found_bytes: 3,
            found: found.into(),
            expected_bytes: 4,
            expected: "ab".into(),
        };
        let said = changed("").to_string();
        assert!(
            said.starts_with(r"model\n.bpk") && said.ends_with("it has 3 bytes, and had 4 bytes"),
            "{said}"
        );
        let said = changed("cd").to_string();
        assert!(said.ends_with("3 bytes and SHA-256 cd, and had 4 bytes and SHA-256 ab"), "{said}");
    }
}
