//! The cache file of a folder: the pixels of all its pictures at one size, so that they are decoded once.
//!
//! ```text
//! magic       8 bytes  "mclpixel"
//! format      u32      all numbers little-endian
//! sides       u32, u32 height, width
//! pictures    u64      files listed, readable or not
//! unreadable  u64      of these; then for each: index u64, length u32, reason in UTF-8
//! fingerprint 32 bytes of the folder
//! pixels      (pictures - unreadable) * 3 * height * width
//! hash        32 bytes SHA-256 of everything before it
//! ```
//!
//! Nothing in it is trusted: no length is believed before the file is known to be as long, and a file that does not hold
//! together is made again, never an error.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::files::partial::write_whole;
use crate::printable;
use crate::sets::folder::{self, Fit};

/// Goes up when the layout or the way to decode and resize changes.
pub(super) const FORMAT: u32 = 2;
const MAGIC: &[u8; 8] = b"mclpixel";

/// What became of the cache of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheUse {
    /// None was asked for.
    Off,
    /// The pixels come from this file.
    Read(PathBuf),
    /// The pictures were decoded, and this file written.
    Written {
        /// The file.
        path: PathBuf,
        /// Why the file that was there could not serve; `None` if there was none.
        replaced: Option<String>,
    },
    /// The pictures were decoded, but the file was not written.
    NotWritten {
        /// The file.
        path: PathBuf,
        /// Why: the file could not be written, or a picture could not be opened, which may pass.
        reason: String,
    },
}

impl std::fmt::Display for CacheUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => write!(f, "no cache"),
            Self::Read(path) => write!(f, "from the cache {}", printable(path)),
            Self::Written { path, replaced: None } => write!(f, "cached in {}", printable(path)),
            Self::Written { path, replaced: Some(why) } => {
                write!(f, "cached anew in {} ({why})", printable(path))
            }
            Self::NotWritten { reason, .. } => write!(f, "not cached: {reason}"),
        }
    }
}

/// What a cache file holds: the pixels of the readable pictures, and the others by their index with the reasons.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) pixels: Vec<u8>,
    pub(super) unreadable: Vec<(usize, String)>,
}

/// What the folder looks like now; a cache file that says otherwise is of no use.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    pub(super) size: (usize, usize),
    pub(super) pictures: usize,
    pub(super) fingerprint: [u8; 32],
}

/// The name of the cache file of `root`: readable, and another one for another root, size or fit.
pub(super) fn file_name(root: &Path, size: (usize, usize), fit: Fit) -> String {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
    let hash = Sha256::digest(root.as_os_str().as_encoded_bytes());
    let hash: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let crop = match fit {
        Fit::CentreCrop { short_side } => format!("-of-{short_side}"),
        Fit::Exact | Fit::Stretch => String::new(),
    };
    format!("{}-{}x{}{crop}-{hash}.pixels", folder::name(&root), size.0, size.1)
}

/// Writes the file beside its place and renames it when it is whole.
pub(super) fn write(path: &Path, expected: &Expected, decoded: &Decoded) -> io::Result<()> {
    write_whole(path, |file| write_to(file, expected, decoded))
}

fn write_to(file: &File, expected: &Expected, decoded: &Decoded) -> io::Result<()> {
    let mut out = Hashing { inner: BufWriter::new(file), hash: Sha256::new() };
    out.put(MAGIC)?;
    out.put(&FORMAT.to_le_bytes())?;
    for side in [expected.size.0, expected.size.1] {
        out.put(&(side as u32).to_le_bytes())?;
    }
    out.put(&(expected.pictures as u64).to_le_bytes())?;
    out.put(&(decoded.unreadable.len() as u64).to_le_bytes())?;
    for (index, reason) in &decoded.unreadable {
        out.put(&(*index as u64).to_le_bytes())?;
        out.put(&(reason.len() as u32).to_le_bytes())?;
        out.put(reason.as_bytes())?;
    }
    out.put(&expected.fingerprint)?;
    out.put(&decoded.pixels)?;
    let hash = out.hash.finalize();
    out.inner.write_all(&hash)?;
    out.inner.flush()
}

/// Reads the file if it is whole and about the folder as it is now; else says why not.
pub(super) fn read(path: &Path, expected: &Expected) -> Result<Decoded, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut file = Hashing { inner: BufReader::new(file), hash: Sha256::new() };
    let cut = |_: io::Error| "it is cut short".to_string();

    if &file.array::<8>().map_err(cut)? != MAGIC {
        return Err("it is no cache file".into());
    }
    let format = u32::from_le_bytes(file.array().map_err(cut)?);
    if format != FORMAT {
        return Err(format!("it has format {format}, this version makes {FORMAT}"));
    }
    let mut side = || Ok::<_, String>(u32::from_le_bytes(file.array().map_err(cut)?) as usize);
    let size = (side()?, side()?);
    let pictures = u64::from_le_bytes(file.array().map_err(cut)?) as usize;
    if (size, pictures) != (expected.size, expected.pictures) {
        return Err("the folder has changed".into());
    }
    let unreadable = u64::from_le_bytes(file.array().map_err(cut)?);
    let mut reasons = Vec::new();
    for _ in 0..unreadable {
        let index = u64::from_le_bytes(file.array().map_err(cut)?) as usize;
        let bytes = u32::from_le_bytes(file.array().map_err(cut)?) as usize;
        let ascending = reasons.last().is_none_or(|(last, _)| *last < index);
        if index >= pictures || !ascending || bytes as u64 > length {
            return Err("it contradicts itself".into());
        }
        let mut reason = vec![0; bytes];
        file.take(&mut reason).map_err(cut)?;
        reasons.push((index, String::from_utf8(reason).map_err(|_| "it contradicts itself".to_string())?));
    }
    if file.array::<32>().map_err(cut)? != expected.fingerprint {
        return Err("the folder has changed".into());
    }
    let image_bytes = size.0.checked_mul(size.1).and_then(|pixels| pixels.checked_mul(3));
    let bytes = image_bytes.and_then(|bytes| bytes.checked_mul(pictures - reasons.len()));
    let bytes = bytes.filter(|&bytes| bytes as u64 <= length).ok_or("it is cut short")?;
    let mut pixels = vec![0; bytes];
    file.take(&mut pixels).map_err(cut)?;
    let hash: [u8; 32] = file.hash.finalize().into();
    let mut stored = [0; 32];
    file.inner.read_exact(&mut stored).map_err(cut)?;
    if hash != stored {
        return Err("its hash does not match: it was damaged".into());
    }
    Ok(Decoded { pixels, unreadable: reasons })
}

/// A file whose content is hashed as it goes by.
struct Hashing<T> {
    inner: T,
    hash: Sha256,
}

impl<W: Write> Hashing<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.inner.write_all(bytes)
    }
}

impl<R: Read> Hashing<R> {
    fn take(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(bytes)?;
        self.hash.update(bytes);
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.take(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn example() -> (Expected, Decoded) {
        let expected = Expected { size: (2, 3), pictures: 3, fingerprint: [7; 32] };
        let unreadable = vec![(1, "b.png is no picture".to_string())];
        (expected, Decoded { pixels: (0..36).collect(), unreadable })
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/x.pixels");
        let (expected, decoded) = example();
        write(&path, &expected, &decoded).unwrap();
        assert_eq!(read(&path, &expected).unwrap(), decoded);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn another_folder_size_or_number_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pixels");
        let (expected, decoded) = example();
        write(&path, &expected, &decoded).unwrap();
        let others = [
            Expected { size: (3, 2), ..expected },
            Expected { pictures: 4, ..expected },
            Expected { fingerprint: [8; 32], ..expected },
        ];
        for other in others {
            assert_eq!(read(&path, &other).unwrap_err(), "the folder has changed");
        }
    }

    /// Every single byte changed, and every length cut: refused, without a panic or a large allocation.
    #[test]
    fn no_damage_goes_unnoticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pixels");
        let (expected, decoded) = example();
        write(&path, &expected, &decoded).unwrap();
        let good = fs::read(&path).unwrap();
        for i in 0..good.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[i] ^= flip;
                fs::write(&path, bad).unwrap();
                assert!(read(&path, &expected).is_err(), "byte {i} ^ {flip}");
            }
            fs::write(&path, &good[..i]).unwrap();
            assert!(read(&path, &expected).is_err(), "cut to {i} bytes");
        }
    }
}
