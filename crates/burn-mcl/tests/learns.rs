//! Training learns: after a short run on the embedded shapes, unknown shapes are told from known ones.

use burn::tensor::Device;
use burn_mcl::Progress;
use burn_mcl::data::augment::SimClrAugmentConfig;
use burn_mcl::data::shapes::{self, ShapesSplit};
use burn_mcl::detector::fit_gaussians;
use burn_mcl::evaluation::evaluate;
use burn_mcl::infer::{Aggregation, MahalanobisConfig, TestTimeViews};
use burn_mcl::model::{MclModelConfig, ResNetConfig, ResNetDepth};
use burn_mcl::train::{TrainConfig, Trainer};

/// The run of `train_cifar10` without CIFAR-10. Its AUROC was 98.6 to 99.8 on five seeds; a network that has learned
/// nothing reaches 50.
const FLOOR: f64 = 0.95;

#[test]
fn a_short_run_tells_unknown_shapes_from_known_ones() {
    let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(8);
    let config = TrainConfig::new()
        .with_model(MclModelConfig::new(resnet).with_hidden(128))
        .with_augment(SimClrAugmentConfig::new().with_crop_scale((0.5, 1.0)))
        .with_images_per_batch(32)
        .with_steps(Some(300))
        .with_learning_rate(Some(0.1));
    let train = shapes::generate(ShapesSplit::Train, 200, 0);
    let network = Trainer::new(config, &Device::flex()).unwrap().fit(&train).unwrap();

    let scorer = fit_gaussians(&network, &train, &MahalanobisConfig::new(), 256, Progress::Hidden).unwrap();
    let test = shapes::generate(ShapesSplit::Test, 50, 0);
    let near = shapes::generate(ShapesSplit::NearOod, 50, 0);
    let sets = [("near shapes", &near)];
    let table =
        evaluate(&network, &scorer, train.class_names(), &test, &sets, 256, Progress::Hidden).unwrap();
    let row = table.row(TestTimeViews::Rotations, Aggregation::WeightedAverage).unwrap();
    assert!(row.accuracy.unwrap() > 0.95, "accuracy {:?}\n{table}", row.accuracy);
    assert!(row.ood[0].metrics.auroc > FLOOR, "AUROC {}\n{table}", row.ood[0].metrics.auroc);
}
