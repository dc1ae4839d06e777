//! Numeric arrays of MATLAB 5 files, read by the `matfile` crate behind a guard.
//!
//! On its own that crate inflates without bound, follows compressed data inside compressed data, reports to standard
//! output, and takes a truncated file for one with fewer variables. So the list of variables is walked here, each is
//! inflated here (flate2, with a limit) and its shape is checked; `matfile` then sees one plain variable at a time.

use std::io::Read;
use std::path::Path;

use crate::DataError;

const HEADER: usize = 128;
const TAG: usize = 8;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
/// Largest file read and largest variable inflated, in bytes. SVHN's largest file holds 1.6 GB.
const MAX_BYTES: u64 = 2 << 30;

/// An array, and where its variable starts in the file.
pub(crate) struct Variable {
    pub(crate) offset: u64,
    pub(crate) array: matfile::Array,
}

/// All numeric arrays of the file; cells, structs, text and sparse matrices are passed over.
///
/// # Errors
/// [`DataError::Io`], [`DataError::OverLimit`], [`DataError::Corrupt`]
pub(crate) fn read(path: &Path) -> Result<Vec<Variable>, DataError> {
    let length = std::fs::metadata(path).map_err(DataError::io("read", path))?.len();
    if length > MAX_BYTES {
        return Err(over_limit(path, "a file", length));
    }
    let bytes = std::fs::read(path).map_err(DataError::io("read", path))?;
    let corrupt = |offset: usize, reason: &str| DataError::Corrupt {
        path: path.to_path_buf(),
        offset: offset as u64,
        reason: reason.to_string(),
    };
    let Some((header, mut rest)) = bytes.split_at_checked(HEADER) else {
        return Err(corrupt(bytes.len(), "a MATLAB 5 file starts with a header of 128 bytes"));
    };
    if header[124..] != [0, 1, b'I', b'M'] {
        return Err(corrupt(124, "not a little-endian MATLAB 5 file; save it with -v7, not -v7.3"));
    }
    let mut variables = Vec::new();
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let Some((kind, size)) = tag(rest) else {
            return Err(corrupt(offset, "the file is truncated inside the tag of a variable"));
        };
        if kind != MATRIX && kind != COMPRESSED {
            return Err(corrupt(offset, &format!("a variable of unknown type {kind}")));
        }
        let Some((body, after)) = rest[TAG..].split_at_checked(size) else {
            let there = rest.len() - TAG;
            let reason =
                format!("the file is truncated: a variable of {size} bytes has {there}; fetch it again");
            return Err(corrupt(offset, &reason));
        };
        let inflated = match kind {
            COMPRESSED => inflate(path, body, offset)?,
            _ => Vec::new(),
        };
        let element = if kind == COMPRESSED { &inflated[..] } else { &rest[..TAG + size] };
        if is_numeric(element).map_err(|reason| corrupt(offset, reason))? {
            let mut parsed = matfile::MatFile::parse(header.chain(element))
                .map_err(|error| corrupt(offset, &format!("a variable that cannot be read: {error}")))?
                .arrays()
                .clone();
            let array =
                parsed.pop().ok_or_else(|| corrupt(offset, "a variable whose parts do not fit its size"))?;
            variables.push(Variable { offset: offset as u64, array });
        }
        rest = after;
    }
    Ok(variables)
}

/// Type and size of the element that starts here.
fn tag(bytes: &[u8]) -> Option<(u32, usize)> {
    let size = u32_at(bytes, 4)?;
    Some((u32_at(bytes, 0)?, usize::try_from(size).ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let four = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().expect("four bytes")))
}

fn inflate(path: &Path, body: &[u8], offset: usize) -> Result<Vec<u8>, DataError> {
    let mut decoder = flate2::read::ZlibDecoder::new(body);
    let mut inflated = Vec::new();
    let result = decoder.by_ref().take(MAX_BYTES + 1).read_to_end(&mut inflated);
    if let Err(source) = result {
        let offset = (offset + TAG) as u64 + decoder.total_in();
        let reason = format!("compressed data cannot be inflated: {source}");
        return Err(DataError::Corrupt { path: path.to_path_buf(), offset, reason });
    }
    if inflated.len() as u64 > MAX_BYTES {
        return Err(over_limit(path, "a variable", inflated.len() as u64));
    }
    Ok(inflated)
}

fn over_limit(path: &Path, what: &str, bytes: u64) -> DataError {
    DataError::OverLimit {
        path: path.to_path_buf(),
        what: format!("{what} of {bytes} bytes or more"),
        limit: format!("{MAX_BYTES} bytes"),
    }
}

/// Whether a plain variable is an array of numbers; then its shape and its parts are such that `matfile` does not overflow.
fn is_numeric(element: &[u8]) -> Result<bool, &'static str> {
    const NUMERIC_CLASSES: std::ops::RangeInclusive<u32> = 6..=15; // double to uint64
    const DIMENSIONS: usize = TAG + 16; // after the array flags
    const INT32: u32 = 5;
    let truncated = "a variable too short for its header";
    if tag(element).ok_or(truncated)? != (MATRIX, element.len() - TAG) {
        return Err("a variable that is no matrix of the size it claims");
    }
    let class = u32_at(element, TAG + 8).ok_or(truncated)? & 0xff;
    if !NUMERIC_CLASSES.contains(&class) {
        return Ok(false);
    }
    let (kind, size) = element.get(DIMENSIONS..).and_then(tag).ok_or(truncated)?;
    let dimensions = element[DIMENSIONS + TAG..].get(..size).ok_or(truncated)?;
    if kind != INT32 || size < 8 || size % 4 != 0 {
        return Err("a variable with malformed dimensions");
    }
    let mut product = 1i32;
    for dimension in dimensions.chunks_exact(4) {
        let dimension = i32::from_le_bytes(dimension.try_into().expect("four bytes"));
        product = product
            .checked_mul(dimension)
            .filter(|&p| p >= 0)
            .ok_or("a variable with impossible dimensions")?;
    }
    if !parts_fit(&element[DIMENSIONS..]) {
        return Err("a variable whose parts do not fit its size");
    }
    Ok(true)
}

/// Whether dimensions, name and numbers, each behind a tag of its own, lie within the variable. `matfile` rounds their
/// sizes up before it looks, which overflows.
fn parts_fit(mut parts: &[u8]) -> bool {
    const PARTS: usize = 4; // dimensions, name, real and imaginary numbers
    for _ in 0..PARTS {
        if parts.is_empty() {
            break;
        }
        let Some((kind, size)) = tag(parts) else { return false };
        // With at most four bytes a part may have its size in the upper half of the type, and its bytes in the tag.
        let size = if kind > 0xffff { 0 } else { size };
        let Some(after) = parts[TAG..].get(size..) else { return false };
        // Filled up to eight bytes, but at the end.
        parts = after.get(size.next_multiple_of(8) - size..).unwrap_or_default();
    }
    true
}
