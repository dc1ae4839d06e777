//! The Mahalanobis scores of the views as nodes.
//!
//! The distances are computed in f64: whitening a tight cluster stretches it by up to 30,000, and f32 would lose four digits.

use mcl_infer::{Distance, InferError, MahalanobisRecord};

use super::error::ExportError;
use super::graph::{Graph, Value};
use super::messages::DataType;

/// The score of each view under each class, `[views * n, dim] -> [views, n, classes]` in f32. The second value is 0 for each
/// image whose projections have a distance and NaN for any other, `[n]` in f32.
pub(super) fn scores(
    graph: &mut Graph,
    record: &MahalanobisRecord,
    view_aux: &[usize],
    projections: &Value,
) -> Result<(Value, Value), ExportError> {
    let &MahalanobisRecord { classes, dim, .. } = record;
    let aux = used_aux(record.aux_classes, view_aux)?;
    let (views, dim) = (view_aux.len() as i64, dim as i64);
    graph.scope("gaussians");
    let mut x = graph.cast(projections, DataType::Double);
    if record.config.normalize {
        let norm = graph.reduce("ReduceL2", &x, 1, true);
        x = graph.node("Div", &[&x, &norm], vec![]);
    }
    let sound = sound(graph, &x, [views, -1, dim]);
    // View `v` belongs to auxiliary class `v % aux`.
    let x = graph.reshape(&x, &[views / aux as i64, aux as i64, 1, -1, dim]);
    let white =
        if record.is_shared() { shared(graph, record, aux, &x)? } else { own(graph, record, aux, &x)? };
    // [rounds, aux, classes, n, dim] -> [rounds, aux, classes, n] -> [views, classes, n] -> [views, n, classes]
    let squared = graph.reduce("ReduceSumSquare", &white, 4, false);
    let squared = graph.reshape(&squared, &[views, classes as i64, -1]);
    let squared = graph.transpose(&squared, &[0, 2, 1]);
    let largest = graph.f64s("f32_max", &[], &[f64::from(f32::MAX)]);
    let squared = graph.node("Min", &[&squared, &largest], vec![]);
    let squared = graph.cast(&squared, DataType::Float);
    let distance = match record.config.distance {
        Distance::Squared => squared,
        Distance::Root => graph.node("Sqrt", &[&squared], vec![]),
        other => return Err(ExportError::Unsupported { setting: "distance", value: format!("{other:?}") }),
    };
    Ok((graph.node("Neg", &[&distance], vec![]), sound))
}

/// How many auxiliary classes the views belong to, one after the other and over again.
fn used_aux(aux_classes: usize, view_aux: &[usize]) -> Result<usize, ExportError> {
    let used = view_aux.iter().max().map_or(1, |&aux| aux + 1);
    if let Some(view) = view_aux.iter().position(|&aux| aux >= aux_classes) {
        return Err(InferError::ViewAuxOutOfRange { view, aux: view_aux[view], aux_classes }.into());
    }
    let over_again = view_aux.iter().enumerate().all(|(view, &aux)| aux == view % used);
    if over_again && view_aux.len().is_multiple_of(used) {
        return Ok(used);
    }
    Err(ExportError::Unsupported {
        setting: "views of the auxiliary classes",
        value: format!("{view_aux:?}"),
    })
}

/// `[views * n, dim] -> [n]`: 0 times each value, which is NaN for what is not finite.
fn sound(graph: &mut Graph, x: &Value, shape: [i64; 3]) -> Value {
    let zero = graph.f64s("zero_f64", &[], &[0.0]);
    let zeros = graph.node("Mul", &[x, &zero], vec![]);
    let zeros = graph.reshape(&zeros, &shape);
    let sum = graph.sum(&zeros, &[0, 2], false);
    graph.cast(&sum, DataType::Float)
}

/// Each class with a covariance of its own: `W (x - mean)`.
fn own(graph: &mut Graph, record: &MahalanobisRecord, aux: usize, x: &Value) -> Result<Value, ExportError> {
    let &MahalanobisRecord { classes, dim, .. } = record;
    let pairs = || (0..aux).flat_map(|aux| (0..classes).map(move |class| (class, aux)));
    let means: Vec<f64> = pairs().flat_map(|(class, aux)| record.mean(class, aux)).copied().collect();
    let mut whitenings = Vec::with_capacity(aux * classes * dim * dim);
    for (class, aux) in pairs() {
        whitenings.extend(transposed(&record.whitening(class, aux)?, dim));
    }
    let means = graph.f64s("gaussians.means", &[aux, classes, 1, dim], &means);
    let whitenings = graph.f64s("gaussians.whitenings", &[aux, classes, dim, dim], &whitenings);
    let centred = graph.node("Sub", &[x, &means], vec![]);
    Ok(graph.node("MatMul", &[&centred, &whitenings], vec![]))
}

/// All classes with one covariance: an embedding is whitened once, around the mean of the means, and compared with the whitened
/// mean of each class.
fn shared(
    graph: &mut Graph,
    record: &MahalanobisRecord,
    aux: usize,
    x: &Value,
) -> Result<Value, ExportError> {
    let &MahalanobisRecord { classes, dim, .. } = record;
    let (mut whitenings, mut centres, mut white_means) = (Vec::new(), Vec::new(), Vec::new());
    for aux in 0..aux {
        let whitening = record.whitening(0, aux)?;
        let centre: Vec<f64> = (0..dim)
            .map(|i| (0..classes).map(|class| record.mean(class, aux)[i]).sum::<f64>() / classes as f64)
            .collect();
        for class in 0..classes {
            let mean = record.mean(class, aux);
            let white = |row: &[f64]| -> f64 { (0..dim).map(|i| row[i] * (mean[i] - centre[i])).sum() };
            white_means.extend(whitening.chunks_exact(dim).map(white));
        }
        whitenings.extend(transposed(&whitening, dim));
        centres.extend(centre);
    }
    let centres = graph.f64s("gaussians.centres", &[aux, 1, 1, dim], &centres);
    let whitenings = graph.f64s("gaussians.whitenings", &[aux, 1, dim, dim], &whitenings);
    let white_means = graph.f64s("gaussians.white_means", &[aux, classes, 1, dim], &white_means);
    let centred = graph.node("Sub", &[x, &centres], vec![]);
    let white = graph.node("MatMul", &[&centred, &whitenings], vec![]);
    Ok(graph.node("Sub", &[&white, &white_means], vec![]))
}

/// The transpose of a square matrix, row by row: embeddings are rows, and a matrix is multiplied from the right.
fn transposed(matrix: &[f64], dim: usize) -> impl Iterator<Item = f64> + '_ {
    (0..dim * dim).map(move |i| matrix[i % dim * dim + i / dim])
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcl_infer::TestTimeViews;

    #[test]
    fn the_views_go_round_the_auxiliary_classes() {
        let used = |views: TestTimeViews| used_aux(4, views.aux()).unwrap();
        assert_eq!([TestTimeViews::RotationsAndFlips, TestTimeViews::Rotations].map(used), [4, 4]);
        assert_eq!([TestTimeViews::Identity, TestTimeViews::FlipsAndShifts].map(used), [1, 1]);
        assert!(matches!(used_aux(4, &[0, 2, 1]), Err(ExportError::Unsupported { .. })));
        assert!(matches!(used_aux(4, &[0, 1, 0]), Err(ExportError::Unsupported { .. })));
        let error = used_aux(1, &[0, 1]).unwrap_err();
        assert!(matches!(error, ExportError::Infer(InferError::ViewAuxOutOfRange { view: 1, .. })));
    }

    #[test]
    fn transposes() {
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0], 2).collect::<Vec<_>>(), [1.0, 3.0, 2.0, 4.0]);
    }
}
