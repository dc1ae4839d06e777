//! The promise of the p-values and of the threshold, on simulated scores: exact where it is exact, within
//! binomial noise where it is a rate.

use mcl_infer::{Calibration, InferError};
use proptest::prelude::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn calibration(scores: &[f64]) -> Calibration {
    Calibration::new(scores.to_vec()).unwrap()
}

/// Skewed, heavy-tailed and (at the low end) far from Gaussian, as distances are.
fn draw(rng: &mut impl Rng) -> f64 {
    let uniform: f64 = rng.random_range(1e-12..1.0);
    -(uniform.ln().powi(2)) * if rng.random_bool(0.1) { 10.0 } else { 1.0 }
}

/// Of n + 1 scores without ties, each is the new one once: exchangeability in full. The p-values are then
/// each rank 1 / (n + 1), ..., 1 exactly once, so that P(p <= a) = floor(a (n + 1)) / (n + 1) with no error
/// at all.
#[test]
fn every_rank_comes_exactly_once() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for n in [1, 2, 19, 99, 500] {
        let scores: Vec<f64> = (0..=n).map(|_| draw(&mut rng)).collect();
        let mut ranks: Vec<usize> = (0..=n)
            .map(|new| {
                let mut others = scores.clone();
                let score = others.remove(new);
                (calibration(&others).p_value(score) * (n + 1) as f64).round() as usize
            })
            .collect();
        ranks.sort_unstable();
        assert_eq!(ranks, (1..=n + 1).collect::<Vec<_>>());
    }
}

/// False alarms at level a over fresh draws of calibration set and new image: at most a, within binomial
/// noise.
#[test]
fn false_alarms_keep_the_promise() {
    const TRIALS: usize = 20_000;
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for n in [19, 50, 200] {
        for alpha in [0.05, 0.1, 0.25] {
            let mut alarms = 0;
            for _ in 0..TRIALS {
                let scores: Vec<f64> = (0..n).map(|_| draw(&mut rng)).collect();
                let calibration = calibration(&scores);
                let new = draw(&mut rng);
                let flagged = calibration.p_value(new) <= alpha;
                assert_eq!(flagged, new < calibration.threshold(1.0 - alpha).unwrap());
                alarms += usize::from(flagged);
            }
            let rate = alarms as f64 / TRIALS as f64;
            let expected = (alpha * f64::from(n + 1) + 1e-9).floor() / f64::from(n + 1); // exact: no ties
            let four_sigma = 4.0 * (expected * (1.0 - expected) / TRIALS as f64).sqrt();
            assert!((rate - expected).abs() <= four_sigma, "n {n}, alpha {alpha}: {rate}, not {expected}");
            assert!(rate <= alpha + four_sigma, "n {n}, alpha {alpha}: {rate}");
        }
    }
}

/// With ties (scores cut off at the least f32, duplicates) there are fewer alarms, never more.
#[test]
fn ties_cost_alarms_and_never_add_any() {
    const TRIALS: usize = 20_000;
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut alarms = 0;
    for _ in 0..TRIALS {
        let scores: Vec<f64> = (0..99).map(|_| draw(&mut rng).floor()).collect();
        alarms += usize::from(calibration(&scores).p_value(draw(&mut rng).floor()) <= 0.1);
    }
    let four_sigma = 4.0 * (0.1 * 0.9 / TRIALS as f64).sqrt();
    let rate = alarms as f64 / TRIALS as f64;
    assert!(rate <= 0.1 + four_sigma, "{rate}");
}

proptest! {
    /// A score is below the threshold exactly when its p-value is at most k / (n + 1), ties or not.
    #[test]
    fn threshold_and_p_value_agree(scores in prop::collection::vec(-20i32..20, 1..150), new in -25i32..25, percent in 1u32..100) {
        let calibration = calibration(&scores.iter().map(|&s| f64::from(s)).collect::<Vec<_>>());
        let (n, tpr) = (scores.len(), f64::from(percent) / 100.0);
        let k = ((n + 1) * (100 - percent as usize) / 100).min(n);
        let p_value = calibration.p_value(f64::from(new));
        prop_assert!(p_value > 0.0 && p_value <= 1.0);
        match calibration.threshold(tpr) {
            Ok(threshold) => {
                prop_assert_eq!(f64::from(new) < threshold, p_value <= k as f64 / (n + 1) as f64);
            }
            Err(InferError::TooFewToCalibrate { scores, needed, .. }) => {
                prop_assert!(k == 0 && scores < needed);
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
    }
}

#[test]
fn the_threshold_is_the_conformal_quantile() {
    let scores = calibration(&(0..99).rev().map(f64::from).collect::<Vec<_>>());
    assert_eq!(scores.threshold(0.95).unwrap(), 4.0); // the 5th lowest of 99
    assert_eq!(scores.threshold(0.99).unwrap(), 0.0); // the lowest
    assert_eq!(scores.threshold(1e-6).unwrap(), 98.0);
}

#[test]
fn too_few_scores_say_how_many_are_needed() {
    match calibration(&[0.0; 18]).threshold(0.95) {
        Err(InferError::TooFewToCalibrate { scores: 18, needed: 19, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(calibration(&[0.0; 19]).threshold(0.95).is_ok());
    for tpr in [0.5, 1e-10, 1e-300] {
        let none = calibration(&[]).threshold(tpr);
        assert!(matches!(none, Err(InferError::TooFewToCalibrate { scores: 0, needed: 1, .. })), "{none:?}");
    }
}

#[test]
fn stored_scores_are_checked() {
    let scores = calibration(&[3.0, -1.0, 2.5]);
    let stored = serde_json::to_string(&scores).unwrap();
    assert_eq!(stored, "[-1.0,2.5,3.0]");
    assert_eq!(serde_json::from_str::<Calibration>(&stored).unwrap(), scores);
    assert_eq!(serde_json::from_str::<Calibration>("[3.0, 2.5, -1.0]").unwrap(), scores);
    let infinite =
        <serde::de::value::SeqDeserializer<_, serde::de::value::Error>>::new([f64::INFINITY].into_iter());
    assert!(<Calibration as serde::Deserialize>::deserialize(infinite).is_err());
}

#[test]
fn extremes() {
    let scores = calibration(&[-1.0, -2.0, -3.0]);
    assert_eq!(scores.p_value(f64::NEG_INFINITY), 0.25);
    assert_eq!(scores.p_value(f64::INFINITY), 1.0);
    assert_eq!(scores.p_value(f64::NAN), 0.25);
    assert_eq!(calibration(&[]).p_value(-5.0), 1.0);
    let bad = Calibration::new(vec![1.0, f64::NAN]);
    assert!(matches!(bad, Err(InferError::CalibrationScore { position: 1, .. })), "{bad:?}");
    for rate in [0.0, 1.0, -0.5, f64::NAN] {
        assert!(matches!(scores.threshold(rate), Err(InferError::Rate { .. })));
    }
}
