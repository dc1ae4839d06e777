//! The MCL loss in burn-train's learner: Burn's data loaders, training loop, metrics and summary.
//!
//! ```text
//! cargo run --release --features burn-train --example burn_train                     drawn shapes
//! cargo run --release --features burn-train --example burn_train -- --data DIR       CIFAR-10 in DIR
//! ```
//!
//! With Burn's feature `tui` the learner draws its dashboard in the terminal.
//! burn-train's loop stops and goes on between epochs. `Trainer` (see train_cifar10.rs) resumes at any step, bit for bit.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::transform::PartialDataset;
use burn::module::Module;
use burn::optim::AdamConfig;
use burn::tensor::{Int, Tensor};
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{
    ClassificationOutput, ExecutionStrategy, InferenceStep, Learner, SupervisedTraining, TrainOutput,
    TrainStep,
};
use burn_mcl::data::augment::SimClrAugmentConfig;
use burn_mcl::data::batch::{IndexedDataset, Rotations, TwoViewBatch, TwoViewBatcher};
use burn_mcl::data::shapes::{self, ShapesSplit};
use burn_mcl::data::{ImageSet, Split, cifar10};
use burn_mcl::loss::{MclLabels, MclLossConfig};
use burn_mcl::model::{MclModel, MclModelConfig, ResNetConfig, ResNetDepth};
use clap::Parser;

const CLASSES: usize = 10;

#[derive(Parser)]
#[command(about = "Trains with the MCL loss in burn-train's learner")]
struct Settings {
    /// Folder with CIFAR-10; shapes are drawn if it is not given
    #[arg(long)]
    data: Option<PathBuf>,
    /// Folder of burn-train's logs
    #[arg(long, default_value = "runs/burn_train")]
    run: PathBuf,
    /// Train on the first N images only
    #[arg(long, default_value_t = 2048)]
    images: usize,
    /// Images in a batch; each gives one drawn rotation and two views
    #[arg(long, default_value_t = 64)]
    batch: usize,
    #[arg(long, default_value_t = 12)]
    epochs: usize,
}

/// A network that burn-train can train: any `Module` will do.
#[derive(Module, Debug)]
struct Network {
    model: MclModel,
}

impl Network {
    fn forward(&self, batch: TwoViewBatch) -> ClassificationOutput {
        let projections = self.model.forward(batch.images).projections; // [2 * samples, dim]
        let [views, dim] = projections.dims();
        let projections = projections.reshape([views / 2, 2, dim]);
        let labels = MclLabels::new(batch.class.clone()).with_aux(batch.aux);
        let loss = MclLossConfig::new().init().forward(projections.clone(), &labels);
        ClassificationOutput::new(loss, similarities(projections, batch.class.clone()), batch.class)
    }
}

impl TrainStep for Network {
    type Input = TwoViewBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: TwoViewBatch) -> TrainOutput<ClassificationOutput> {
        let output = self.forward(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Network {
    type Input = TwoViewBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: TwoViewBatch) -> ClassificationOutput {
        self.forward(batch)
    }
}

/// The cosine similarity of each sample to the nearest other sample of each class in the batch, `[samples, classes]`. The
/// accuracy metric takes the class of the nearest sample as the predicted one.
fn similarities(projections: Tensor<3>, class: Tensor<1, Int>) -> Tensor<2> {
    let views = projections.clone() / projections.powi_scalar(2).sum_dim(2).sqrt().clamp_min(1e-12);
    let [samples, _, dim] = views.dims();
    let first = views.clone().slice([0..samples, 0..1]).reshape([samples, dim]);
    let second = views.slice([0..samples, 1..2]).reshape([samples, dim]);
    let itself = Tensor::<2>::eye(samples, &first.device());
    let similarity = first.matmul(second.transpose()) - itself * 4.0; // far below -1
    let of_class = class.one_hot::<2>(CLASSES).float().transpose(); // [classes, samples]
    let others = (of_class - 1.0) * 4.0; // 0 for samples of the class
    let similarity = similarity.unsqueeze_dim::<3>(1) + others.unsqueeze_dim::<3>(0); // [samples, classes, samples]
    similarity.max_dim(2).squeeze_dim::<2>(2)
}

/// A loader of two-view batches; the images that do not fill a batch are left out, which Burn's loaders cannot do.
fn loader(
    set: ImageSet,
    batch: usize,
    seed: u64,
) -> Result<Arc<dyn DataLoader<TwoViewBatch>>, Box<dyn Error>> {
    let whole = set.len() / batch * batch;
    let batcher = TwoViewBatcher::new(SimClrAugmentConfig::new().try_init()?, Rotations::Drawn, seed);
    let loader = DataLoaderBuilder::new(batcher).batch_size(batch).shuffle(seed);
    Ok(loader.build(PartialDataset::new(IndexedDataset(set), 0, whole)))
}

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let settings = Settings::parse();
    let device = burn_mcl::device::from_env()?.autodiff();
    let (train, test) = match &settings.data {
        Some(root) => (cifar10::load(root, Split::Train)?, cifar10::load(root, Split::Test)?),
        None => {
            let draw = |split, images: usize| shapes::generate(split, images.div_ceil(CLASSES), 0);
            (draw(ShapesSplit::Train, settings.images), draw(ShapesSplit::Test, settings.images))
        }
    };
    let train = loader(train.take(settings.images), settings.batch, 0)?;
    let test = loader(test.take(settings.images / 4), settings.batch, 1)?;

    let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(16);
    let model = MclModelConfig::new(resnet).with_hidden(256).init_seeded(0, &device);
    let learner = Learner::new(Network { model }, AdamConfig::new().init(), 1e-3);
    let result = SupervisedTraining::new(&settings.run, train, test)
        .metrics((AccuracyMetric::new(), LossMetric::new()))
        .with_training_strategy(ExecutionStrategy::single(device).into())
        .num_epochs(settings.epochs)
        .summary()
        .launch(learner);
    match result.error {
        Some(error) => Err(error.to_string().into()),
        None => Ok(()),
    }
}
