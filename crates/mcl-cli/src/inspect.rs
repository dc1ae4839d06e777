//! `mcl inspect`: what a saved detector is.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use burn_mcl::burn::module::Module;
use burn_mcl::burn::tensor::Device;
use burn_mcl::data::printable;
use clap::Args;

use crate::saved;

/// The arguments of `mcl inspect`.
#[derive(Debug, Args)]
pub struct Settings {
    /// The saved detector, a folder, or the run folder that it is in
    detector: PathBuf,
}

/// Writes what the detector is to `out`.
///
/// # Errors
///
/// When there is no detector, when a file of it is damaged, or when `out` does not take the text.
pub fn run(settings: &Settings, device: &Device, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let detector = saved::load(&settings.detector, None, device)?;
    let config = detector.config();
    let classes: Vec<_> = detector.class_names().iter().map(|name| printable(name).to_string()).collect();
    let (height, width) = detector.image_size();
    let calibration = detector.calibration();
    let mut line = |name: &str, value: String| writeln!(out, "{name:<18}{value}");
    line("classes", format!("{}: {}", classes.len(), classes.join(", ")))?;
    let fit = match config.centre_crop {
        None => "stretched".to_string(),
        Some(side) => format!("cut from the centre of pictures whose short side is {side} pixels"),
    };
    line("pictures", format!("{height} x {width} pixels, {fit}"))?;
    line(
        "threshold",
        format!("{:.4}: {} of 100 normal pictures pass", detector.threshold(), 100.0 * config.tpr),
    )?;
    line("set by", format!("{} held-out pictures", calibration.scores().len()))?;
    line("score", format!("{:?}", config.score))?;
    line("views", format!("{} ({:?}), {:?}", config.views.aux().len(), config.views, config.aggregation))?;
    line(
        "network",
        format!("{} numbers, {:?}", detector.model().num_params(), detector.model_config().encoder),
    )?;
    match detector.train_config() {
        Some(train) => line("training", format!("{:?}, seed {}", train.objective, train.seed))?,
        None => line("training", "not kept".into())?,
    }
    Ok(())
}
