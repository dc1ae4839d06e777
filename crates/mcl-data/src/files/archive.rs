//! Tar archives, gzipped or not, read without trusting them: nothing is ever written outside the target, nothing
//! grows without bound, and a truncated archive is an error rather than a smaller one.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use tar::EntryType;

use super::staging::Staging;
use crate::DataError;

/// Most bytes that an archive may unpack to.
const MAX_BYTES: u64 = 4 << 30;
/// Most entries of an archive.
const MAX_ENTRIES: usize = 2_000_000;
/// Most bytes between the contents of two entries: headers, padding, and long names, which `tar` holds in memory.
const MAX_BETWEEN: u64 = 1 << 20;

/// Headers and contents of entries start at multiples of this.
const BLOCK: u64 = 512;

/// Extracts a `.tar` or `.tar.gz` archive into the new folder `target`, which appears only once it is complete.
/// Returns the number of files.
///
/// Permissions, owners and times are not taken over.
///
/// # Errors
/// - [`DataError::UnsafeEntry`] for an entry that is absolute, contains `..`, is a link or a device, or appears twice
/// - [`DataError::OverLimit`] beyond 4 GiB or two million entries
/// - [`DataError::Corrupt`] for a damaged or truncated archive
/// - [`DataError::Io`], also if `target` exists
pub fn extract(archive: &Path, target: &Path) -> Result<usize, DataError> {
    if target.exists() {
        let exists = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(DataError::io("extract into", target)(exists));
    }
    let staging = Staging::beside(target)?;
    let mut files = 0;
    for_each_file(archive, &mut |name, mut content| {
        let path = staging.path.join(name);
        let folder = path.parent().expect("a name below a folder");
        fs::create_dir_all(folder).map_err(DataError::io("create", folder))?;
        let mut file = File::create_new(&path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => {
                refuse(archive, name.as_os_str().as_encoded_bytes(), "it appears twice")
            }
            _ => DataError::io("create", &path)(source),
        })?;
        files += 1;
        copy(&mut content, &mut |bytes| {
            io::Write::write_all(&mut file, bytes).map_err(DataError::io("write", &path))
        })
    })?;
    staging.rename_to(target)?;
    Ok(files)
}

/// The files of an archive that `wanted` takes, in memory, with their names.
pub(crate) fn read(
    archive: &Path,
    wanted: impl Fn(&Path) -> bool,
) -> Result<Vec<(PathBuf, Vec<u8>)>, DataError> {
    let mut files = Vec::new();
    for_each_file(archive, &mut |name, mut content| {
        let mut all = Vec::new();
        if wanted(name) {
            copy(&mut content, &mut |bytes| {
                all.extend_from_slice(bytes);
                Ok(())
            })?;
            files.push((name.to_path_buf(), all));
        }
        Ok(())
    })?;
    Ok(files)
}

/// The bytes of one entry; an error of this reader is the archive's.
struct Content<'a> {
    reader: &'a mut dyn Read,
    corrupt: &'a dyn Fn(io::Error) -> DataError,
}

fn copy(
    content: &mut Content<'_>,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match content.reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => sink(&buffer[..n])?,
            Err(error) => return Err((content.corrupt)(error)),
        }
    }
}

/// Visits every regular file of the archive with its checked name, then makes sure that the archive ended well.
fn for_each_file(
    archive: &Path,
    visit: &mut dyn FnMut(&Path, Content<'_>) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let file = File::open(archive).map_err(DataError::io("open", archive))?;
    let position = Rc::new(Cell::new(0));
    let mut counted = BufReader::new(Counted { inner: file, position: Rc::clone(&position) });
    let start = counted.fill_buf().map_err(DataError::io("read", archive))?;
    let reader: Box<dyn Read> = match start {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(counted)),
        _ => Box::new(counted),
    };
    let corrupt = |error: io::Error| DataError::Corrupt {
        path: archive.to_path_buf(),
        offset: position.get(),
        reason: match error.kind() {
            io::ErrorKind::UnexpectedEof => "the archive is truncated; fetch it again".to_string(),
            _ => error.to_string(),
        },
    };

    // An archive ends with a block of zeros; without it, it was cut between two entries.
    let (mut granted, mut content) = (MAX_BETWEEN, 0);
    let allowance = Rc::new(Cell::new(granted));
    let mut metered = tar::Archive::new(Metered { inner: reader, allowance: Rc::clone(&allowance) });
    let mut entries_seen = 0;
    for entry in metered.entries().map_err(corrupt)? {
        let mut entry = entry.map_err(corrupt)?;
        entries_seen += 1;
        if entries_seen > MAX_ENTRIES || entry.raw_file_position().saturating_add(entry.size()) > MAX_BYTES {
            return Err(over_limit(archive));
        }
        (granted, content) = (entry.size() + MAX_BETWEEN, entry.size().next_multiple_of(BLOCK));
        allowance.set(granted);
        let name_bytes = entry.path_bytes().into_owned();
        let path = entry.path().map_err(corrupt)?.into_owned();
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let name = inside(&path).map_err(|reason| refuse(archive, &name_bytes, reason))?;
                visit(&name, Content { reader: &mut entry, corrupt: &corrupt })?;
            }
            EntryType::Directory => {
                inside(&path).or_else(|reason| match path.components().next() {
                    Some(Component::CurDir) => Ok(PathBuf::new()), // "./", the archive's own root
                    _ => Err(refuse(archive, &name_bytes, reason)),
                })?;
            }
            EntryType::XGlobalHeader => {}
            EntryType::Symlink | EntryType::Link => {
                return Err(refuse(archive, &name_bytes, "it is a link"));
            }
            _ => return Err(refuse(archive, &name_bytes, "it is neither a file nor a folder")),
        }
    }
    if granted - allowance.get() < content + BLOCK {
        return Err(corrupt(io::ErrorKind::UnexpectedEof.into()));
    }
    // The checksum of gzip comes last: read on, or a cut there would go unseen.
    allowance.set(MAX_BETWEEN);
    io::copy(&mut metered.into_inner(), &mut io::sink()).map_err(corrupt)?;
    Ok(())
}

/// The name without its `.` parts, if it stays below the folder it is joined to.
fn inside(path: &Path) -> Result<PathBuf, &'static str> {
    let mut name = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => name.push(part),
            Component::CurDir => {}
            Component::ParentDir => return Err("it contains \"..\""),
            Component::RootDir | Component::Prefix(_) => return Err("it is absolute"),
        }
    }
    if name.as_os_str().is_empty() { Err("it has no name") } else { Ok(name) }
}

fn refuse(archive: &Path, entry: &[u8], reason: &'static str) -> DataError {
    let entry = String::from_utf8_lossy(entry).into_owned();
    DataError::UnsafeEntry { path: archive.to_path_buf(), entry, reason }
}

fn over_limit(archive: &Path) -> DataError {
    DataError::OverLimit {
        path: archive.to_path_buf(),
        what: "more bytes or entries than are unpacked".to_string(),
        limit: format!("{} GiB and {MAX_ENTRIES} entries", MAX_BYTES >> 30),
    }
}

/// Fails once more is read than allowed.
struct Metered<R> {
    inner: R,
    allowance: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.allowance.get().checked_sub(n as u64) {
            Some(rest) => self.allowance.set(rest),
            None => {
                return Err(io::Error::other("more than 1 MiB of headers, names or padding in one place"));
            }
        }
        Ok(n)
    }
}

/// Tells how far the file was read.
struct Counted {
    inner: File,
    position: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.position.set(self.position.get() + n as u64);
        Ok(n)
    }
}

#[cfg(test)]
pub(crate) mod tests;
