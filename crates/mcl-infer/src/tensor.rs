//! Tensors from numbers of the host.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// In f32, whatever the default of the device: scores are computed in it, and the types of two operands must agree.
pub(crate) fn f32_tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}
