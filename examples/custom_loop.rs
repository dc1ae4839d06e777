//! `MclLoss::forward` in a training loop of one's own.
//!
//! ```text
//! cargo run --release --example custom_loop
//! ```

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;

use burn::optim::{AdamConfig, GradientsParams};
use burn_mcl::data::batch::{BatchConfig, Position};
use burn_mcl::data::shapes::{self, ShapesSplit};
use burn_mcl::loss::{MclLabels, MclLossConfig};
use burn_mcl::model::{MclModelConfig, ResNetConfig, ResNetDepth};

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let device = burn_mcl::device::from_env()?.autodiff();

    // A network whose last layer gives projections; any other will do.
    let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(8);
    let mut model = MclModelConfig::new(resnet).with_hidden(128).init_seeded(0, &device);
    let mut optimizer = AdamConfig::new().init();
    let loss = MclLossConfig::new().init();

    // Batches of 16 images in 4 rotations and 2 views: 128 views.
    let images = Arc::new(shapes::generate(ShapesSplit::Train, 20, 0));
    let batches = BatchConfig::new(16).try_init(images)?;

    for (step, batch) in batches.stream(Position::default(), 2)?.enumerate() {
        let batch = batch?;
        let samples = batch.samples();
        let batch = batch.to_device(&device);

        let projections = model.forward(batch.images).projections; // [2 * samples, dim]
        let dim = projections.dims()[1];
        let labels = MclLabels::new(batch.class).with_aux(batch.aux);
        let value = loss.forward(projections.reshape([samples, 2, dim]), &labels);

        let gradients = GradientsParams::from_grads(value.backward(), &model);
        model = optimizer.step(1e-3, model, gradients);
        writeln!(io::stdout(), "step {:>3}  loss {:.4}", step + 1, value.into_scalar::<f32>())?;
    }
    Ok(())
}
