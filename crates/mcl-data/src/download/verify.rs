//! Sizes and SHA-256 hashes of files, and the list of them that is kept beside extracted ones.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::catalog::Resource;
use crate::DataError;

/// The list of hashes in an extracted folder, in the format of `sha256sum`.
pub(super) const SUMS: &str = "SHA256SUMS";

/// SHA-256 of what is left in `file`, in hexadecimal.
fn sha256(path: &Path, file: &mut File) -> Result<String, DataError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer).map_err(DataError::io("read", path))? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn sha256_at(path: &Path) -> Result<String, DataError> {
    sha256(path, &mut File::open(path).map_err(DataError::io("read", path))?)
}

/// Makes sure that `file`, found at `path`, is the published one.
pub(super) fn check(
    path: &Path,
    file: &mut File,
    resource: &Resource,
    hint: &'static str,
) -> Result<(), DataError> {
    let found = file.metadata().map_err(DataError::io("read", path))?.len();
    if found != resource.size {
        let expected = resource.size.to_string();
        return Err(DataError::FileSize { path: path.to_path_buf(), expected, found, hint });
    }
    file.rewind().map_err(DataError::io("read", path))?;
    compare(path, sha256(path, file)?, &resource.sha256, hint)
}

fn compare(path: &Path, found: String, expected: &str, hint: &'static str) -> Result<(), DataError> {
    if found == expected {
        return Ok(());
    }
    let (path, expected) = (path.to_path_buf(), expected.to_string());
    Err(DataError::Hash { path, algorithm: "SHA-256", expected, found, hint })
}

/// Writes the list for the files directly in `folder`. Files and list are on the disk before the folder gets its name: a
/// power cut leaves a whole one or none.
pub(super) fn write_sums(folder: &Path) -> Result<(), DataError> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::io("list", folder))? {
        let path = entry.map_err(DataError::io("list", folder))?.path();
        if path.is_file() {
            // For writing too: some systems force nothing else to the disk.
            let open = OpenOptions::new().read(true).write(true).open(&path);
            let mut file = open.map_err(DataError::io("read", &path))?;
            lines.push(format!("{}  {}\n", sha256(&path, &mut file)?, crate::sets::folder::name(&path)));
            file.sync_all().map_err(DataError::io("write", &path))?;
        }
    }
    lines.sort();
    let list = folder.join(SUMS);
    let write = || {
        let mut file = File::create(&list)?;
        file.write_all(lines.concat().as_bytes())?;
        file.sync_all()?;
        // Only there can a folder be opened.
        if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
    };
    write().map_err(DataError::io("write", &list))
}

/// Checks the files in `folder` against its list, if it has one: files put there by hand have none. The list must have
/// an entry for each of `files`.
pub(super) fn check_sums(folder: &Path, files: &[String]) -> Result<(), DataError> {
    let list = folder.join(SUMS);
    if !list.exists() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&list).map_err(DataError::io("read", &list))?;
    let corrupt = |what: String| DataError::Corrupt {
        path: list.clone(),
        offset: 0,
        reason: format!("{what}: remove its folder and run again"),
    };
    let mut sums = Vec::new();
    for line in text.lines() {
        sums.push(
            line.split_once("  ").ok_or_else(|| corrupt(format!("{line:?} is not a hash and a name")))?,
        );
    }
    if let Some(file) = files.iter().find(|file| sums.iter().all(|(_, name)| name != file)) {
        return Err(corrupt(format!("it has no entry for {file}")));
    }
    let hint = "it has changed since it was extracted: remove its folder and run again";
    for (expected, name) in sums {
        let path = folder.join(name);
        compare(&path, sha256_at(&path)?, expected, hint)?;
    }
    Ok(())
}
