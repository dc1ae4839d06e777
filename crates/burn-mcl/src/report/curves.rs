//! The curves behind AUROC and average precision: what every threshold finds, and at what price.

use mcl_infer::metrics::{Positive, Ranking};

/// Most points of a drawn curve: more than its pixels tell apart.
const POINTS: usize = 400;

/// A curve as (x, y) in [0, 1], from left to right.
pub(super) type Curve = Vec<Point>;

/// (x, y) in [0, 1].
pub(super) type Point = (f64, f64);

/// (anomalies found, normal images flagged) at every threshold, from the strictest; equal scores are one
/// threshold.
fn sweep(normal: &[f64], anomalous: &[f64]) -> Vec<(usize, usize)> {
    // Scores that a report may not draw have no thresholds.
    let Ok(ranking) = Ranking::new(normal, anomalous) else { return Vec::new() };
    let cuts = ranking.cuts(Positive::OutOfDistribution);
    cuts.map(|cut| (cut.true_positives as usize, cut.false_positives as usize)).collect()
}

/// Anomalies found (y) against normal images flagged (x), both as shares.
pub(super) fn roc(normal: &[f64], anomalous: &[f64]) -> Curve {
    let share = |(found, flagged): (usize, usize)| {
        (flagged as f64 / normal.len() as f64, found as f64 / anomalous.len() as f64)
    };
    let curve: Curve = [(0, 0)].into_iter().chain(sweep(normal, anomalous)).map(share).collect();
    thin(&without_straights(&curve))
}

/// The share of anomalies among the flagged (y, precision) against the anomalies found (x, recall).
pub(super) fn precision_recall(normal: &[f64], anomalous: &[f64]) -> Curve {
    let at = |(found, flagged): (usize, usize)| {
        (found as f64 / anomalous.len() as f64, found as f64 / (found + flagged) as f64)
    };
    let mut curve: Curve = sweep(normal, anomalous).into_iter().map(at).collect();
    curve.insert(0, (0.0, curve.first().map_or(1.0, |point| point.1)));
    thin(&curve)
}

/// The point of [`roc`] at a threshold, below which images are flagged.
pub(super) fn roc_at(normal: &[f64], anomalous: &[f64], threshold: f64) -> Option<Point> {
    let share = |scores: &[f64]| flagged(scores, threshold) / scores.len() as f64;
    Some((share(normal), share(anomalous)))
}

/// The point of [`precision_recall`] at a threshold; `None` where nothing is flagged.
pub(super) fn precision_recall_at(normal: &[f64], anomalous: &[f64], threshold: f64) -> Option<Point> {
    let found = flagged(anomalous, threshold);
    let all = found + flagged(normal, threshold);
    (all > 0.0).then(|| (found / anomalous.len() as f64, found / all))
}

fn flagged(scores: &[f64], threshold: f64) -> f64 {
    scores.iter().filter(|&&score| score < threshold).count() as f64
}

/// Drops the points in the middle of horizontal and vertical runs.
fn without_straights(curve: &Curve) -> Curve {
    let straight =
        |w: &[(f64, f64)]| (w[0].0 == w[1].0 && w[1].0 == w[2].0) || (w[0].1 == w[1].1 && w[1].1 == w[2].1);
    let inner = curve.windows(3).filter(|window| !straight(window)).map(|window| window[1]);
    curve.first().copied().into_iter().chain(inner).chain(curve.last().copied()).collect()
}

/// At most [`POINTS`] points, evenly picked, the first and the last among them.
fn thin(curve: &Curve) -> Curve {
    if curve.len() <= POINTS {
        return curve.clone();
    }
    (0..POINTS).map(|i| curve[i * (curve.len() - 1) / (POINTS - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcl_infer::metrics::{auroc, average_precision};

    fn noise(n: usize, shift: f64) -> Vec<f64> {
        (0..n).map(|i| (i as f64 * 0.618_034).fract() + shift - ((i * 7) % 5) as f64 * 0.1).collect()
    }

    #[test]
    fn the_area_under_the_drawn_curve_is_the_metric() {
        let (normal, anomalous) = (noise(150, 0.3), noise(120, 0.0));
        let area = |curve: &Curve| -> f64 {
            curve.windows(2).map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0).sum()
        };
        let exact = auroc(&normal, &anomalous).unwrap();
        assert!((area(&roc(&normal, &anomalous)) - exact).abs() < 1e-12);
        let steps: f64 =
            precision_recall(&normal, &anomalous).windows(2).map(|w| (w[1].0 - w[0].0) * w[1].1).sum();
        let exact = average_precision(&normal, &anomalous, Positive::OutOfDistribution).unwrap();
        assert!((steps - exact).abs() < 1e-12);
    }

    #[test]
    fn a_threshold_lies_on_both_curves() {
        let (normal, anomalous) = (noise(150, 0.3), noise(120, 0.0));
        let on_curve = |curve: &Curve, at: (f64, f64)| {
            // Between two neighbouring points, one of whose coordinates is the same or on the line between them.
            curve.windows(2).any(|w| {
                let inside = |a: f64, b: f64, x: f64| x >= a.min(b) - 1e-12 && x <= a.max(b) + 1e-12;
                inside(w[0].0, w[1].0, at.0) && inside(w[0].1, w[1].1, at.1)
            })
        };
        for threshold in [-0.2, 0.1, 0.4, 0.9] {
            let at = roc_at(&normal, &anomalous, threshold).unwrap();
            assert!(on_curve(&roc(&normal, &anomalous), at), "{threshold}: {at:?}");
            let at = precision_recall_at(&normal, &anomalous, threshold).unwrap();
            assert!(on_curve(&precision_recall(&normal, &anomalous), at), "{threshold}: {at:?}");
        }
        assert_eq!(roc_at(&[1.0, 2.0], &[1.0, 0.0], 1.5), Some((0.5, 1.0)));
        assert_eq!(precision_recall_at(&[1.0, 2.0], &[1.0, 0.0], 1.5), Some((1.0, 2.0 / 3.0)));
        assert_eq!(precision_recall_at(&[1.0], &[1.0], 0.5), None);
    }

    #[test]
    fn ties_are_one_threshold() {
        assert_eq!(sweep(&[1.0, 2.0], &[1.0, 0.0]), [(1, 0), (2, 1), (2, 2)]);
        assert_eq!(roc(&[1.0, 1.0], &[1.0]), [(0.0, 0.0), (1.0, 1.0)]);
    }

    #[test]
    fn long_curves_keep_their_ends() {
        let curve = roc(&noise(30_000, 0.2), &noise(30_000, 0.0));
        assert!(curve.len() <= POINTS);
        assert_eq!((curve[0], curve[curve.len() - 1]), ((0.0, 0.0), (1.0, 1.0)));
    }
}
