//! Stored scorers: read bit for bit, those of earlier versions too, and refused when damaged.

mod common;

use burn::tensor::Device;
use common::{embeddings, fit, numbers, uniform};
use mcl_infer::{
    Cluster, Covariance, Distance, InferError, MahalanobisConfig, MahalanobisRecord, MahalanobisScorer,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[test]
fn stored_scorers_score_the_same_to_the_last_bit() {
    let rng = &mut ChaCha8Rng::seed_from_u64(6);
    for covariance in [Covariance::PerClass, Covariance::Tied] {
        let config = MahalanobisConfig::new().with_covariance(covariance).with_distance(Distance::Root);
        let scorer = fit(&config, [3, 4, 8], 20, |_, _| uniform(rng, 8));
        let queries = embeddings(&uniform(rng, 10 * 4 * 8), 4, 8);

        let json = serde_json::to_string(scorer.record()).unwrap();
        let record: MahalanobisRecord = serde_json::from_str(&json).unwrap();
        assert_eq!(&record, scorer.record());
        let loaded = record.into_scorer(&Device::flex()).unwrap();
        let score = |scorer: &MahalanobisScorer| {
            let scores = numbers(scorer.score(queries.clone(), &[0, 1, 2, 3]).unwrap());
            scores.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(score(&loaded), score(&scorer));
    }
}

#[test]
fn damaged_records_are_refused() {
    let rng = &mut ChaCha8Rng::seed_from_u64(7);
    let good = fit(&MahalanobisConfig::new(), [2, 2, 3], 9, |_, _| uniform(rng, 3)).record().clone();
    let refused = |damage: &dyn Fn(&mut MahalanobisRecord)| {
        let mut record = good.clone();
        damage(&mut record);
        record.into_scorer(&Device::flex()).unwrap_err()
    };
    let means = refused(&|record| record.means.truncate(11));
    assert_eq!(means, InferError::RecordLength { field: "means", expected: 12, found: 11 });
    let covariances = refused(&|record| record.dim = 1 << 40);
    assert!(matches!(covariances, InferError::RecordLength { .. }), "{covariances}");
    assert!(matches!(refused(&|record| record.classes = 0), InferError::Empty { .. }));
    let nan = refused(&|record| record.covariances[7] = f64::NAN);
    assert!(matches!(nan, InferError::RecordValue { field: "covariances", position: 7, .. }), "{nan}");
    // The covariance of class 1, auxiliary class 0 is the third of four.
    let flat = refused(&|record| record.covariances[2 * 9..3 * 9].fill(1.0));
    assert!(
        flat.to_string().contains("covariance of class 1, auxiliary class 0 is not positive definite"),
        "{flat}"
    );
}

fn stored() -> serde_json::Value {
    serde_json::from_str(include_str!("golden/stored.json")).unwrap()
}

fn old(covariance: &str) -> MahalanobisRecord {
    serde_json::from_value(stored()[covariance]["record"].clone()).unwrap()
}

/// The form of version 0.1.0, in which a tied record repeats its covariances for each class.
#[test]
fn scorers_of_earlier_versions_are_read() {
    let value = |i: usize| ((i * 7919 + 3 * 104_729) % 1009) as f32 / 504.5 - 1.0;
    let queries = embeddings(&(0..12).map(value).collect::<Vec<_>>(), 2, 2);
    for covariance in ["per_class", "tied"] {
        let scorer = old(covariance).into_scorer(&Device::flex()).unwrap();
        let scores = numbers(scorer.score(queries.clone(), &[0, 1]).unwrap());
        let expected: Vec<u32> = serde_json::from_value(stored()[covariance]["score_bits"].clone()).unwrap();
        for (score, expected) in scores.iter().zip(expected.into_iter().map(f32::from_bits)) {
            // A compiler or a processor of another kind may round the last bits differently, and tied scores
            // are whitened in f64 since.
            assert!((score - expected).abs() <= 1e-6 * expected.abs(), "{score} for {expected}");
        }
    }
    // What is stored of a class's own covariances has not changed, and tied ones are stored once.
    let per_class = old("per_class").into_scorer(&Device::flex()).unwrap();
    assert_eq!(serde_json::to_value(per_class.record()).unwrap(), stored()["per_class"]["record"]);
    let tied = old("tied").into_scorer(&Device::flex()).unwrap();
    assert_eq!(tied.covariances(), &old("tied").covariances[..2 * 2 * 2]);
}

/// A record of another hand may call covariances tied that are not.
#[test]
fn covariances_that_differ_are_not_shared() {
    let mut record = old("tied");
    record.covariances[8] *= 2.0; // of class 1
    let scorer = record.clone().into_scorer(&Device::flex()).unwrap();
    assert_eq!(scorer.covariances(), record.covariances);
    let config = record.config.with_covariance(Covariance::PerClass);
    let apart = MahalanobisRecord { config, ..record }.into_scorer(&Device::flex()).unwrap();
    let score = |scorer: &MahalanobisScorer| {
        numbers(scorer.score(embeddings(&[1.0, 2.0, -1.0, 0.5], 2, 2), &[0, 1]).unwrap())
    };
    assert_eq!(score(&scorer), score(&apart));
}

#[test]
fn a_covariance_must_be_symmetric() {
    let rng = &mut ChaCha8Rng::seed_from_u64(7);
    for tied in [false, true] {
        let covariance = if tied { Covariance::Tied } else { Covariance::PerClass };
        let config = MahalanobisConfig::new().with_covariance(covariance);
        let good = fit(&config, [2, 2, 3], 9, |_, _| uniform(rng, 3)).record().clone();
        let mut bad = good.clone();
        bad.covariances[9 + 5] += 0.01; // row 1, column 2 of the second matrix
        let error = bad.into_scorer(&Device::flex()).unwrap_err();
        let InferError::RecordAsymmetry { cluster, row: 2, column: 1, .. } = error else { panic!("{error}") };
        assert_eq!(cluster, Cluster { class: (!tied).then_some(0), aux: 1 });
        // The rounding of a product is no damage.
        let mut rounded = good;
        rounded.covariances[9 + 5] *= 1.0 + 1e-14;
        rounded.into_scorer(&Device::flex()).unwrap();
    }
}
