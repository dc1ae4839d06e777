//! The networks and reference numbers of `tests/golden`.

#![allow(dead_code, unreachable_pub)] // Shared by test binaries that each use a part.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use mcl_model::{MclModelConfig, ResNetConfig, ResNetDepth, Stem};
use safetensors::SafeTensors;

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub fn resnet18() -> MclModelConfig {
    let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(8);
    MclModelConfig::new(resnet).with_hidden(32).with_projection_dim(16)
}

pub fn resnet50() -> MclModelConfig {
    let resnet = ResNetConfig::new(ResNetDepth::ResNet50).with_width(8);
    MclModelConfig::new(resnet).with_hidden(32).with_projection_dim(16)
}

pub fn resnet34_imagenet() -> MclModelConfig {
    let resnet =
        ResNetConfig::new(ResNetDepth::ResNet34).with_stem(Stem::ImageNet).with_width(2).with_in_channels(1);
    MclModelConfig::new(resnet).with_hidden(8).with_projection_dim(4)
}

/// The f32 tensors of a file by name.
pub struct Golden(Vec<u8>);

impl Golden {
    pub fn open(name: &str) -> Self {
        Self(std::fs::read(path(&format!("{name}.golden.safetensors"))).unwrap())
    }

    pub fn data(&self, name: &str) -> TensorData {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap();
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        TensorData::new(values, view.shape().to_vec())
    }

    pub fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        Tensor::from_data(self.data(name), device)
    }
}

/// Fails when any value is further than `tolerance` from the expected one, or not a number.
pub fn assert_within(what: &str, found: &TensorData, expected: &TensorData, tolerance: f32) {
    assert_eq!(found.shape(), expected.shape(), "{what}: shapes");
    let worst = found
        .iter::<f32>()
        .zip(expected.iter::<f32>())
        .map(|(found, expected)| (found - expected).abs())
        .fold(0.0, |worst: f32, error| if error.is_nan() { f32::INFINITY } else { worst.max(error) });
    assert!(worst <= tolerance, "{what}: off by {worst}, allowed is {tolerance}");
}
