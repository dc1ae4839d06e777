//! A saved detector: one of its files is replaced (the first byte says which) and the manifest made to fit, so that
//! what is behind the hashes is reached; or the manifest itself is replaced.
#![no_main]

use std::fs;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use burn_mcl::detector::Detector;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/burn-mcl/tests/artifact-v1/detector");
const FILES: [&str; 5] =
    ["manifest.json", "detector.json", "gaussians.safetensors", "calibration.safetensors", "model.safetensors"];

fuzz_target!(|bytes: &[u8]| {
    let Some((&which, content)) = bytes.split_first() else { return };
    let dir = tempfile::tempdir().unwrap();
    for file in FILES {
        fs::copy(Path::new(KEPT).join(file), dir.path().join(file)).unwrap();
    }
    let file = FILES[usize::from(which) % FILES.len()];
    fs::write(dir.path().join(file), content).unwrap();
    if file != "manifest.json" {
        let manifest = dir.path().join("manifest.json");
        let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
        let hash: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        json["files"][file] = serde_json::json!({ "bytes": content.len(), "sha256": hash });
        fs::write(manifest, serde_json::to_vec(&json).unwrap()).unwrap();
    }
    if let Ok(detector) = Detector::load(dir.path(), &Device::flex()) {
        let (height, width) = detector.image_size();
        if height * width <= 64 * 64 {
            let images = Tensor::ones([1, 3, height, width], &Device::flex()) * 0.5;
            let _ = detector.detect(images);
        }
    }
});
