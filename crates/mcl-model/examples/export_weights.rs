//! Writes networks for `tools/check_weights.py check`: configuration, weights, and what the network makes of
//! images.
//!
//! ```text
//! cargo run --release -p mcl-model --example export_weights -- target/weights
//! ```

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use mcl_model::{EncoderConfig, FastNetConfig, MclModelConfig, ResNetConfig, ResNetDepth, Stem};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(std::env::args().nth(1).ok_or("usage: export_weights DIRECTORY")?);
    let resnet = |depth, stem| ResNetConfig::new(depth).with_stem(stem);
    let networks: [(_, EncoderConfig, _); 7] = [
        ("resnet18-cifar", resnet(ResNetDepth::ResNet18, Stem::Cifar).into(), [32, 32]),
        ("resnet34-cifar-w20", resnet(ResNetDepth::ResNet34, Stem::Cifar).with_width(20).into(), [32, 32]),
        ("resnet18-imagenet", resnet(ResNetDepth::ResNet18, Stem::ImageNet).into(), [97, 64]),
        ("resnet34-imagenet", resnet(ResNetDepth::ResNet34, Stem::ImageNet).into(), [64, 64]),
        ("resnet50-imagenet", resnet(ResNetDepth::ResNet50, Stem::ImageNet).into(), [64, 65]),
        ("fastnet", FastNetConfig::new().into(), [32, 32]),
        ("fastnet-residual", FastNetConfig::new().with_residual(true).into(), [33, 40]),
    ];
    for (name, encoder, size) in networks {
        let directory = directory.join(name);
        fs::create_dir_all(&directory)?;
        let config = MclModelConfig::new(encoder);
        config.save(directory.join("config.json"))?;

        let device = Device::flex().autodiff();
        let model = config.init_seeded(0, &device);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        // Two batches in training mode move the running statistics away from 0 and 1.
        for _ in 0..2 {
            model.forward(Tensor::from_data(images(&mut rng, 4, size), &device));
        }
        model.save_safetensors(directory.join("weights.safetensors"))?;

        let images = images(&mut rng, 2, size);
        let embedding = model.valid().forward(Tensor::from_data(images.clone(), &Device::flex()));
        let outputs = [
            ("images", images),
            ("features", embedding.features.into_data()),
            ("projections", embedding.projections.into_data()),
        ];
        let views = outputs
            .iter()
            .map(|(name, data)| {
                Ok((*name, TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes())?))
            })
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        fs::write(directory.join("outputs.safetensors"), safetensors::serialize(views, None)?)?;
        println!("{}", directory.display());
    }
    Ok(())
}

/// Uniform pixels in [0, 1).
fn images(rng: &mut ChaCha8Rng, count: usize, [height, width]: [usize; 2]) -> TensorData {
    let values: Vec<f32> = (0..count * 3 * height * width).map(|_| rng.random()).collect();
    TensorData::new(values, [count, 3, height, width])
}
