//! Pictures of any format, as a folder of pictures reads them.
#![no_main]

use std::fs;

use burn_mcl::data::image_folder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    let class = dir.path().join("class");
    fs::create_dir(&class).unwrap();
    // The format is told by the content.
    fs::write(class.join("picture.png"), bytes).unwrap();
    if let Ok(set) = image_folder::load(dir.path(), (8, 8)) {
        assert!(set.iter_pixels().all(|pixels| pixels.len() == 3 * 8 * 8));
    }
});
