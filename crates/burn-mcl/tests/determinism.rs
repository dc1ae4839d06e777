//! On the CPU one thread and two give the same bits: batches, losses, weights, Gaussians and scores.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use burn_mcl::data::batch::{BatchConfig, Position};
use burn_mcl::data::shapes::{self, ShapesSplit};
use burn_mcl::infer::{Aggregation, MahalanobisConfig, TestTimeViews};
use burn_mcl::loss::{MclLabels, MclLossConfig};
use burn_mcl::model::{MclModelConfig, ResNetConfig, ResNetDepth};
use burn_mcl::train::{StepReport, TrainConfig, Trainer};
use burn_mcl::{Progress, detector::fit_gaussians};

const CHILD_DIR: &str = "MCL_TEST_THREADS_DIR";

/// Not a test of its own: what the next one runs with different numbers of threads.
#[test]
fn child_of_some_threads() {
    let Some(dir) = env::var_os(CHILD_DIR) else { return };
    let dir = Path::new(&dir);
    let device = Device::flex();
    let images = shapes::generate(ShapesSplit::Train, 4, 0);

    let batches = BatchConfig::new(8).try_init(images.clone().into()).unwrap();
    let batch = batches.batch(Position::default()).unwrap();
    write(dir, "batch", &batch.pixels);

    // 128 views a step: enough for every layer to be shared among the threads.
    let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(8);
    let model = MclModelConfig::new(resnet).with_hidden(256).with_projection_dim(16);
    let config =
        TrainConfig::new().with_model(model).with_images_per_batch(16).with_steps(Some(2)).with_seed(1);
    let mut losses = Vec::new();
    let observer = |report: &StepReport| {
        losses.extend([report.loss, report.contrastive, report.attraction.unwrap(), report.concentration]);
        std::ops::ControlFlow::Continue(())
    };
    let model = Trainer::new(config, &device).unwrap().observer(observer).fit(&images).unwrap();
    write(dir, "losses", &losses);
    model.save_safetensors(dir.join("weights")).unwrap();

    let config = MahalanobisConfig::new().with_ridge(1e-3);
    let gaussians = fit_gaussians(&model, &images, &config, 16, Progress::Hidden).unwrap();
    let covariances: Vec<f32> = gaussians.covariances().iter().map(|&value| value as f32).collect();
    write(dir, "covariances", &covariances);
    let views = TestTimeViews::Rotations;
    let pixels = Tensor::<4>::from_data(TensorData::new(batch.pixels, [64, 3, 32, 32]), &device);
    let embeddings = model.forward(views.expand(pixels).flatten::<4>(0, 1)).projections;
    let scores = gaussians.score(embeddings.reshape([64, 4, 16]), views.aux()).unwrap();
    let scores = Aggregation::WeightedAverage.apply(scores).scores;
    write(dir, "scores", &scores.into_data().try_to_vec::<f32>().unwrap());

    // More views than a training step above has: the loss is computed in blocks then.
    let samples = 2048;
    let numbers = |modulus: usize| {
        let numbers: Vec<i64> = (0..samples).map(|i| (i * 7 % modulus) as i64).collect();
        Tensor::<1, Int>::from_ints(numbers.as_slice(), &device)
    };
    Device::flex().seed(5);
    let projections = Tensor::<3>::random([samples, 2, 16], Distribution::Normal(0.0, 1.0), &device);
    let projections = Tensor::from_inner(projections).require_grad();
    let labels = MclLabels::new(numbers(10)).with_aux(numbers(4));
    let gradients = MclLossConfig::new().init().forward(projections.clone(), &labels).backward();
    let gradient = projections.grad(&gradients).unwrap();
    write(dir, "gradient", &gradient.into_data().try_to_vec::<f32>().unwrap());
}

fn write(dir: &Path, name: &str, values: &[f32]) {
    assert!(!values.is_empty() && values.iter().all(|value| value.is_finite()), "{name}");
    fs::write(dir.join(name), values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
        .unwrap();
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    let dirs = [1, 2].map(|threads| {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new(env::current_exe().unwrap())
            .args(["--exact", "determinism::child_of_some_threads"])
            .env(CHILD_DIR, dir.path())
            .env("RAYON_NUM_THREADS", threads.to_string())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "with {threads} threads");
        dir
    });
    for name in ["batch", "losses", "weights", "covariances", "scores", "gradient"] {
        let [one, two] = dirs.each_ref().map(|dir| fs::read(dir.path().join(name)).unwrap());
        assert!(one == two, "{name} depends on the number of threads");
    }
}
