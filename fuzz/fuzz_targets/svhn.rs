//! SVHN's MATLAB files.
#![no_main]

use burn_mcl::data::{Split, svhn};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("test_32x32.mat"), bytes).unwrap();
    let _ = svhn::load_partial(dir.path(), Split::Test);
});
