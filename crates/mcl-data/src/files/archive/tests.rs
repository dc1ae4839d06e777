//! Archives as an attacker or a broken connection would make them.

use super::*;
use flate2::{Compression, write::GzEncoder};
use std::io::Write;

/// A tar whose entry names are written as given, however hostile.
pub(crate) fn tar(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for &(name, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        if kind == EntryType::Symlink || kind == EntryType::Link {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const FILE: EntryType = EntryType::Regular;

struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn with(archive: &[u8]) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.tar.gz"), archive).unwrap();
        Self { root }
    }

    fn extract(&self) -> Result<usize, DataError> {
        extract(&self.root.path().join("a.tar.gz"), &self.target())
    }

    fn target(&self) -> PathBuf {
        self.root.path().join("out")
    }

    /// Everything in the folder but the archive.
    fn leftovers(&self) -> Vec<String> {
        let names = fs::read_dir(self.root.path()).unwrap();
        names.map(|e| e.unwrap().file_name().into_string().unwrap()).filter(|n| n != "a.tar.gz").collect()
    }
}

#[test]
fn files_and_folders_are_extracted() {
    let entries: &[(&str, EntryType, &[u8])] = &[
        ("./", EntryType::Directory, b""),
        ("./d/", EntryType::Directory, b""),
        ("d/x", FILE, b"one"),
        ("./y", FILE, b""),
    ];
    for archive in [tar(entries), gzip(&tar(entries))] {
        let place = Place::with(&archive);
        assert_eq!(place.extract().unwrap(), 2);
        assert_eq!(fs::read(place.target().join("d/x")).unwrap(), b"one");
        assert_eq!(fs::read(place.target().join("y")).unwrap(), b"");
        assert_eq!(place.leftovers(), ["out"]);
        assert!(matches!(place.extract(), Err(DataError::Io { .. })), "an existing target is left alone");
    }
}

#[test]
fn nothing_leaves_the_target() {
    let outside = "../escaped";
    let cases: &[(&str, EntryType)] = &[
        (outside, FILE),
        ("d/../../escaped", FILE),
        ("/escaped-burn-mcl-test", FILE),
        ("..", EntryType::Directory),
        ("/escaped-burn-mcl-test", EntryType::Directory),
        ("link", EntryType::Symlink),
        ("link", EntryType::Link),
        ("fifo", EntryType::Fifo),
        ("device", EntryType::Char),
    ];
    for &(name, kind) in cases {
        let content: &[u8] = if kind == FILE { b"payload" } else { b"" };
        let place = Place::with(&gzip(&tar(&[("first", FILE, b"fine"), (name, kind, content)])));
        match place.extract() {
            Err(DataError::UnsafeEntry { entry, .. }) => assert_eq!(entry, name),
            other => panic!("{name} {kind:?}: {other:?}"),
        }
        assert!(place.leftovers().is_empty(), "{name} left {:?}", place.leftovers());
        assert!(!Path::new("/escaped-burn-mcl-test").exists());
    }
    let place = Place::with(&tar(&[("x", FILE, b"1"), ("./x", FILE, b"2")]));
    assert!(matches!(place.extract(), Err(DataError::UnsafeEntry { reason: "it appears twice", .. })));
}

#[test]
fn a_cut_or_flipped_archive_is_an_error_and_leaves_nothing() {
    let noise: Vec<u8> = (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let plain = tar(&[("a", FILE, &noise), ("b", FILE, &noise)]);
    let good = gzip(&plain);
    assert_eq!(Place::with(&good).extract().unwrap(), 2);
    assert_eq!(Place::with(&plain).extract().unwrap(), 2);
    let check = |bad: &[u8], what: &str| {
        let place = Place::with(bad);
        match place.extract() {
            Err(DataError::Corrupt { offset, .. }) => assert!(offset <= bad.len() as u64, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        assert!(place.leftovers().is_empty(), "{what}");
    };
    for cut in [10, 100, good.len() / 2, good.len() - 600, good.len() - 8, good.len() - 1] {
        check(&good[..cut], &format!("cut at {cut}"));
    }
    let entry = 512 + 20_000usize.next_multiple_of(512);
    for cut in [
        0,
        300,
        512,
        1000,
        entry - 1,
        entry,
        entry + 300,
        entry + 512,
        2 * entry - 1,
        2 * entry,
        2 * entry + 300,
    ] {
        check(&plain[..cut], &format!("plain, cut at {cut}"));
        check(&gzip(&plain[..cut]), &format!("cut at {cut}, then packed"));
    }
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x10;
    check(&flipped, "flipped");
    check(b"not an archive, but long enough for a header of a tar".repeat(20).as_slice(), "text");
}

#[test]
fn what_a_killed_process_left_is_not_taken_up() {
    let place = Place::with(&tar(&[("x", FILE, b"new")]));
    let left = place.root.path().join(".out.0.partial");
    for folder in [&left, &place.root.path().join(".out.1.partial")] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("x"), "old").unwrap();
        fs::write(folder.join("y"), "old").unwrap();
    }
    assert_eq!(place.extract().unwrap(), 1);
    assert_eq!(fs::read_dir(place.target()).unwrap().count(), 1);
    assert_eq!(fs::read(place.target().join("x")).unwrap(), b"new");
    assert_eq!(fs::read(left.join("y")).unwrap(), b"old", "it may be another process's");
}

#[test]
fn an_entry_that_claims_terabytes_is_refused() {
    let mut bytes = tar(&[("big", FILE, b"small")]);
    let mut header = tar::Header::from_byte_slice(&bytes[..512]).clone();
    header.set_size(1 << 42);
    header.set_cksum();
    bytes[..512].copy_from_slice(header.as_bytes());
    assert!(matches!(Place::with(&bytes).extract(), Err(DataError::OverLimit { .. })));
}

#[test]
fn names_and_padding_without_end_are_refused() {
    let long_name = vec![b'a'; 3 << 20];
    let bytes = tar(&[("././@LongLink", EntryType::GNULongName, &long_name), ("x", FILE, b"1")]);
    let padded = [tar(&[("x", FILE, b"1")]), vec![0; 3 << 20]].concat();
    for archive in [bytes, padded] {
        match Place::with(&gzip(&archive)).extract() {
            Err(DataError::Corrupt { reason, .. }) => assert!(reason.contains("1 MiB"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn damaged_headers_never_write_outside() {
    let good = tar(&[("d/x", FILE, b"one"), ("y", FILE, b"two")]);
    for position in (0..6).chain(100..160).chain(255..268).chain(345..350) {
        for value in [0, b'.', b'/', 0xff] {
            let mut header = tar::Header::from_byte_slice(&good[..512]).clone();
            header.as_mut_bytes()[position] = value;
            header.set_cksum();
            let place = Place::with(&[header.as_bytes(), &good[512..]].concat());
            let _either = place.extract();
            assert!(place.leftovers().iter().all(|name| name == "out"), "byte {position} = {value}");
        }
    }
}

#[test]
fn wanted_files_are_read_into_memory() {
    let place = Place::with(&gzip(&tar(&[("d/x.png", FILE, b"one"), ("readme", FILE, b"two")])));
    let files = read(&place.root.path().join("a.tar.gz"), crate::sets::folder::is_picture).unwrap();
    assert_eq!(files, [(PathBuf::from("d/x.png"), b"one".to_vec())]);
}
