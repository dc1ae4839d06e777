//! The default device against the CPU: losses of the first steps, and the scores of a detector.
//!
//! With one backend compiled in both are the CPU. With another beside it, `BURN_DEVICE` says which is tested:
//!
//! ```text
//! BURN_DEVICE=wgpu cargo test --release --workspace --features burn-mcl/wgpu --test on_device --test golden
//! ```

mod common;

use std::ops::ControlFlow;

use burn::tensor::Device;
use burn_mcl::Progress;
use burn_mcl::detector::{Detector, DetectorConfig};
use burn_mcl::infer::MahalanobisConfig;
use burn_mcl::train::Trainer;
use common::{corners, tiny_run};

fn losses(device: &Device) -> Vec<f32> {
    let mut losses = Vec::new();
    let observer = |report: &burn_mcl::train::StepReport| {
        losses.push(report.loss);
        ControlFlow::Continue(())
    };
    Trainer::new(tiny_run(3), device).unwrap().observer(observer).fit(&corners(16, 0)).unwrap();
    losses
}

#[test]
fn first_losses_equal_those_of_the_cpu() {
    let (expected, found) = (losses(&Device::flex()), losses(&Device::default()));
    assert_eq!((expected.len(), found.len()), (3, 3));
    for (step, (expected, found)) in expected.iter().zip(&found).enumerate() {
        // Rounding grows with each step; the first is the forward pass alone.
        let tolerance = if step == 0 { 1e-4 } else { 1e-3 };
        assert!(
            (expected - found).abs() <= tolerance * expected.abs(),
            "step {step}: {expected} and {found}"
        );
    }
}

#[test]
fn a_detector_scores_as_on_the_cpu() {
    let dir = tempfile::tempdir().unwrap();
    let (train, held_out) = (corners(40, 0), corners(20, 1));
    let run = tiny_run(12);
    let model = Trainer::new(run.clone(), &Device::flex()).unwrap().fit(&train).unwrap();
    let config = DetectorConfig::new().with_gaussians(MahalanobisConfig::new().with_ridge(1e-4));
    let on_cpu = Detector::fit(&model, run.model, &train, &held_out, config, Progress::Hidden).unwrap();
    on_cpu.save(dir.path().join("detector")).unwrap();

    let on_device = Detector::load(dir.path().join("detector"), &Device::default()).unwrap();
    let set = corners(10, 2);
    let (expected, found) = (on_cpu.detect_set(&set).unwrap(), on_device.detect_set(&set).unwrap());
    assert_eq!((expected.len(), found.len()), (20, 20));
    for (image, (expected, found)) in expected.iter().zip(&found).enumerate() {
        let error = (expected.score - found.score).abs() / expected.score.abs();
        assert!(error <= 1e-4, "image {image}: {} and {}", expected.score, found.score);
    }
}
