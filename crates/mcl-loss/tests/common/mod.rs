//! Batches and tensors for the integration tests.
#![allow(dead_code, unreachable_pub)] // each test binary takes a part

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use mcl_loss::MclLabels;

/// A batch on the host, views as rows.
#[derive(Debug, Clone)]
pub struct Batch {
    pub images: usize,
    pub dim: usize,
    pub projections: Vec<f64>,
    pub class: Vec<i64>,
    pub aux: Option<Vec<i64>>,
}

impl Batch {
    pub fn views(&self) -> usize {
        2 * self.images
    }

    pub fn row(&self, view: usize) -> &[f64] {
        &self.projections[view * self.dim..(view + 1) * self.dim]
    }

    /// Projections that collect gradients, `[images, 2, dim]`.
    pub fn tensor(&self, dtype: DType) -> Tensor<3> {
        let data = TensorData::new(self.projections.clone(), [self.images, 2, self.dim]);
        Tensor::from_data(data, (&Device::default().autodiff(), dtype)).require_grad()
    }

    pub fn labels(&self) -> MclLabels {
        let device = Device::default().autodiff();
        let tensor = |labels: &Vec<i64>| Tensor::<1, Int>::from_ints(labels.as_slice(), &device);
        let labels = MclLabels::new(tensor(&self.class));
        match &self.aux {
            Some(aux) => labels.with_aux(tensor(aux)),
            None => labels,
        }
    }

    /// Value and gradient of a loss.
    pub fn evaluate(&self, dtype: DType, loss: impl Fn(Tensor<3>) -> Tensor<1>) -> (f64, Vec<f64>) {
        let projections = self.tensor(dtype);
        let value = loss(projections.clone());
        let gradients = value.backward();
        let gradient = projections.grad(&gradients).expect("the loss depends on the projections");
        (scalar(value), gradient.into_data_as::<f64>().try_to_vec().unwrap())
    }
}

pub fn scalar(value: Tensor<1>) -> f64 {
    value.into_data_as::<f64>().try_to_vec::<f64>().unwrap()[0]
}

/// `actual` within `relative` of `expected`, relative to 1 below magnitude 1e-3 of a loss.
pub fn assert_close(name: &str, actual: f64, expected: f64, relative: f64) {
    let error = (actual - expected).abs();
    assert!(error <= relative * expected.abs().max(1e-3), "{name}: {actual} instead of {expected}");
}

/// Each entry within `relative` of the expected one, relative to the largest entry.
pub fn assert_all_close(name: &str, actual: &[f64], expected: &[f64], relative: f64) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    let scale = expected.iter().fold(0.0_f64, |scale, value| scale.max(value.abs()));
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let error = (actual - expected).abs();
        assert!(
            error <= relative * scale,
            "{name}[{index}]: {actual} instead of {expected}, largest {scale}"
        );
    }
}
