//! The softmax probabilities of the classifier as nodes.

use mcl_infer::InferError;

use super::error::ExportError;
use super::graph::{Graph, Value, int};

/// The probability of each class among the logits of a view's own auxiliary class, `[views * n, logits] ->
/// [views, n, classes]`. Logit `class * aux_classes + aux` belongs to the pair (class, aux).
pub(super) fn scores(
    graph: &mut Graph,
    [classes, aux_classes]: [usize; 2],
    view_aux: &[usize],
    logits: &Value,
) -> Result<Value, ExportError> {
    if let Some(view) = view_aux.iter().position(|&aux| aux >= aux_classes) {
        return Err(InferError::ViewAuxOutOfRange { view, aux: view_aux[view], aux_classes }.into());
    }
    graph.scope("probabilities");
    let views = view_aux.len() as i64;
    let pairs = graph.reshape(logits, &[views, -1, classes as i64, aux_classes as i64]);
    let pairs = graph.transpose(&pairs, &[0, 3, 1, 2]); // [views, aux, n, classes]
    let aux: Vec<i64> = view_aux.iter().map(|&aux| aux as i64).collect();
    let aux = graph.ints(&aux);
    let aux = graph.reshape(&aux, &[views, 1]);
    let logits = graph.node("GatherND", &[&pairs, &aux], vec![int("batch_dims", 1)]);
    Ok(graph.node("Softmax", &[&logits], vec![int("axis", 2)]))
}
