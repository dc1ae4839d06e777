//! The networks and reference numbers of `tests/golden`.

#![allow(dead_code, unreachable_pub)] // Shared by test binaries that each use a part.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use mcl_model::{FastNetConfig, MclModel, MclModelConfig, ResNetConfig, ResNetDepth, Stem};
use safetensors::SafeTensors;

/// The networks whose gradients are stored.
pub const GRADIENTS_OF_NETWORKS: [&str; 6] = [
    "resnet18-w8",
    "resnet50-w8",
    "resnet50-w4",
    "resnet34-w2-imagenet",
    "fastnet-w8",
    "fastnet-w4-residual",
];

/// A network with its stored weights.
pub fn load(name: &str, device: &Device) -> MclModel {
    match name {
        "resnet18-w8" => resnet18().init(device).load_pytorch(path("resnet18-w8.pt")).unwrap(),
        "resnet50-w8" => resnet50(8).init(device).load_safetensors(path("resnet50-w8.safetensors")).unwrap(),
        "resnet50-w4" => resnet50(4).init(device).load_safetensors(path("resnet50-w4.safetensors")).unwrap(),
        "resnet34-w2-imagenet" => {
            resnet34_imagenet().init(device).load_pytorch(path("resnet34-w2-imagenet.pt")).unwrap()
        }
        "fastnet-w8" => fast_net().init(device).load_pytorch(path("fastnet-w8.pt")).unwrap(),
        "fastnet-w4-residual" => {
            let file = path("fastnet-w4-residual.safetensors");
            fast_net_residual().init(device).load_safetensors(file).unwrap()
        }
        other => panic!("no network {other}"),
    }
}

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub fn resnet18() -> MclModelConfig {
    let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(8);
    MclModelConfig::new(resnet).with_hidden(32).with_projection_dim(16)
}

pub fn resnet50(width: usize) -> MclModelConfig {
    let resnet = ResNetConfig::new(ResNetDepth::ResNet50).with_width(width);
    MclModelConfig::new(resnet).with_hidden(32).with_projection_dim(16)
}

pub fn resnet34_imagenet() -> MclModelConfig {
    let resnet =
        ResNetConfig::new(ResNetDepth::ResNet34).with_stem(Stem::ImageNet).with_width(2).with_in_channels(1);
    MclModelConfig::new(resnet).with_hidden(8).with_projection_dim(4)
}

pub fn fast_net() -> MclModelConfig {
    let encoder = FastNetConfig::new().with_widths([8, 12, 16]);
    MclModelConfig::new(encoder).with_hidden(16).with_projection_dim(8).with_classifier(6)
}

pub fn fast_net_residual() -> MclModelConfig {
    let encoder = FastNetConfig::new().with_widths([4, 6, 8]).with_in_channels(1).with_residual(true);
    MclModelConfig::new(encoder).with_hidden(8).with_projection_dim(4)
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

/// A gradient as two numbers.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
pub struct Gradient {
    pub norm: f64,
    /// Sum of `gradient[i] * cos(i)` in PyTorch's order: sees the sign and the order of the values.
    pub probe: f64,
}

/// Fails when a gradient of `mean(projections^2)`, or of that plus `mean(logits^2)` where there is a classifier, is not
/// PyTorch's in training mode, relative to its norm.
pub fn assert_gradients(name: &str, device: &Device, tolerance: f64) {
    let golden = Golden::open(name);
    let model = load(name, device);
    let embedding = model.forward(golden.tensor("train_images", device));
    let mut loss = embedding.projections.square().mean();
    if let Some(logits) = embedding.logits {
        loss = loss + logits.square().mean();
    }
    let gradients = loss.backward();
    let mut found = GradientVisitor { gradients, path: Vec::new(), found: BTreeMap::new() };
    model.visit(&mut found);
    let expected = std::fs::read_to_string(path(&format!("{name}.gradients.json"))).unwrap();
    let expected: BTreeMap<String, Gradient> = serde_json::from_str(&expected).unwrap();
    assert_eq!(found.found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, expected) in expected {
        let found = found.found[&name];
        let error = (found.norm - expected.norm).abs().max((found.probe - expected.probe).abs());
        assert!(error <= tolerance * expected.norm, "{name}: {found:?}, PyTorch {expected:?}");
    }
}

struct GradientVisitor {
    gradients: Gradients,
    path: Vec<String>,
    found: BTreeMap<String, Gradient>,
}

impl ModuleVisitor for GradientVisitor {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // Running statistics have no gradient.
        let Some(gradient) = param.val().grad(&self.gradients) else { return };
        let (dims, values) =
            (gradient.dims().to_vec(), gradient.into_data().iter::<f64>().collect::<Vec<_>>());
        // Burn's linear layers are [in, out], PyTorch's [out, in].
        let values = match dims[..] {
            [rows, columns] => (0..rows * columns).map(|i| values[i % rows * columns + i / rows]).collect(),
            _ => values,
        };
        let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
        let probe = values.iter().enumerate().map(|(i, value)| value * (i as f64).cos()).sum();
        self.found.insert(pytorch_name(&self.path.join(".")), Gradient { norm, probe });
    }
}

/// From the path of a field. Checkpoints name weights by these paths: a failure here is a break of their
/// format.
fn pytorch_name(path: &str) -> String {
    let renames = [
        ("encoder.", "enc."),
        (".Basic.", "."),
        (".Bottleneck.", "."),
        (".downsample.conv.", ".downsample.0."),
        (".downsample.bn.", ".downsample.1."),
        ("projector.linear1.", "projector.0."),
        ("projector.linear2.", "projector.2."),
        (".gamma", ".weight"),
        (".beta", ".bias"),
    ];
    renames.iter().fold(path.to_owned(), |name, (ours, theirs)| name.replace(ours, theirs))
}
