//! Tar archives, gzipped or not.
#![no_main]

use std::fs;

use burn_mcl::data::archive;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    let (file, target) = (dir.path().join("archive"), dir.path().join("target"));
    fs::write(&file, bytes).unwrap();
    let extracted = archive::extract(&file, &target);
    if let Ok(files) = &extracted {
        assert_eq!(*files, files_in(&target));
    }
    // The archive, and the target once it is complete: nothing else, in whatever way it ended.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1 + usize::from(extracted.is_ok()));
});

fn files_in(folder: &std::path::Path) -> usize {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| if path.is_dir() { files_in(&path) } else { 1 }).sum()
}
