//! CIFAR-10's and CIFAR-100's binary files.
#![no_main]

use std::fs;

use burn_mcl::data::{Split, cifar10, cifar100};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["cifar-10-batches-bin", "cifar-100-binary"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    fs::write(dir.path().join("cifar-10-batches-bin/test_batch.bin"), bytes).unwrap();
    fs::write(dir.path().join("cifar-100-binary/test.bin"), bytes).unwrap();
    let _ = cifar10::load_partial(dir.path(), Split::Test);
    let _ = cifar100::load_partial(dir.path(), Split::Test);
});
