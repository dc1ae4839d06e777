//! PyTorch checkpoints: zip and legacy containers around a pickle; tar is refused.
#![no_main]

use std::fs;
use std::sync::OnceLock;

use burn::tensor::Device;
use burn_mcl::model::{MclModel, MclModelConfig, ResNetConfig, ResNetDepth};
use libfuzzer_sys::fuzz_target;

static MODEL: OnceLock<MclModel> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let model = MODEL.get_or_init(|| {
        let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(2);
        MclModelConfig::new(resnet).with_hidden(8).with_projection_dim(8).init_seeded(0, &Device::flex())
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.pt");
    fs::write(&path, bytes).unwrap();
    let _ = model.clone().load_pytorch(&path);
});
