//! A data set and a run that take seconds.
#![allow(dead_code)] // each test binary uses its part

use std::path::{Path, PathBuf};
use std::{env, fs};

use burn_mcl::data::ImageSet;
use burn_mcl::model::{MclModel, MclModelConfig, ResNetConfig, ResNetDepth};
use burn_mcl::train::TrainConfig;
use sha2::{Digest, Sha256};

/// Two classes of 8 x 8 images, `per_class` each: a bright corner, left or right, on noise.
pub(crate) fn corners(per_class: usize, seed: u64) -> ImageSet {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut noise = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 58) as u8 // 0..64
    };
    let labels: Vec<usize> = (0..2 * per_class).map(|i| i % 2).collect();
    let mut pixels = Vec::new();
    for &label in &labels {
        for _channel in 0..3 {
            for row in 0..8 {
                for column in 0..8 {
                    let bright = row < 4 && (column < 4) == (label == 0);
                    pixels.push(noise() + if bright { 150 } else { 20 });
                }
            }
        }
    }
    ImageSet::new(pixels, (8, 8), labels, vec!["left".into(), "right".into()]).unwrap()
}

/// Four steps an epoch over 32 images, the network as small as it gets.
pub(crate) fn tiny_run(steps: usize) -> TrainConfig {
    let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(2);
    TrainConfig::new()
        .with_model(MclModelConfig::new(resnet).with_hidden(8).with_projection_dim(8))
        .with_images_per_batch(8)
        .with_steps(Some(steps))
        .with_checkpoint_every(2)
        .with_seed(3)
}

/// Makes the manifest of a directory fit its files again, after one of them was rewritten.
pub(crate) fn seal(path: &Path) {
    let manifest = path.join("manifest.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    for (name, entry) in json["files"].as_object_mut().unwrap() {
        let bytes = fs::read(path.join(name)).unwrap();
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        *entry = serde_json::json!({ "bytes": bytes.len(), "sha256": hash });
    }
    fs::write(manifest, serde_json::to_vec(&json).unwrap()).unwrap();
}

/// Every weight and running statistic, as bytes.
pub(crate) fn bits(model: &MclModel) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    model.save_safetensors(&path).unwrap();
    fs::read(path).unwrap()
}

/// The example beside this test, which `cargo test` and `cargo build --examples` build.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not there: build it with `cargo build --examples`", path.display());
    path
}
