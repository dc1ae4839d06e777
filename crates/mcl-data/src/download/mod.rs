//! Downloading the published sets (feature `download`).
//!
//! Nothing is used unverified: a downloaded file gets its name only once its size and SHA-256 are the published ones, a
//! file found on disk is checked again, and extracted files are checked against the hashes taken when they were
//! extracted.

mod catalog;
mod event;
mod part;
mod transfer;
mod verify;

use std::fs;
use std::path::Path;

pub use catalog::Published;
pub use event::Event;

use crate::DataError;
use crate::files::archive;
use crate::files::staging::Staging;
use catalog::Resource;
use transfer::Patience;

/// Makes sure that a published set is under `root`, where the loaders find it: verifies what is there, downloads and
/// extracts what is not. An interrupted download is resumed. If another process downloads the same file, waits for it.
///
/// Files that were put there by hand are left alone: an extracted folder is used as it is (its loader checks it), an
/// archive or a `.mat` file has to be the published one.
///
/// # Errors
/// - [`DataError::Download`] if the server cannot be reached, refuses, or breaks off repeatedly: says which file to put
///   where to go without
/// - [`DataError::FileSize`], [`DataError::Hash`] if a file is not the published one, or changed since it was extracted
/// - [`DataError::Corrupt`] if the list of hashes of the extracted files is damaged
/// - the errors of [`archive::extract`], [`DataError::Io`]
///
/// ```no_run
/// use mcl_data::download::{self, Published};
/// use mcl_data::{Split, cifar10};
///
/// let root = "data".as_ref();
/// download::ensure(Published::Cifar10, root)?;
/// let train = cifar10::load(root, Split::Train)?;
/// # Ok::<(), mcl_data::DataError>(())
/// ```
pub fn ensure(set: Published, root: &Path) -> Result<(), DataError> {
    ensure_observed(set, root, &|_| {})
}

/// As [`ensure`], and tells `observer` how the download goes on.
///
/// # Errors
/// As [`ensure`].
///
/// ```no_run
/// use mcl_data::download::{self, Event, Published};
///
/// download::ensure_observed(Published::SvhnTest, "data".as_ref(), &|event| match event {
///     Event::Received { file, bytes, total } => eprint!("\r{file}: {} of {} MB", bytes / 1_000_000, total / 1_000_000),
///     Event::Waiting { file } => eprintln!("another process is downloading {file}: waiting for it"),
///     _ => {}
/// })?;
/// # Ok::<(), mcl_data::DataError>(())
/// ```
pub fn ensure_observed(
    set: Published,
    root: &Path,
    observer: &(dyn Fn(Event<'_>) + Sync),
) -> Result<(), DataError> {
    ensure_resource(&set.resource(), root, &Patience::default(), observer)
}

fn ensure_resource(
    resource: &Resource,
    root: &Path,
    patience: &Patience,
    observer: &(dyn Fn(Event<'_>) + Sync),
) -> Result<(), DataError> {
    let folder = resource.folder.as_ref().map(|folder| (root.join(&folder.name), folder));
    if let Some((path, folder)) = folder.as_ref().filter(|(path, _)| path.is_dir()) {
        return verify::check_sums(path, &folder.files);
    }
    let file = root.join(&resource.file);
    if file.exists() {
        let mut found = fs::File::open(&file).map_err(DataError::io("read", &file))?;
        verify::check(&file, &mut found, resource, "remove it and run again to download it anew")?;
    } else {
        transfer::download(resource, root, patience, observer)?;
    }
    match folder {
        Some((path, folder)) => extract(&file, &folder.name, &path),
        None => Ok(()),
    }
}

/// Extracts the one folder of a verified archive, with a list of the hashes of its files.
fn extract(file: &Path, inner: &str, folder: &Path) -> Result<(), DataError> {
    let staging = Staging::beside(folder)?;
    let unpacked = staging.path.join("unpacked");
    archive::extract(file, &unpacked)?;
    let inner = unpacked.join(inner);
    verify::write_sums(&inner)?;
    match fs::rename(&inner, folder) {
        // Another process was faster with the same verified archive.
        Err(_) if folder.is_dir() => Ok(()),
        result => result.map_err(DataError::io("create", folder)),
    }
}

#[cfg(test)]
mod tests;
