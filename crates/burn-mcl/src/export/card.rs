//! The model card of a detector: what the detector is, how it was trained, what it promises, how to load it.

use std::fmt::Write;

use mcl_model::{EncoderConfig, MclModel};

use crate::detector::{Detector, Score};
use crate::train::TrainConfig;

/// What runs a detector outside Rust.
const PYTHON: &str = r#"import numpy as np, onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("model.onnx")
image = Image.open("picture.jpg").convert("RGB")
FIT
images = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255  # [1, 3, HEIGHT, WIDTH]
label, score, p_value, is_anomaly = session.run(["label", "score", "p_value", "is_anomaly"], {"images": images})"#;

/// How the picture gets its size, stretched or cropped.
const STRETCH: &str = "image = image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)";
const CROP: &str = "\
image = image.resize([SIDE * side // min(image.size) for side in image.size], Image.Resampling.BILINEAR)
left, top = round((image.width - WIDTH) / 2), round((image.height - HEIGHT) / 2)
image = image.crop((left, top, left + WIDTH, top + HEIGHT))";

const RUST: &str = r#"let detector = burn_mcl::detector::Detector::load("DIRECTORY", &device)?;
let found = detector.detect_image(&image::open("picture.jpg")?)?;"#;

/// The file `README.md`.
pub(super) fn write(detector: &Detector<MclModel>) -> String {
    let mut card = String::from(FRONT_MATTER);
    let mut section = |title: &str, text: &str| {
        let _ = write!(card, "\n## {title}\n\n{}\n", text.trim_end());
    };
    section("Intended use", &intended_use(detector));
    section("Classes", &classes(detector));
    section("How the network was trained", &training(detector));
    section("Score, threshold and calibration", &threshold(detector));
    section("Limits", &limits(detector));
    section("How to load the detector", &loading(detector));
    card
}

const FRONT_MATTER: &str = "\
---
# license: choose one, https://huggingface.co/docs/hub/repositories-licenses
library_name: burn-mcl
tags:
- anomaly-detection
- out-of-distribution-detection
- masked-contrastive-learning
- onnx
---

# Anomaly detector for pictures

The detector says of a picture which of its classes the picture is nearest to, and whether the picture looks otherwise than the
normal pictures it was fitted on. It was made with burn-mcl: masked contrastive learning (Cho, Seol and Lee, *Masked Contrastive
Learning for Anomaly Detection*, IJCAI 2021).
";

fn intended_use(detector: &Detector<MclModel>) -> String {
    let (height, width) = detector.image_size();
    let fit = match detector.config().centre_crop {
        None => format!("stretched to {height} x {width} pixels (height x width)"),
        Some(side) => format!(
            "resized until their short side is {side} pixels, of which the centre of {height} x {width} pixels (height x width) is \
             taken"
        ),
    };
    format!(
        "To flag pictures that do not look like the training pictures. Pictures are RGB, {fit}, with values in [0, 1]."
    )
}

/// A name a line as JSON strings, so that no name ends the block.
fn classes(detector: &Detector<MclModel>) -> String {
    let names: Vec<String> =
        detector.class_names().iter().map(|name| serde_json::json!(name).to_string()).collect();
    format!(
        "{} class(es) of normal pictures, by label from 0:\n\n```text\n{}\n```",
        names.len(),
        names.join("\n")
    )
}

fn training(detector: &Detector<MclModel>) -> String {
    let Some(config) = detector.train_config() else {
        return "The training settings were not kept.".into();
    };
    let TrainConfig { objective, rotations, images_per_batch, epochs, steps, optimizer, seed, .. } = config;
    let network = match &config.model.encoder {
        EncoderConfig::ResNet(resnet) => {
            format!("{:?} of width {}, {:?} stem", resnet.depth, resnet.width, resnet.stem)
        }
        EncoderConfig::FastNet(fast) => format!("FastNet of widths {:?}", fast.widths),
        other => format!("{other:?}"),
    };
    let length = steps.map_or_else(|| format!("{epochs} epochs"), |steps| format!("{steps} steps"));
    let rate = config.peak_learning_rate();
    let rows = [
        ("network", network),
        ("objective", kind(objective)),
        ("rotations", format!("{rotations:?}")),
        ("length", length),
        ("images a batch", images_per_batch.to_string()),
        ("optimizer", kind(optimizer)),
        ("learning rate", rate.to_string()),
        ("seed", seed.to_string()),
    ];
    let mut table = String::from("| setting | value |\n|---|---|\n");
    for (name, value) in rows {
        let _ = writeln!(table, "| {name} | {value} |");
    }
    table + "\nAll settings are in `config.json`, under `training`."
}

/// The name of a variant, without its settings.
fn kind(variant: &impl std::fmt::Debug) -> String {
    let text = format!("{variant:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().into()
}

fn threshold(detector: &Detector<MclModel>) -> String {
    let config = detector.config();
    let score = match config.score {
        Score::Gaussians => "the negative distance from the nearest class Gaussian of the projections",
        Score::Softmax => "the highest probability of the classifier",
        Score::Entropy => "the negative entropy of the classifier's probabilities",
    };
    let (views, aggregation, threshold) =
        (config.views.aux().len(), config.aggregation, detector.threshold());
    let (images, share) = (detector.calibration().scores().len(), 100.0 * (1.0 - config.tpr));
    format!(
        "The score is {score}; higher is more normal. The scores of {views} view(s) of a picture ({:?}) are combined \
         ({aggregation:?}).\n\n\
         A picture whose score is below {threshold} is an anomaly. The threshold comes from the scores of {images} normal \
         pictures that the network was not trained on. At most {share:.2}% of new normal pictures are flagged, on average over \
         draws of these pictures, as long as new pictures are drawn like them. The p-value of a picture is the share of ranks \
         that are as low as the rank of its score.",
        config.views
    )
}

fn limits(detector: &Detector<MclModel>) -> String {
    let (height, width) = detector.image_size();
    format!(
        "- The guarantee is for normal pictures of the kind that the threshold comes from: another camera or another light makes \
         another kind.\n\
         - There is no guarantee for the share of anomalies that are found. Measure that share on anomalies of your own.\n\
         - Details smaller than a pixel of a {height} x {width} picture are not seen.\n\
         - `model.onnx` and burn-mcl agree up to the rounding of 32-bit numbers: a picture whose score is within rounding of the \
         threshold may be judged otherwise.\n\
         - `model.onnx` gives a picture with values that are not finite the score NaN, and flags it."
    )
}

fn loading(detector: &Detector<MclModel>) -> String {
    let (height, width) = detector.image_size();
    let fit = match detector.config().centre_crop {
        None => STRETCH.to_string(),
        Some(side) => CROP.replace("SIDE", &side.to_string()),
    };
    let python = PYTHON.replace("FIT", &fit);
    let python = python.replace("WIDTH", &width.to_string()).replace("HEIGHT", &height.to_string());
    format!(
        "In Python, with `model.onnx` alone (`pip install numpy onnxruntime pillow`):\n\n```python\n{python}\n```\n\n\
         In Rust, with the crate `burn-mcl` and the whole directory:\n\n```rust\n{RUST}\n```\n\n\
         On the command line, with the whole directory: `mcl detect DIRECTORY PICTURES...`. `model.safetensors` holds the \
         network's weights under PyTorch's names."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_variant_are_left_out() {
        assert_eq!(kind(&Some(3)), "Some");
        assert_eq!(kind(&Score::Entropy), "Entropy");
    }
}
