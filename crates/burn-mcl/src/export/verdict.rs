//! From the scores of the views to the verdict, as nodes: aggregation, label, score, p-value and decision.

use mcl_infer::{Aggregation, Calibration};

use super::error::ExportError;
use super::graph::{Graph, Value, int};
use super::messages::DataType;
use crate::detector::Score;

/// `[views, n, classes] -> [n, classes]`, as [`Aggregation`] defines it.
pub(super) fn aggregate(
    graph: &mut Graph,
    aggregation: Aggregation,
    scores: &Value,
) -> Result<Value, ExportError> {
    graph.scope("aggregation");
    Ok(match aggregation {
        Aggregation::Mean => graph.reduce("ReduceMean", scores, 0, false),
        Aggregation::Max => graph.reduce("ReduceMax", scores, 0, false),
        Aggregation::WeightedAverage => {
            let distances = distances(graph, scores);
            let average = weighted_average(graph, &distances);
            graph.node("Neg", &[&average], vec![])
        }
        Aggregation::HarmonicMean => {
            let distances = distances(graph, scores);
            let mean = harmonic_mean(graph, &distances, 0);
            let mean = graph.node("Neg", &[&mean], vec![]);
            let first = graph.ints(&[0]);
            graph.node("Squeeze", &[&mean, &first], vec![])
        }
        other => {
            return Err(ExportError::Unsupported { setting: "aggregation", value: format!("{other:?}") });
        }
    })
}

fn distances(graph: &mut Graph, scores: &Value) -> Value {
    let distances = graph.node("Neg", &[scores], vec![]);
    let (zero, largest) = (graph.f32s("zero", &[], &[0.0]), graph.f32s("largest", &[], &[f32::MAX]));
    graph.node("Clip", &[&distances, &zero, &largest], vec![])
}

/// `[views, n, classes] -> [n, classes]`: a view weighs as much as its harmonic mean distance over classes; all the same when
/// each is at distance zero of some class.
fn weighted_average(graph: &mut Graph, distances: &Value) -> Value {
    let weight = harmonic_mean(graph, distances, 2); // [views, n, 1]
    let largest = graph.reduce("ReduceMax", &weight, 0, true);
    let all_zero = vanishes(graph, &largest);
    let one = graph.f32s("one", &[], &[1.0]);
    let weight = graph.node("Div", &[&weight, &largest], vec![]);
    let weight = graph.node("Where", &[&all_zero, &one, &weight], vec![]);
    let total = graph.sum(&weight, &[0], true);
    let weight = graph.node("Div", &[&weight, &total], vec![]);
    let weighted = graph.node("Mul", &[&weight, distances], vec![]);
    graph.sum(&weighted, &[0], false)
}

/// The harmonic mean along an axis, which stays; zero where one of the distances is.
fn harmonic_mean(graph: &mut Graph, distances: &Value, axis: i64) -> Value {
    let nearest = graph.reduce("ReduceMin", distances, axis, true);
    let (zero, one) = (vanishes(graph, distances), graph.f32s("one", &[], &[1.0]));
    let share = graph.node("Div", &[&nearest, distances], vec![]);
    let share = graph.node("Where", &[&zero, &one, &share], vec![]);
    let mean = graph.reduce("ReduceMean", &share, axis, true);
    graph.node("Div", &[&nearest, &mean], vec![])
}

/// Whether distances are zero, or subnormal.
fn vanishes(graph: &mut Graph, distances: &Value) -> Value {
    let least = graph.f32s("f32_min_positive", &[], &[f32::MIN_POSITIVE]);
    graph.node("Less", &[distances, &least], vec![])
}

/// The score of an image, `[n, classes] -> [n]`: the highest of the classes, or the negative entropy.
pub(super) fn confidence(graph: &mut Graph, score: Score, scores: &Value) -> Value {
    graph.scope("confidence");
    match score {
        Score::Gaussians | Score::Softmax => graph.reduce("ReduceMax", scores, 1, false),
        Score::Entropy => negative_entropy(graph, scores),
    }
}

fn negative_entropy(graph: &mut Graph, scores: &Value) -> Value {
    let sum = graph.sum(scores, &[1], true);
    let p = graph.node("Div", &[scores, &sum], vec![]);
    // p ln p is 0 where p is 0.
    let least = graph.f32s("f32_min_positive", &[], &[f32::MIN_POSITIVE]);
    let positive = graph.node("Max", &[&p, &least], vec![]);
    let logarithm = graph.node("Log", &[&positive], vec![]);
    let product = graph.node("Mul", &[&p, &logarithm], vec![]);
    graph.sum(&product, &[1], false)
}

/// The four outputs. `sound` is added to the score: values of 0, or NaN.
pub(super) fn outputs(
    graph: &mut Graph,
    [scores, score]: [&Value; 2],
    sound: &[Value],
    calibration: &Calibration,
    threshold: f64,
) {
    graph.scope("verdict");
    let label = ("label", DataType::Int64, "the predicted class, an index into the class names");
    graph.output(label, "ArgMax", &[scores], vec![int("axis", 1), int("keepdims", 0)]);

    let all: Vec<&Value> = std::iter::once(score).chain(sound).collect();
    let info = ("score", DataType::Float, "higher is more normal; NaN for images that are not finite");
    let score = graph.output(info, "Sum", &all, vec![]);

    let score = graph.cast(&score, DataType::Double);
    let ascending = calibration.scores();
    let last = graph.ints(&[1]);
    let column = graph.node("Unsqueeze", &[&score, &last], vec![]);
    let known = graph.f64s("calibration.scores", &[1, ascending.len()], ascending);
    let not_above = graph.node("GreaterOrEqual", &[&column, &known], vec![]);
    let not_above = graph.cast(&not_above, DataType::Double);
    let count = graph.sum(&not_above, &[1], false);
    let one = graph.f64s("one_f64", &[], &[1.0]);
    let ranks = graph.f64s("calibration.ranks", &[], &[ascending.len() as f64 + 1.0]);
    let rank = graph.node("Add", &[&count, &one], vec![]);
    let share = graph.node("Div", &[&rank, &ranks], vec![]);
    let info =
        ("p_value", DataType::Float, "how unusual the score is among normal images, above 0 and at most 1");
    graph.output(info, "Cast", &[&share], vec![int("to", DataType::Float as i64)]);

    // Not "less": NaN is an anomaly.
    let threshold = graph.f64s("threshold", &[], &[threshold]);
    let passes = graph.node("GreaterOrEqual", &[&score, &threshold], vec![]);
    let info = ("is_anomaly", DataType::Bool, "whether the score is below the threshold, or NaN");
    graph.output(info, "Not", &[&passes], vec![]);
}

/// `[n, 3, h, w] -> [n]`: 0 times each pixel, which is NaN for an image that is not finite. A ReLU may turn NaN into 0.
pub(super) fn finite(graph: &mut Graph, images: &Value) -> Value {
    graph.scope("finite");
    let zero = graph.f32s("zero", &[], &[0.0]);
    let zeros = graph.node("Mul", &[images, &zero], vec![]);
    graph.sum(&zeros, &[1, 2, 3], false)
}
