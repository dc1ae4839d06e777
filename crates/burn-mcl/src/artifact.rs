//! Directories that are written whole or not at all, and checked when they are read: detectors and checkpoints.
//!
//! Beside its files each holds a `manifest.json` with what it is, the format, the version of the library that wrote
//! it, and size and SHA-256 of every file.
//!
//! A new directory is filled under the name `.NAME.partial`, forced to disk, and renamed. A directory cannot be renamed
//! over another, so an old one steps aside to `.NAME.previous` for the moment between two renames; reading finds it
//! there when the process was killed in that moment. Only a directory of the same kind is ever replaced.

mod error;

pub use error::ArtifactError;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};

pub(crate) const MANIFEST: &str = "manifest.json";

/// Files that a person may put beside those of an artifact: a hub asks for them. They are kept when it is saved again.
pub(crate) const BESIDE: [&str; 2] = ["README.md", "LICENSE"];

/// Bytes of the largest manifest and settings that are read.
const LARGEST_JSON: u64 = 16 << 20;

/// What a directory holds, and the newest format of it that this version knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) format: u32,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    kind: String,
    format: u32,
    library: String,
    files: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct Entry {
    bytes: u64,
    sha256: String,
}

/// A directory on its way to disk. Dropped before [`commit`](Self::commit), it leaves nothing behind.
pub(crate) struct ArtifactWriter {
    kind: Kind,
    target: PathBuf,
    partial: PathBuf,
    files: BTreeMap<String, Entry>,
}

impl ArtifactWriter {
    /// Begins the directory that will be `target`.
    pub(crate) fn new(target: &Path, kind: Kind) -> Result<Self, FileError> {
        may_replace(target, kind)?;
        let partial = files::beside(target, ".partial");
        files::remove_dir(&partial)?;
        fs::create_dir_all(&partial).map_err(FileError::on("create", &partial))?;
        Ok(Self { kind, target: target.to_path_buf(), partial, files: BTreeMap::new() })
    }

    /// Writes a file of it.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        files::write_synced(&self.path(name), bytes)?;
        self.list(name, bytes)
    }

    /// Where to write a file that this type cannot write itself; [`adopt`](Self::adopt) it then.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.partial.join(name)
    }

    /// Takes in a file that is on disk already.
    pub(crate) fn adopt(&mut self, name: &str) -> Result<(), FileError> {
        let path = self.path(name);
        let file = files::open(&path).map_err(FileError::on("read", &path))?;
        self.list(name, file)
    }

    /// Puts the file `name`, which has this content, on the list.
    fn list(&mut self, name: &str, content: impl Read) -> Result<(), FileError> {
        let (sha256, bytes) = files::sha256(content).map_err(FileError::on("read", &self.path(name)))?;
        self.files.insert(name.to_string(), Entry { bytes, sha256 });
        Ok(())
    }

    /// Puts the directory in its place.
    pub(crate) fn commit(mut self) -> Result<(), FileError> {
        let manifest = Manifest {
            kind: self.kind.name.to_string(),
            format: self.kind.format,
            library: concat!("burn-mcl ", env!("CARGO_PKG_VERSION")).to_string(),
            files: std::mem::take(&mut self.files),
        };
        let json = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
        files::write_synced(&self.path(MANIFEST), &json)?;
        for name in BESIDE {
            let (from, to) = (self.target.join(name), self.path(name));
            if from.is_file() && !to.exists() {
                fs::copy(&from, &to).map_err(FileError::on("copy", &from))?;
            }
        }
        files::sync_dir(&self.partial)?;

        let previous = files::beside(&self.target, ".previous");
        if self.target.exists() {
            files::remove_dir(&previous)?;
            fs::rename(&self.target, &previous).map_err(FileError::on("rename", &self.target))?;
        }
        fs::rename(&self.partial, &self.target).map_err(FileError::on("rename", &self.partial))?;
        files::sync_parent(&self.target)?;
        files::remove_dir(&previous)
    }
}

impl Drop for ArtifactWriter {
    fn drop(&mut self) {
        // After a commit there is nothing; after an error the disk may be full. Nothing more can be done about a rest.
        let _ = fs::remove_dir_all(&self.partial);
    }
}

/// Refuses a place where something else is, which replacing would delete: a folder of pictures, say.
pub(crate) fn may_replace(target: &Path, kind: Kind) -> Result<(), FileError> {
    let empty = || fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_none());
    let same_kind = || {
        let bytes = files::read(&target.join(MANIFEST)).ok()?;
        let json: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        Some(json.get("kind")? == kind.name)
    };
    if !target.exists() || empty() || same_kind() == Some(true) {
        return Ok(());
    }
    let reason = format!("it is there, and is no {}: choose another place, or move it", kind.name);
    Err(FileError::on("replace", target)(io::Error::new(io::ErrorKind::AlreadyExists, reason)))
}

/// A directory whose files are all there and as they were saved.
#[derive(Debug)]
pub(crate) struct Artifact {
    path: PathBuf,
}

impl Artifact {
    /// Opens the directory `path` and checks it: what it is, its format, and every file.
    pub(crate) fn open(path: &Path, kind: Kind) -> Result<Self, ArtifactError> {
        let previous = files::beside(path, ".previous");
        let path = if !path.exists() && previous.join(MANIFEST).exists() {
            tracing::warn!(path = %path.display(), "saving was cut short: the one from before is read");
            previous
        } else {
            path.to_path_buf()
        };
        let artifact = Self { path };
        let manifest = artifact.manifest(kind)?;
        artifact.check_names(manifest.files.keys())?;
        for (name, expected) in &manifest.files {
            artifact.check_file(name, expected)?;
        }
        Ok(artifact)
    }

    /// The path of a file of it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The bytes of a file, of which there should be at most `limit`.
    pub(crate) fn bytes(&self, name: &str, limit: u64) -> Result<Vec<u8>, ArtifactError> {
        let path = self.path(name);
        let mut bytes = Vec::new();
        let read = files::open(&path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ArtifactError::Missing { path }),
            Err(error) => Err(FileError::on("read", &path)(error).into()),
            Ok(length) if length as u64 > limit => {
                Err(self.unusable(name, format!("it has more than {limit} bytes")))
            }
            Ok(_) => Ok(bytes),
        }
    }

    /// What a JSON file holds.
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, ArtifactError> {
        let bytes = self.bytes(name, LARGEST_JSON)?;
        serde_json::from_slice(&bytes).map_err(|error| self.unusable(name, error.to_string()))
    }

    /// An error about what a file holds.
    pub(crate) fn unusable(&self, name: &str, reason: impl Into<String>) -> ArtifactError {
        ArtifactError::Content { path: self.path(name), reason: reason.into() }
    }

    fn manifest(&self, kind: Kind) -> Result<Manifest, ArtifactError> {
        fs::metadata(&self.path).map_err(FileError::on("open", &self.path))?;
        let json: serde_json::Value = self.json(MANIFEST)?;
        let text = |key| json.get(key).and_then(serde_json::Value::as_str).unwrap_or("?").to_string();
        let path = || self.path.clone();
        if text("kind") != kind.name {
            return Err(ArtifactError::Kind { path: path(), found: text("kind"), expected: kind.name });
        }
        let format = json.get("format").and_then(serde_json::Value::as_u64);
        let format = format.ok_or_else(|| self.unusable(MANIFEST, "it names no format"))?;
        if format > u64::from(kind.format) {
            let (newest, library) = (kind.format, text("library"));
            return Err(ArtifactError::Newer { path: path(), found: format, newest, library });
        }
        serde_json::from_value(json).map_err(|error| self.unusable(MANIFEST, error.to_string()))
    }

    /// Whether the directory holds these names and no others but hidden ones and those of [`BESIDE`].
    fn check_names<'a>(&self, names: impl Iterator<Item = &'a String>) -> Result<(), ArtifactError> {
        let mut expected: BTreeSet<&str> = names.map(String::as_str).collect();
        expected.insert(MANIFEST);
        let entries = fs::read_dir(&self.path).map_err(FileError::on("list", &self.path))?;
        let mut found = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(FileError::on("list", &self.path))?.file_name();
            found.insert(name.to_string_lossy().into_owned());
        }
        if let Some(name) = expected.iter().find(|name| !found.contains(**name)) {
            return Err(ArtifactError::Missing { path: self.path(name) });
        }
        let may_be = |name: &str| expected.contains(name) || BESIDE.contains(&name) || name.starts_with('.');
        match found.iter().find(|name| !may_be(name)) {
            Some(name) => Err(ArtifactError::Extra { path: self.path(name) }),
            None => Ok(()),
        }
    }

    fn check_file(&self, name: &str, expected: &Entry) -> Result<(), ArtifactError> {
        let path = self.path(name);
        let metadata = fs::metadata(&path).map_err(FileError::on("read", &path))?;
        if !metadata.is_file() {
            return Err(self.unusable(name, "it is not a file"));
        }
        let mut found = (String::new(), metadata.len());
        if found.1 == expected.bytes {
            found = files::open(&path).and_then(files::sha256).map_err(FileError::on("read", &path))?;
            if found == (expected.sha256.clone(), expected.bytes) {
                return Ok(());
            }
        }
        Err(ArtifactError::Changed {
            path,
            found_bytes: found.1,
            found: found.0,
            expected_bytes: expected.bytes,
            expected: expected.sha256.clone(),
        })
    }
}
