//! Whether a folder is still the one that was decoded, without opening its pictures.

use std::path::Path;
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::Listing;
use super::cache::FORMAT;
use crate::sets::folder::Fit;

/// SHA-256 over what the pixels are made from: the version of this library, the target size, how pictures get it, and each
/// file's path below the root, length and time of last change.
///
/// A file that is overwritten by one of the same length, with its old time put back, goes unnoticed. One whose length and
/// time are not to be had is told from one that has them.
pub(super) fn of(listing: &Listing, size: (usize, usize), fit: Fit) -> [u8; 32] {
    let stats: Vec<(u64, i128)> =
        listing.files.par_iter().map(|(path, _)| stat(path).unwrap_or((u64::MAX, i128::MIN))).collect();
    let mut hash = Sha256::new();
    hash.update(FORMAT.to_le_bytes());
    hash.update(env!("CARGO_PKG_VERSION"));
    for side in [size.0, size.1] {
        hash.update((side as u64).to_le_bytes());
    }
    if let Fit::CentreCrop { short_side } = fit {
        hash.update((short_side as u64).to_le_bytes());
    }
    for ((path, _), (length, changed)) in listing.files.iter().zip(stats) {
        let name = path.strip_prefix(&listing.root).unwrap_or(path).as_os_str().as_encoded_bytes();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(length.to_le_bytes());
        hash.update(changed.to_le_bytes());
    }
    hash.finalize().into()
}

/// Length in bytes, and nanoseconds between 1970 and the last change.
fn stat(path: &Path) -> std::io::Result<(u64, i128)> {
    let metadata = std::fs::metadata(path)?;
    let changed = metadata.modified()?;
    let nanoseconds = match changed.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    };
    Ok((metadata.len(), nanoseconds))
}
