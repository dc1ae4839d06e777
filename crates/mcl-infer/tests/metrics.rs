//! The metrics against their definitions, by counting over all pairs and all thresholds.

use mcl_infer::metrics::{Positive, aupr_trapezoid, auroc, average_precision, detection_error, fpr_at_tpr};
use proptest::collection::vec;
use proptest::prelude::*;

/// (true positive rate, false positive rate, precision) at each distinct score, from the strictest on.
fn curve(ind: &[f64], ood: &[f64], positive: Positive) -> Vec<(f64, f64, f64)> {
    // Turned so that the positives score high.
    let negated = |scores: &[f64]| scores.iter().map(|s| -s).collect::<Vec<_>>();
    let (positives, negatives) = match positive {
        Positive::InDistribution => (ind.to_vec(), ood.to_vec()),
        Positive::OutOfDistribution => (negated(ood), negated(ind)),
        other => panic!("no reference for {other:?}"),
    };
    let mut thresholds = [positives.clone(), negatives.clone()].concat();
    thresholds.sort_by(|a, b| b.partial_cmp(a).unwrap());
    thresholds.dedup();
    let at = |threshold: f64| {
        let passed = |scores: &[f64]| scores.iter().filter(|&&s| s >= threshold).count() as f64;
        let (tp, fp) = (passed(&positives), passed(&negatives));
        (tp / positives.len() as f64, fp / negatives.len() as f64, tp / (tp + fp))
    };
    thresholds.into_iter().map(at).collect()
}

/// Few distinct values, so that ties are common; both zeros, and infinities.
fn scores() -> impl Strategy<Value = Vec<f64>> {
    let score = prop_oneof![
        (-4i8..4).prop_map(|s| f64::from(s) / 2.0),
        -3.0..3.0f64,
        Just(-0.0),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY)
    ];
    vec(score, 1..40)
}

fn close(actual: f64, expected: f64) -> Result<(), TestCaseError> {
    prop_assert!((actual - expected).abs() < 1e-12, "{actual} for {expected}");
    Ok(())
}

proptest! {
    #[test]
    fn auroc_counts_pairs(ind in scores(), ood in scores()) {
        let pair = |i: f64, o: f64| if i > o { 1.0 } else if i == o { 0.5 } else { 0.0 };
        let pairs: f64 = ind.iter().map(|&i| ood.iter().map(|&o| pair(i, o)).sum::<f64>()).sum();
        close(auroc(&ind, &ood).unwrap(), pairs / (ind.len() * ood.len()) as f64)?;
    }

    #[test]
    fn auroc_is_the_same_for_either_positive(ind in scores(), ood in scores()) {
        let turned = |scores: &[f64]| scores.iter().map(|s| -s).collect::<Vec<_>>();
        close(auroc(&ind, &ood).unwrap(), auroc(turned(&ood), turned(&ind)).unwrap())?;
    }

    #[test]
    fn threshold_metrics_follow_the_curve(
        ind in scores(),
        ood in scores(),
        positive in prop_oneof![Just(Positive::InDistribution), Just(Positive::OutOfDistribution)],
        tpr in prop_oneof![0.001..1.0f64, Just(0.95), Just(1.0)],
    ) {
        let curve = curve(&ind, &ood, positive);

        let fpr = curve.iter().find(|point| point.0 >= tpr).unwrap().1;
        close(fpr_at_tpr(&ind, &ood, tpr, positive).unwrap(), fpr)?;

        let error = curve.iter().map(|(tpr, fpr, _)| (1.0 - tpr + fpr) / 2.0).fold(0.5, f64::min);
        close(detection_error(&ind, &ood).unwrap(), error)?;

        let (mut step, mut trapezoid, mut before) = (0.0, 0.0, (0.0, 1.0));
        for &(recall, _, precision) in &curve {
            step += (recall - before.0) * precision;
            trapezoid += (recall - before.0) * (precision + before.1) / 2.0;
            before = (recall, precision);
        }
        close(average_precision(&ind, &ood, positive).unwrap(), step)?;
        close(aupr_trapezoid(&ind, &ood, positive).unwrap(), trapezoid)?;
    }
}
