//! Outputs in evaluation and in training mode, running statistics and gradients against PyTorch, in f32.

mod common;

use burn::module::Module;
use burn::tensor::{DType, Device, TensorData};
use common::{Golden, assert_gradients, assert_within, load};
use mcl_model::MclModel;
use safetensors::SafeTensors;

/// Absolute, on outputs of order 1.
const OUTPUT_TOLERANCE: f32 = 1e-4;
/// Relative to the norm.
const GRADIENT_TOLERANCE: f64 = 1e-3;

#[test]
fn resnet18_evaluates_as_pytorch() {
    evaluates_as_pytorch("resnet18-w8");
}

#[test]
fn resnet50_evaluates_as_pytorch() {
    evaluates_as_pytorch("resnet50-w8");
}

#[test]
fn resnet34_with_imagenet_stem_evaluates_as_pytorch() {
    evaluates_as_pytorch("resnet34-w2-imagenet");
}

#[test]
fn fast_nets_evaluate_as_pytorch() {
    evaluates_as_pytorch("fastnet-w8");
    evaluates_as_pytorch("fastnet-w4-residual");
    let golden = Golden::open("fastnet-w8");
    let device = Device::default();
    let logits = load("fastnet-w8", &device).forward(golden.tensor("images", &device)).logits.unwrap();
    assert_within("logits", &logits.into_data(), &golden.data("logits"), OUTPUT_TOLERANCE);
}

fn evaluates_as_pytorch(name: &str) {
    let golden = Golden::open(name);
    let device = Device::default();
    // A model on a plain device, and the validation snapshot of one that trains.
    for model in [load(name, &device), load(name, &device.clone().autodiff()).valid()] {
        let embedding = model.forward(golden.tensor("images", &device));
        let (features, projections) = (embedding.features.into_data(), embedding.projections.into_data());
        assert_within("features", &features, &golden.data("features"), OUTPUT_TOLERANCE);
        assert_within("projections", &projections, &golden.data("projections"), OUTPUT_TOLERANCE);
    }
}

#[test]
fn networks_in_training_mode_are_pytorchs() {
    let device = Device::default().autodiff();
    for name in common::GRADIENTS_OF_NETWORKS {
        let golden = Golden::open(name);
        let embedding = load(name, &device).forward(golden.tensor("train_images", &device));
        let projections = embedding.projections.into_data();
        assert_within(name, &projections, &golden.data("train_projections"), OUTPUT_TOLERANCE);
    }
}

// "resnet50-w8" is compared in f64 only (golden_f64.rs): some of its activations are so close to zero that
// PyTorch's own gradients in f32 and in f64 differ by up to 0.8 %.
#[test]
fn gradients_are_pytorchs() {
    for name in ["resnet18-w8", "resnet50-w4", "resnet34-w2-imagenet", "fastnet-w8", "fastnet-w4-residual"] {
        assert_gradients(name, &Device::default().autodiff(), GRADIENT_TOLERANCE);
    }
}

#[test]
fn running_mean_moves_as_in_pytorch_and_evaluation_leaves_it() {
    for (name, of) in [("resnet34-w2-imagenet", "bn1"), ("fastnet-w8", "groups.0.norm1")] {
        let golden = Golden::open(name);
        let device = Device::default().autodiff();
        let model = load(name, &device);
        model.forward(golden.tensor("train_images", &device));
        let snapshot = model.valid();
        let expected = golden.data("train_running_mean");
        // The model that trains, too: its last update must be in the file.
        for model in [&model, &snapshot] {
            assert_within("running mean", &saved_running_mean(model, of), &expected, 1e-6);
        }
        snapshot.forward(golden.tensor("train_images", &Device::default()));
        assert_within("running mean", &saved_running_mean(&snapshot, of), &expected, 1e-6);
    }
}

fn saved_running_mean(model: &MclModel, of: &str) -> TensorData {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("weights.safetensors");
    model.save_safetensors(&file).unwrap();
    let content = std::fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&content).unwrap();
    let view = file.tensor(&format!("enc.{of}.running_mean")).unwrap();
    TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), DType::F32)
}
