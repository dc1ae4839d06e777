//! Numeric arrays of MATLAB 5 files (MAT-File Format, MathWorks, version 5), without trust in a single length.
//!
//! ```text
//! file      128 bytes of header, then variables
//! variable  tag (type u32, size u32), then its content; type 15: the content is a whole variable, zlib
//! array     parts, each with a tag and filled up to 8 bytes: flags, dimensions, name, real numbers[, imaginary ones]
//! ```
//!
//! Only the arrays asked for are inflated, within a limit. Numbers may be stored in a smaller type than their array's.

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

/// An array of numbers.
pub(crate) struct Variable {
    /// Where it starts in the file.
    pub(crate) offset: u64,
    pub(crate) name: String,
    pub(crate) dimensions: Vec<usize>,
    pub(crate) numbers: Numbers,
}

/// The numbers of an array, the first dimension running fastest.
pub(crate) enum Numbers {
    Bytes(Vec<u8>),
    Doubles(Vec<f64>),
    /// Of another class, or complex: nothing that is read here.
    Other,
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
            let (dimensions, numbers) = array(&element, &header).map_err(|reason| corrupt(offset, reason))?;
            let name = String::from_utf8_lossy(header.name).into_owned();
            variables.push(Variable { offset: offset as u64, name, dimensions, numbers });
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
    class: Class,
    is_complex: bool,
    dimensions: &'a [u8],
    name: &'a [u8],
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Double,
    UInt8,
    /// With the bytes of a number.
    Other(u64),
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
        let class = match flags & 0xff {
            6 => Class::Double,
            9 => Class::UInt8,
            8 => Class::Other(1),           // int8
            10 | 11 => Class::Other(2),     // int16, uint16
            7 | 12 | 13 => Class::Other(4), // single, int32, uint32
            14 | 15 => Class::Other(8),     // int64, uint64
            _ => return Ok(None),
        };
        let (kind, size) = element.get(DIMENSIONS..).and_then(tag).ok_or(TRUNCATED)?;
        let dimensions = element[DIMENSIONS + TAG..].get(..size).ok_or(TRUNCATED)?;
        if kind != INT32 || size < 8 || size % 4 != 0 {
            return Err("a variable with malformed dimensions");
        }
        let name = element.get(DIMENSIONS + TAG + size.next_multiple_of(8)..).ok_or(TRUNCATED)?;
        tag(name).ok_or(TRUNCATED)?;
        let (_, name, _) = part(name).ok_or(PARTS_DO_NOT_FIT)?;
        Ok(Some(Self { class, is_complex: flags & COMPLEX != 0, dimensions, name }))
    }

    fn dimensions(&self) -> Vec<usize> {
        let dimension = |bytes: &[u8]| u32_at(bytes, 0).expect("four bytes") as usize;
        self.dimensions.chunks_exact(4).map(dimension).collect()
    }

    /// How many numbers the dimensions make: fewer than 2^31, as the dimensions are signed.
    fn count(&self) -> Result<usize, &'static str> {
        let product = self.dimensions().into_iter().try_fold(1usize, usize::checked_mul);
        let count = product.filter(|&count| i32::try_from(count).is_ok());
        count.ok_or("a variable with impossible dimensions")
    }

    /// Memory that the numbers take once read, however few bytes each is stored in.
    fn bytes(&self) -> Result<u64, &'static str> {
        let width = match self.class {
            Class::Double => 8,
            Class::UInt8 => 1,
            Class::Other(width) => width,
        };
        Ok(self.count()? as u64 * width * if self.is_complex { 2 } else { 1 })
    }
}

/// The part that starts here: its type, its bytes, and what follows, at a multiple of eight.
fn part(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (kind, size) = tag(bytes)?;
    if kind > 0xffff {
        // With at most four bytes a part may have its size in the upper half of the type, and its bytes in the tag.
        let small = bytes[4..TAG].get(..(kind >> 16) as usize)?;
        return Some((kind & 0xffff, small, &bytes[TAG..]));
    }
    let (content, after) = bytes[TAG..].split_at_checked(size)?;
    // Filled up to eight bytes, but at the end.
    Some((kind, content, after.get(size.next_multiple_of(8) - size..).unwrap_or_default()))
}

/// Dimensions and numbers of a whole plain variable.
fn array(element: &[u8], header: &Header<'_>) -> Result<(Vec<usize>, Numbers), &'static str> {
    if tag(element).ok_or(TRUNCATED)? != (MATRIX, element.len() - TAG) {
        return Err(NO_MATRIX);
    }
    let (_, _, rest) = part(&element[DIMENSIONS..]).ok_or(PARTS_DO_NOT_FIT)?;
    let (_, _, rest) = part(rest).ok_or(PARTS_DO_NOT_FIT)?; // the name
    let (kind, stored, _) = part(rest).ok_or(PARTS_DO_NOT_FIT)?;
    let numbers = match header.class {
        _ if header.is_complex => Numbers::Other,
        Class::UInt8 => Numbers::Bytes(bytes_of(kind, stored)?),
        Class::Double => Numbers::Doubles(doubles_of(kind, stored)?),
        Class::Other(_) => Numbers::Other,
    };
    let found = match &numbers {
        Numbers::Bytes(bytes) => bytes.len(),
        Numbers::Doubles(doubles) => doubles.len(),
        Numbers::Other => header.count()?,
    };
    if found != header.count()? {
        return Err("a variable with more or fewer numbers than its dimensions say");
    }
    Ok((header.dimensions(), numbers))
}

fn bytes_of(kind: u32, stored: &[u8]) -> Result<Vec<u8>, &'static str> {
    const UINT8: u32 = 2;
    if kind == UINT8 {
        Ok(stored.to_vec())
    } else {
        Err("a variable of type uint8 whose numbers are of another")
    }
}

/// Numbers of any stored type as doubles, which hold all but the largest 64-bit ones exactly.
fn doubles_of(kind: u32, stored: &[u8]) -> Result<Vec<f64>, &'static str> {
    fn each<const N: usize>(stored: &[u8], double: fn([u8; N]) -> f64) -> Result<Vec<f64>, &'static str> {
        let (numbers, rest) = stored.as_chunks::<N>();
        if rest.is_empty() {
            Ok(numbers.iter().copied().map(double).collect())
        } else {
            Err(PARTS_DO_NOT_FIT)
        }
    }
    match kind {
        1 => each(stored, |b| f64::from(i8::from_le_bytes(b))),
        2 => each(stored, |b| f64::from(u8::from_le_bytes(b))),
        3 => each(stored, |b| f64::from(i16::from_le_bytes(b))),
        4 => each(stored, |b| f64::from(u16::from_le_bytes(b))),
        5 => each(stored, |b| f64::from(i32::from_le_bytes(b))),
        6 => each(stored, |b| f64::from(u32::from_le_bytes(b))),
        7 => each(stored, |b| f64::from(f32::from_le_bytes(b))),
        9 => each(stored, f64::from_le_bytes),
        12 => each(stored, |b| i64::from_le_bytes(b) as f64),
        13 => each(stored, |b| u64::from_le_bytes(b) as f64),
        _ => Err("a variable whose numbers are of an unknown type"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn part_of(kind: u32, bytes: &[u8]) -> Vec<u8> {
        let mut part = [&kind.to_le_bytes()[..], &(bytes.len() as u32).to_le_bytes(), bytes].concat();
        part.resize(part.len().next_multiple_of(8), 0);
        part
    }

    /// A compressed vector of `numbers` zeros, each stored in a byte.
    fn variable(name: &str, class: u32, numbers: u32) -> Vec<u8> {
        let parts = [
            part_of(6, &[class.to_le_bytes(), [0; 4]].concat()),
            part_of(5, &[numbers.to_le_bytes(), 1u32.to_le_bytes()].concat()),
            part_of(1, name.as_bytes()),
            part_of(2, &vec![0; numbers as usize]),
        ];
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&part_of(MATRIX, &parts.concat())).unwrap();
        let body = encoder.finish().unwrap();
        [&COMPRESSED.to_le_bytes()[..], &(body.len() as u32).to_le_bytes(), &body].concat()
    }

    fn names_within(limit: u64, variables: &[Vec<u8>]) -> Result<Vec<String>, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut header = vec![b' '; HEADER];
        header[124..].copy_from_slice(&[0, 1, b'I', b'M']);
        std::fs::write(file.path(), [header, variables.concat()].concat()).unwrap();
        let read = read_within(limit, file.path(), &["X", "y"])?;
        Ok(read.into_iter().map(|variable| variable.name).collect())
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

    /// A plain variable of doubles, stored as numbers of another type.
    fn doubles(kind: u32, stored: &[u8], count: u32) -> Vec<u8> {
        let parts = [
            part_of(6, &[6u32.to_le_bytes(), [0; 4]].concat()),
            part_of(5, &[count.to_le_bytes(), 1u32.to_le_bytes()].concat()),
            part_of(1, b"y"),
            part_of(kind, stored),
        ];
        part_of(MATRIX, &parts.concat())
    }

    fn read_doubles(variable: Vec<u8>) -> Result<Vec<f64>, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut header = vec![b' '; HEADER];
        header[124..].copy_from_slice(&[0, 1, b'I', b'M']);
        std::fs::write(file.path(), [header, variable].concat()).unwrap();
        let mut read = read(file.path(), &["y"])?;
        match read.remove(0).numbers {
            Numbers::Doubles(numbers) => Ok(numbers),
            _ => panic!("not of doubles"),
        }
    }

    #[test]
    fn doubles_are_read_from_every_type_they_are_stored_in() {
        let cases: [(u32, Vec<u8>, f64); 10] = [
            (1, (-3i8).to_le_bytes().into(), -3.0),
            (2, 200u8.to_le_bytes().into(), 200.0),
            (3, (-300i16).to_le_bytes().into(), -300.0),
            (4, 60_000u16.to_le_bytes().into(), 60_000.0),
            (5, (-70_000i32).to_le_bytes().into(), -70_000.0),
            (6, 4_000_000_000u32.to_le_bytes().into(), 4e9),
            (7, 0.5f32.to_le_bytes().into(), 0.5),
            (9, 0.1f64.to_le_bytes().into(), 0.1),
            (12, (-5i64).to_le_bytes().into(), -5.0),
            (13, 5u64.to_le_bytes().into(), 5.0),
        ];
        for (kind, bytes, expected) in cases {
            let stored = [&bytes[..], &bytes].concat();
            assert_eq!(read_doubles(doubles(kind, &stored, 2)).unwrap(), [expected; 2], "type {kind}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_their_dimensions_are_an_error() {
        for (kind, stored, count) in
            [(2, vec![1; 3], 2), (2, vec![1; 3], 4), (9, vec![1; 12], 1), (14, vec![1; 8], 1)]
        {
            let refused = read_doubles(doubles(kind, &stored, count));
            assert!(matches!(refused, Err(DataError::Corrupt { offset: 128, .. })), "{kind}, {count}");
        }
    }
}
