//! Outputs, training-mode outputs and gradients against PyTorch.

mod common;

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use common::{Golden, assert_within};
use mcl_model::MclModel;

/// Absolute, on outputs of order 1.
const OUTPUT_TOLERANCE: f32 = 1e-4;
/// Relative.
const GRADIENT_TOLERANCE: f64 = 1e-3;

fn resnet18(device: &Device) -> MclModel {
    common::resnet18().init(device).load_pytorch(common::path("resnet18-w8.pt")).unwrap()
}

fn resnet50(device: &Device) -> MclModel {
    common::resnet50().init(device).load_safetensors(common::path("resnet50-w8.safetensors")).unwrap()
}

fn resnet34_imagenet(device: &Device) -> MclModel {
    common::resnet34_imagenet().init(device).load_pytorch(common::path("resnet34-w2-imagenet.pt")).unwrap()
}

#[test]
fn resnet18_evaluates_as_pytorch() {
    evaluates_as_pytorch("resnet18-w8", resnet18);
}

#[test]
fn resnet50_evaluates_as_pytorch() {
    evaluates_as_pytorch("resnet50-w8", resnet50);
}

#[test]
fn resnet34_with_imagenet_stem_evaluates_as_pytorch() {
    evaluates_as_pytorch("resnet34-w2-imagenet", resnet34_imagenet);
}

fn evaluates_as_pytorch(name: &str, load: fn(&Device) -> MclModel) {
    let golden = Golden::open(name);
    let plain = Device::flex();
    // A model on a plain device, and the validation snapshot of one that trains.
    let models = [load(&plain), load(&plain.clone().autodiff()).valid()];
    for model in models {
        let embedding = model.forward(golden.tensor("images", &plain));
        let (features, projections) = (embedding.features.into_data(), embedding.projections.into_data());
        assert_within("features", &features, &golden.data("features"), OUTPUT_TOLERANCE);
        assert_within("projections", &projections, &golden.data("projections"), OUTPUT_TOLERANCE);
    }
}

#[test]
fn resnet18_trains_as_pytorch() {
    trains_as_pytorch("resnet18-w8", resnet18);
}

#[test]
fn resnet50_trains_as_pytorch() {
    trains_as_pytorch("resnet50-w8", resnet50);
}

#[test]
fn resnet34_with_imagenet_stem_trains_as_pytorch() {
    trains_as_pytorch("resnet34-w2-imagenet", resnet34_imagenet);
}

fn trains_as_pytorch(name: &str, load: fn(&Device) -> MclModel) {
    let golden = Golden::open(name);
    let device = Device::flex().autodiff();
    let model = load(&device);
    let projections = model.forward(golden.tensor("train_images", &device)).projections;
    let found = projections.clone().into_data();
    assert_within("training projections", &found, &golden.data("train_projections"), OUTPUT_TOLERANCE);

    let gradients = (projections.clone() * projections).mean().backward();
    let mut norms = GradientNorms { gradients, path: Vec::new(), norms: BTreeMap::new() };
    model.visit(&mut norms);
    let expected = std::fs::read_to_string(common::path(&format!("{name}.gradients.json"))).unwrap();
    let expected: BTreeMap<String, f64> = serde_json::from_str(&expected).unwrap();
    let names: Vec<_> = expected.keys().collect();
    assert_eq!(norms.norms.keys().collect::<Vec<_>>(), names);
    for (name, expected) in &expected {
        let found = norms.norms[name];
        let error = (found - expected).abs() / expected;
        assert!(error <= GRADIENT_TOLERANCE, "{name}: gradient norm {found}, PyTorch {expected}");
    }
}

/// Gradient norms by PyTorch's name of the parameter.
struct GradientNorms {
    gradients: Gradients,
    path: Vec<String>,
    norms: BTreeMap<String, f64>,
}

impl ModuleVisitor for GradientNorms {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // Running statistics have no gradient.
        let Some(gradient) = param.val().grad(&self.gradients) else { return };
        let sum: f64 = gradient.into_data().iter::<f64>().map(|value| value * value).sum();
        self.norms.insert(pytorch_name(&self.path.join(".")), sum.sqrt());
    }
}

/// From the path of a field. Checkpoints name weights by these paths: a failure here is a break of their format.
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

#[test]
fn running_mean_moves_as_in_pytorch_and_validation_leaves_it() {
    let golden = Golden::open("resnet34-w2-imagenet");
    let device = Device::flex().autodiff();
    let model = resnet34_imagenet(&device);
    model.forward(golden.tensor("train_images", &device));
    let snapshot = model.valid();
    let running_mean = |model: &MclModel| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("weights.safetensors");
        model.save_safetensors(&file).unwrap();
        let content = std::fs::read(file).unwrap();
        let file = safetensors::SafeTensors::deserialize(&content).unwrap();
        let bytes = file.tensor("enc.bn1.running_mean").unwrap().data().to_vec();
        burn::tensor::TensorData::from_bytes_vec(bytes, [2], burn::tensor::DType::F32)
    };
    // Saving the model that trains: its last update must be in the file.
    for model in [&model, &snapshot] {
        assert_within("running mean", &running_mean(model), &golden.data("train_running_mean"), 1e-6);
    }
    snapshot.forward(golden.tensor("train_images", &Device::flex()));
    assert_within("running mean", &running_mean(&snapshot), &golden.data("train_running_mean"), 1e-6);
}
