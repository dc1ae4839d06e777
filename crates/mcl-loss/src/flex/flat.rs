//! Dense f32 tensors of the flex backend as slices, and back.

use burn::backend::{Flex, tensor::FloatTensor};
use burn::tensor::TensorData;

/// A tensor of the flex backend.
pub(super) type Flat = FloatTensor<Flex>;

/// The values of a tensor that [`dense`] made.
pub(super) fn values(tensor: &Flat) -> &[f32] {
    tensor.as_slice().expect("a dense f32 tensor")
}

/// The same tensor with its rows one after another in memory.
pub(super) fn dense(tensor: &Flat) -> Flat {
    tensor.to_contiguous()
}

pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Flat {
    Flat::from_data(TensorData::new(values, shape))
}
