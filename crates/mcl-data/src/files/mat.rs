//! Numeric arrays of MATLAB 5 files, read by the `matfile` crate behind a guard.
//!
//! On its own that crate inflates without bound, follows compressed data inside compressed data, reports to standard
//! output, and takes a truncated file for one with fewer variables. So the list of variables is walked here, those asked
//! for are inflated here (flate2, with a limit) and their shapes checked; `matfile` then sees one plain variable at a time.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use crate::DataError;

const HEADER: usize = 128;
const TAG: usize = 8;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
/// Largest file read, and most that the variables asked for may take together, in bytes. SVHN's largest file holds 1.6 GB.
const MAX_BYTES: u64 = 2 << 30;
/// First bytes of a variable, which tell its class, its dimensions and its name.
const HEAD: u64 = 4096;

/// An array, and where its variable starts in the file.
pub(crate) struct Variable {
    pub(crate) offset: u64,
    pub(crate) array: matfile::Array,
}

/// The numeric arrays of the file that are called one of `names`; nothing else is unpacked.
///
/// # Errors
/// [`DataError::Io`], [`DataError::OverLimit`], [`DataError::Corrupt`]
pub(crate) fn read(path: &Path, names: &[&str]) -> Result<Vec<Variable>, DataError> {
    read_within(MAX_BYTES, path, names)
}

fn read_within(limit: u64, path: &Path, names: &[&str]) -> Result<Vec<Variable>, DataError> {
    let length = std::fs::metadata(path).map_err(DataError::io("read", path))?.len();
    if length > MAX_BYTES {
        return Err(over_limit(path, "a file", length, MAX_BYTES));
    }
    let bytes = std::fs::read(path).map_err(DataError::io("read", path))?;
    let corrupt = |offset: usize, reason: &str| DataError::Corrupt {
        path: path.to_path_buf(),
        offset: offset as u64,
        reason: reason.to_string(),
    };
    let Some((file_header, mut rest)) = bytes.split_at_checked(HEADER) else {
        return Err(corrupt(bytes.len(), "a MATLAB 5 file starts with a header of 128 bytes"));
    };
    if file_header[124..] != [0, 1, b'I', b'M'] {
        return Err(corrupt(124, "not a little-endian MATLAB 5 file; save it with -v7, not -v7.3"));
    }
    let mut variables = Vec::new();
    let mut left = limit;
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
        let first_bytes = |most: u64| match kind {
            COMPRESSED => inflate(path, body, offset, most).map(Cow::Owned),
            _ => Ok(Cow::Borrowed(&rest[..TAG + size])),
        };
        let head = first_bytes(HEAD)?;
        let header = Header::read(&head).map_err(|reason| corrupt(offset, reason))?;
        let is_wanted = |header: &Header<'_>| names.iter().any(|name| name.as_bytes() == header.name);
        if let Some(header) = header.filter(is_wanted) {
            let bytes = header.bytes().map_err(|reason| corrupt(offset, reason))?;
            if bytes > left {
                return Err(over_limit(path, "arrays", limit - left + bytes, limit));
            }
            let element = first_bytes(left + 1)?;
            let taken = bytes.max(element.len() as u64);
            let too_much = || over_limit(path, "variables", limit - left + taken, limit);
            left = left.checked_sub(taken).ok_or_else(too_much)?;
            check_parts(&element).map_err(|reason| corrupt(offset, reason))?;
            let mut parsed = matfile::MatFile::parse(file_header.chain(&element[..]))
                .map_err(|error| corrupt(offset, &format!("a variable that cannot be read: {error}")))?
                .arrays()
                .clone();
            let array = parsed.pop().ok_or_else(|| corrupt(offset, PARTS_DO_NOT_FIT))?;
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

/// The first bytes of a compressed variable, `most` of them or all.
fn inflate(path: &Path, body: &[u8], offset: usize, most: u64) -> Result<Vec<u8>, DataError> {
    let mut decoder = flate2::read::ZlibDecoder::new(body);
    let mut inflated = Vec::new();
    if let Err(source) = decoder.by_ref().take(most).read_to_end(&mut inflated) {
        let offset = (offset + TAG) as u64 + decoder.total_in();
        let reason = format!("compressed data cannot be inflated: {source}");
        return Err(DataError::Corrupt { path: path.to_path_buf(), offset, reason });
    }
    Ok(inflated)
}

fn over_limit(path: &Path, what: &str, bytes: u64, limit: u64) -> DataError {
    DataError::OverLimit {
        path: path.to_path_buf(),
        what: format!("{what} of {bytes} bytes or more"),
        limit: format!("{limit} bytes"),
    }
}

const TRUNCATED: &str = "a variable too short for its header";
const NO_MATRIX: &str = "a variable that is no matrix of the size it claims";
const PARTS_DO_NOT_FIT: &str = "a variable whose parts do not fit its size";
/// Where the dimensions of a variable are: after the array flags.
const DIMENSIONS: usize = TAG + 16;

/// What an array of numbers says about itself.
struct Header<'a> {
    /// Bytes of a number.
    width: u64,
    is_complex: bool,
    dimensions: &'a [u8],
    name: &'a [u8],
}

impl<'a> Header<'a> {
    /// From the first bytes of a plain variable; `None` if it is no array of numbers.
    fn read(element: &'a [u8]) -> Result<Option<Self>, &'static str> {
        const INT32: u32 = 5;
        const COMPLEX: u32 = 0x0800;
        if tag(element).ok_or(TRUNCATED)?.0 != MATRIX {
            return Err(NO_MATRIX);
        }
        let flags = u32_at(element, TAG + 8).ok_or(TRUNCATED)?;
        let width = match flags & 0xff {
            6 | 14 | 15 => 8, // double, int64, uint64
            7 | 12 | 13 => 4, // single, int32, uint32
            10 | 11 => 2,
            8 | 9 => 1,
            _ => return Ok(None),
        };
        let (kind, size) = element.get(DIMENSIONS..).and_then(tag).ok_or(TRUNCATED)?;
        let dimensions = element[DIMENSIONS + TAG..].get(..size).ok_or(TRUNCATED)?;
        if kind != INT32 || size < 8 || size % 4 != 0 {
            return Err("a variable with malformed dimensions");
        }
        let name = element.get(DIMENSIONS + TAG + size.next_multiple_of(8)..).ok_or(TRUNCATED)?;
        let (kind, size) = tag(name).ok_or(TRUNCATED)?;
        // With at most four bytes a part may have its size in the upper half of the type, and its bytes in the tag.
        let name =
            if kind > 0xffff { name[4..].get(..(kind >> 16) as usize) } else { name[TAG..].get(..size) };
        let name = name.ok_or(PARTS_DO_NOT_FIT)?;
        Ok(Some(Self { width, is_complex: flags & COMPLEX != 0, dimensions, name }))
    }

    /// Memory that the numbers take once read, however few bytes each is stored in.
    fn bytes(&self) -> Result<u64, &'static str> {
        let mut numbers = 1i32; // which `matfile` counts in
        for dimension in self.dimensions.chunks_exact(4) {
            let dimension = i32::from_le_bytes(dimension.try_into().expect("four bytes"));
            numbers = numbers
                .checked_mul(dimension)
                .filter(|&numbers| numbers >= 0)
                .ok_or("a variable with impossible dimensions")?;
        }
        Ok(numbers as u64 * self.width * if self.is_complex { 2 } else { 1 })
    }
}

/// Whether a whole variable is as long as it says, and holds its parts, so that `matfile` does not overflow.
fn check_parts(element: &[u8]) -> Result<(), &'static str> {
    if tag(element).ok_or(TRUNCATED)? != (MATRIX, element.len() - TAG) {
        return Err(NO_MATRIX);
    }
    if !parts_fit(&element[DIMENSIONS..]) {
        return Err(PARTS_DO_NOT_FIT);
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn part(kind: u32, bytes: &[u8]) -> Vec<u8> {
        let mut part = [&kind.to_le_bytes()[..], &(bytes.len() as u32).to_le_bytes(), bytes].concat();
        part.resize(part.len().next_multiple_of(8), 0);
        part
    }

    /// A compressed vector of `numbers` zeros, each stored in a byte.
    fn variable(name: &str, class: u32, numbers: u32) -> Vec<u8> {
        let parts = [
            part(6, &[class.to_le_bytes(), [0; 4]].concat()),
            part(5, &[numbers.to_le_bytes(), 1u32.to_le_bytes()].concat()),
            part(1, name.as_bytes()),
            part(2, &vec![0; numbers as usize]),
        ];
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&part(MATRIX, &parts.concat())).unwrap();
        let body = encoder.finish().unwrap();
        [&COMPRESSED.to_le_bytes()[..], &(body.len() as u32).to_le_bytes(), &body].concat()
    }

    fn names_within(limit: u64, variables: &[Vec<u8>]) -> Result<Vec<String>, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut header = vec![b' '; HEADER];
        header[124..].copy_from_slice(&[0, 1, b'I', b'M']);
        std::fs::write(file.path(), [header, variables.concat()].concat()).unwrap();
        let read = read_within(limit, file.path(), &["X", "y"])?;
        Ok(read.iter().map(|variable| variable.array.name().to_string()).collect())
    }

    #[test]
    fn only_what_is_asked_for_is_unpacked() {
        const UINT8: u32 = 9;
        let other = variable("meanimage", UINT8, 1 << 20);
        let file = [other.clone(), variable("X", UINT8, 9000), other, variable("y", UINT8, 9)];
        assert_eq!(names_within(10_000, &file).unwrap(), ["X", "y"]);
    }

    #[test]
    fn memory_is_bounded_by_what_the_numbers_become_and_over_the_file() {
        const DOUBLE: u32 = 6;
        const UINT8: u32 = 9;
        let refused = |variables: &[Vec<u8>]| {
            matches!(names_within(10_000, variables), Err(DataError::OverLimit { .. }))
        };
        let bytes = variable("X", UINT8, 4000);
        assert!(names_within(10_000, &[bytes.clone(), bytes.clone()]).is_ok());
        assert!(refused(&[bytes.clone(), bytes.clone(), bytes]), "the sum");
        assert!(refused(&[variable("X", UINT8, 1 << 20)]));
        assert!(refused(&[variable("X", DOUBLE, 4000)]), "eight bytes each, once read");
        assert!(names_within(10_000, &[variable("X", DOUBLE, 1000)]).is_ok());
    }
}
