//! Samples that are counted from tensors, and samples that cannot be counted.

use burn::tensor::{Device, Int, Tensor};
use mcl_infer::{Covariance, GaussianStatistics, InferError, MahalanobisConfig};

#[test]
fn tensors_count_like_slices() {
    let device = Device::flex();
    let mut slices = GaussianStatistics::new(2, 2, 2);
    slices.update(&[1.0, 2.0, 3.0, 4.0], &[0, 1], &[1, 0]).unwrap();
    let mut tensors = GaussianStatistics::new(2, 2, 2);
    let features = || Tensor::<2>::from_data([[1.0, 2.0], [3.0, 4.0]], &device);
    let labels = |labels: [i32; 2]| Tensor::<1, Int>::from_data(labels, &device);
    tensors.update_tensors(features(), labels([0, 1]), labels([1, 0])).unwrap();
    assert_eq!(tensors, slices);
    let error = tensors.update_tensors(features(), labels([0, -1]), labels([1, 0])).unwrap_err();
    assert_eq!(error, InferError::NegativeLabel { row: 1, label: -1 });
    let wide = Tensor::zeros([2, 3], &device);
    let error = tensors.update_tensors(wide, labels([0, 1]), labels([1, 0])).unwrap_err();
    assert_eq!(error, InferError::FeatureCount { rows: 2, dim: 2, found: 6 });
    assert_eq!(tensors, slices);
}

#[test]
fn bad_rows_are_named_and_nothing_is_counted() {
    let mut statistics = GaussianStatistics::new(2, 2, 2);
    statistics.update(&[1.0, 2.0], &[1], &[1]).unwrap();
    let before = statistics.clone();

    let good = [1.0, 2.0];
    let mut refused = |features: &[f32], class: &[usize], aux: &[usize]| {
        let error = statistics.update(&[&good[..], features].concat(), class, aux).unwrap_err();
        assert_eq!(statistics, before);
        error
    };
    assert_eq!(refused(&[1.0, 1.0], &[0, 1], &[0]), InferError::LabelCount { class: 2, aux: 1 });
    assert_eq!(refused(&[1.0], &[0, 1], &[0, 1]), InferError::FeatureCount { rows: 2, dim: 2, found: 3 });
    assert_eq!(
        refused(&[1.0, 1.0], &[0, 2], &[0, 1]),
        InferError::ClassOutOfRange { row: 1, class: 2, classes: 2 }
    );
    assert_eq!(
        refused(&[1.0, 1.0], &[0, 1], &[0, 7]),
        InferError::AuxOutOfRange { row: 1, aux: 7, aux_classes: 2 }
    );
    assert_eq!(refused(&[0.0, -0.0], &[0, 1], &[0, 1]), InferError::ZeroFeature { row: 1, class: 1, aux: 1 });
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = refused(&[1.0, value], &[0, 1], &[0, 1]).to_string();
        assert!(
            error.contains(&format!("row 1 (class 1, auxiliary class 1) holds {value} at position 1")),
            "{error}"
        );
    }
}

#[test]
fn merging_needs_the_same_shape() {
    let mut statistics = GaussianStatistics::new(2, 2, 2);
    let raw = MahalanobisConfig::new().with_normalize(false);
    let tied = MahalanobisConfig::new().with_covariance(Covariance::Tied);
    for (other, what) in [
        (GaussianStatistics::new(3, 2, 2), "number of classes of 3"),
        (GaussianStatistics::new(2, 1, 2), "number of auxiliary classes of 1"),
        (GaussianStatistics::new(2, 2, 4), "dimension 4"),
        (raw.statistics(2, 2, 2), "normalize (0 = off, 1 = on) of 0"),
        (tied.statistics(2, 2, 2), "tied (0 = off, 1 = on) of 1"),
    ] {
        let error = statistics.merge(&other).unwrap_err();
        assert!(matches!(error, InferError::Unmergeable { .. }));
        assert!(error.to_string().contains(what), "{error}");
    }
}
