//! A detector as one ONNX graph: images in, verdicts out.

use std::path::Path;

use mcl_infer::InferError;
use mcl_model::MclModel;
use prost::Message;

use super::error::ExportError;
use super::existing::Existing;
use super::graph::{Dimension, Graph, Value};
use super::messages::{
    DataType, GraphProto, ModelProto, OperatorSetIdProto, PRODUCER, StringStringEntryProto,
};
use super::network::Weights;
use super::{gaussians, network, probabilities, verdict, views};
use crate::detector::{Detector, Score};
use crate::files;

/// The version of ONNX's operators, and the version of the file format that came with it.
const OPERATOR_SET: i64 = 17;
const IR_VERSION: i64 = 8;

/// The most bytes of a message of Protocol Buffers.
const LARGEST: usize = i32::MAX as usize;

/// Makes the ONNX graph of a detector: the bytes of an `.onnx` file of operator set 17.
///
/// | | name | type | what |
/// |---|---|---|---|
/// | input | `images` | float32 `[n, 3, height, width]` | RGB in `[0, 1]`, of [`Detector::image_size`] |
/// | output | `label` | int64 `[n]` | [`Detection::label`](crate::detector::Detection::label) |
/// | output | `score` | float32 `[n]` | [`Detection::score`](crate::detector::Detection::score) |
/// | output | `p_value` | float32 `[n]` | [`Detection::p_value`](crate::detector::Detection::p_value) |
/// | output | `is_anomaly` | bool `[n]` | [`Detection::is_anomaly`](crate::detector::Detection::is_anomaly) |
///
/// `n` is at least 1. The graph holds the views of the images, the network in f32 (whatever its
/// [precision](mcl_model::Precision)), the Gaussians (in f64) or the probabilities of
/// the classifier, the aggregation, the threshold and the calibration scores. Scores are those of [`Detector::detect`] up to the
/// rounding of f32. An image with a value that is not finite has the score NaN, the lowest p-value, and is an anomaly, where
/// [`Detector::detect`] returns an error.
///
/// The metadata of the model are texts: `class_names` (a JSON list), `image_height`, `image_width`, `centre_crop`
/// (`none` where pictures are stretched, or a number of pixels: [`DetectorConfig::centre_crop`](crate::detector::DetectorConfig::centre_crop)), `threshold`, `tpr`, `score`,
/// `views` and `aggregation`.
///
/// # Errors
///
/// - [`ExportError::UnknownNetwork`] for a detector of [`Detector::fit_network`];
/// - [`ExportError::Unsupported`] for a setting that has no graph;
/// - [`ExportError::ImageSize`] and [`ExportError::Infer`] for a detector that cannot score an image: its images are too small for
///   its network, its score needs a classifier that the network does not have, a covariance has no inverse;
/// - [`ExportError::TooLarge`] for a graph of 2 GiB or more.
pub fn to_onnx(detector: &Detector<MclModel>) -> Result<Vec<u8>, ExportError> {
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: PRODUCER.into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: "images: RGB in [0, 1], not standardised. Higher scores are more normal.".into(),
        graph: Some(graph(detector)?),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPERATOR_SET }],
        metadata_props: metadata(detector),
    };
    let bytes = model.encoded_len();
    if bytes > LARGEST {
        return Err(ExportError::TooLarge { bytes, limit: LARGEST });
    }
    Ok(model.encode_to_vec())
}

/// Writes the ONNX graph of a detector ([`to_onnx`]) to a file, which appears whole or not at all.
///
/// # Errors
///
/// As [`to_onnx`]; [`ExportError::Exists`] when a file is there that is to be [kept](Existing::Keep), [`ExportError::NoGraph`] when
/// the file that is to be [replaced](Existing::Replace) is something else, and [`ExportError::Io`] when the file cannot be written.
pub fn save_onnx(
    detector: &Detector<MclModel>,
    path: impl AsRef<Path>,
    existing: Existing,
) -> Result<(), ExportError> {
    let path = path.as_ref();
    existing.allows_file(path)?;
    let bytes = to_onnx(detector)?;
    tracing::info!(path = %path.display(), bytes = bytes.len(), "ONNX graph exported");
    Ok(files::replace(path, &bytes)?)
}

fn graph(detector: &Detector<MclModel>) -> Result<GraphProto, ExportError> {
    let config = detector.config();
    let encoder = &detector.known_config().ok_or(ExportError::UnknownNetwork)?.encoder;
    let ((height, width), least) = (detector.image_size(), encoder.min_size());
    if height.min(width) < least {
        return Err(ExportError::ImageSize { height, width, least });
    }
    let mut graph = Graph::default();
    let shape =
        [Dimension::Named("n"), Dimension::Fixed(3), Dimension::Fixed(height), Dimension::Fixed(width)];
    let images = graph.input("images", DataType::Float, &shape, "RGB in [0, 1], not standardised");
    let mut sound = vec![verdict::finite(&mut graph, &images)];
    let views = views::expand(&mut graph, config.views, (height, width), &images)?;

    let weights = Weights::of(detector.model());
    let features = network::encoder(&mut graph, &weights, encoder, &views)?;
    let scores = match config.score {
        Score::Gaussians => {
            let projections = network::projections(&mut graph, &weights, &features)?;
            let record = detector.scorer().record();
            let (scores, finite) = gaussians::scores(&mut graph, record, config.views.aux(), &projections)?;
            sound.push(finite);
            scores
        }
        Score::Softmax | Score::Entropy => probabilities(detector, &mut graph, &weights, &features)?,
    };
    let scores = verdict::aggregate(&mut graph, config.aggregation, &scores)?;
    let score = verdict::confidence(&mut graph, config.score, &scores);
    verdict::outputs(&mut graph, [&scores, &score], &sound, detector.calibration(), detector.threshold());
    Ok(graph.finish("burn-mcl detector"))
}

/// The scores of the classifier, which must have a logit for each pair of class and auxiliary class.
fn probabilities(
    detector: &Detector<MclModel>,
    graph: &mut Graph,
    weights: &Weights,
    features: &Value,
) -> Result<Value, ExportError> {
    let classifier = detector.model().classifier().ok_or(InferError::NoLogits)?;
    let [_, found] = classifier.weight.lazy_shape().dims();
    let (classes, aux_classes) = (detector.scorer().classes(), detector.scorer().aux_classes());
    let expected = classes * aux_classes;
    if found != expected {
        return Err(InferError::LogitCount { expected, found }.into());
    }
    let logits = network::logits(graph, weights, features)?;
    probabilities::scores(graph, [classes, aux_classes], detector.config().views.aux(), &logits)
}

fn metadata(detector: &Detector<MclModel>) -> Vec<StringStringEntryProto> {
    let config = detector.config();
    let (height, width) = detector.image_size();
    let entries = [
        ("class_names", serde_json::json!(detector.class_names()).to_string()),
        ("image_height", height.to_string()),
        ("image_width", width.to_string()),
        ("centre_crop", config.centre_crop.map_or_else(|| "none".into(), |side| side.to_string())),
        ("threshold", detector.threshold().to_string()),
        ("tpr", config.tpr.to_string()),
        ("score", format!("{:?}", config.score)),
        ("views", format!("{:?}", config.views)),
        ("aggregation", format!("{:?}", config.aggregation)),
    ];
    entries.map(|(key, value)| StringStringEntryProto { key: key.into(), value }).into()
}

#[cfg(test)]
mod tests;
