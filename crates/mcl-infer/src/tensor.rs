//! Numbers between tensors and the host.

use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};

use crate::error::InferError;

/// In f32, whatever the default of the device: scores are computed in it, and the types of two operands must
/// agree.
pub(crate) fn f32_tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

/// The numbers of a tensor, row-major, as f32.
pub(crate) fn f32_values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, InferError> {
    tensor.without_autodiff().cast(FloatDType::F32).try_into_vec_as::<f32>().map_err(InferError::device)
}

/// Labels counted from 0.
pub(crate) fn labels(tensor: Tensor<1, Int>) -> Result<Vec<usize>, InferError> {
    let labels = tensor.try_into_vec_as::<i64>().map_err(InferError::device)?;
    let label = |(row, label)| usize::try_from(label).map_err(|_| InferError::NegativeLabel { row, label });
    labels.into_iter().enumerate().map(label).collect()
}
