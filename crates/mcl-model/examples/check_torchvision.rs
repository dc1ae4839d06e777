//! Features of torchvision's ResNets, from weights that `tools/reference/torchvision_resnets.py` wrote,
//! compared with torchvision's own features.
//!
//! ```text
//! cargo run --release -p mcl-model --example check_torchvision -- target/torchvision
//! ```

use std::error::Error;
use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use mcl_model::{ResNetConfig, ResNetDepth, Stem};
use safetensors::SafeTensors;

/// Largest difference allowed, as a share of the largest feature.
const TOLERANCE: f32 = 5e-5;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(std::env::args().nth(1).ok_or("usage: check_torchvision DIRECTORY")?);
    let device = Device::flex();
    let mut within = true;
    for layers in [18, 34, 50] {
        let folder = directory.join(format!("resnet{layers}"));
        let content = std::fs::read(folder.join("outputs.safetensors"))?;
        let outputs = SafeTensors::deserialize(&content)?;
        let tensor = |name: &str| -> Result<TensorData, Box<dyn Error>> {
            let view = outputs.tensor(name)?;
            let values: Vec<f32> = view
                .data()
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
                .collect();
            Ok(TensorData::new(values, view.shape().to_vec()))
        };
        let depth = ResNetDepth::from_layers(layers).ok_or("no such depth")?;
        for (stem, name) in [(Stem::ImageNet, "features"), (Stem::Torchvision, "features_of_standardized")] {
            let config = ResNetConfig::new(depth).with_stem(stem);
            let encoders = [
                ("pth", config.init(&device).load_pytorch(folder.join("weights.pth"))?),
                ("safetensors", config.init(&device).load_safetensors(folder.join("weights.safetensors"))?),
            ];
            let expected = tensor(name)?;
            let largest = expected.iter::<f32>().fold(0.0, |largest: f32, value| largest.max(value.abs()));
            for (format, encoder) in encoders {
                let features = encoder.forward(Tensor::from_data(tensor("images")?, &device)).into_data();
                let pairs = features.iter::<f32>().zip(expected.iter::<f32>());
                let difference = pairs.fold(0.0, |worst: f32, (found, expected)| {
                    let difference = (found - expected).abs();
                    if difference.is_nan() { f32::INFINITY } else { worst.max(difference) }
                });
                println!(
                    "resnet{layers}, {stem:?}, {format}: max |difference| {difference:.1e}, largest feature {largest:.3}"
                );
                within &= difference <= TOLERANCE * largest;
            }
        }
    }
    if within { Ok(()) } else { Err(format!("differences above {TOLERANCE} of the largest feature").into()) }
}
