//! On a device whose default is not f32. The default is the process's, and so this is a test binary of its
//! own.

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use mcl_infer::{Aggregation, GaussianStatistics, MahalanobisConfig, NeighbourIndex};

#[test]
fn scores_are_f32_whatever_the_default() {
    let mut device = Device::flex();
    device.configure(FloatDType::BF16).unwrap();
    let f32s = |values: &[f32], shape: [usize; 3]| -> Tensor<3> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), (&device, DType::F32))
    };

    let mut statistics = GaussianStatistics::new(2, 1, 2);
    let features = [1.0, 0.1, 1.0, -0.1, 1.0, 0.0, 0.1, 1.0, -0.1, 1.0, 0.0, 1.0];
    statistics.update(&features, &[0, 0, 0, 1, 1, 1], &[0; 6]).unwrap();
    let scorer = statistics.fit(&MahalanobisConfig::new(), &device).unwrap();
    let scores = scorer.score(f32s(&[0.98, 0.03, -1.0, -1.0], [2, 1, 2]), &[0]).unwrap();
    assert_eq!((scores.dtype(), scores.dims()), (DType::F32, [2, 1, 2]));
    assert_eq!(scorer.score(f32s(&[], [0, 1, 2]), &[0]).unwrap().dtype(), DType::F32);

    // The same numbers again, in f64: those of a narrower type would be off in the third digit.
    let of_class_0 = |x: f64, y: f64| {
        let sample = |y: f64| [1.0 / (1.0 + y * y).sqrt(), y / (1.0 + y * y).sqrt()];
        let (a, c) = (sample(0.1), [1.0, 0.0]);
        let mean = (2.0 * a[0] + c[0]) / 3.0;
        let variance_x = (2.0 * (a[0] - mean).powi(2) + (c[0] - mean).powi(2)) / 2.0 + 1e-9;
        let variance_y = a[1] * a[1] + 1e-9;
        let norm = (x * x + y * y).sqrt();
        -((x / norm - mean).powi(2) / variance_x + (y / norm).powi(2) / variance_y)
    };
    let expected = of_class_0(f64::from(0.98f32), f64::from(0.03f32));
    let score = scores.clone().into_data().iter::<f64>().next().unwrap();
    assert!((score - expected).abs() < 1e-4 * expected.abs(), "{score} for {expected}");
    for &aggregation in Aggregation::ALL {
        assert_eq!(aggregation.apply(scores.clone()).scores.dtype(), DType::F32);
    }

    let rows = f32s(&[1.0, 0.001, 1.0, 0.0], [1, 2, 2]).reshape([2, 2]);
    let index = NeighbourIndex::new(rows.clone()).unwrap();
    let nearest = index.search(rows, 1).unwrap();
    assert_eq!([nearest[0][0].index, nearest[1][0].index], [0, 1]);
}
