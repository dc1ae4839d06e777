//! Tensors of the flex backend and the memory behind them.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::TensorData;

use super::pool::Pool;

/// A tensor of the flex backend.
pub(super) type FlexTensor = FloatTensor<Flex>;

/// The same tensor, row-major and with nothing else in its buffer.
pub(super) fn dense(tensor: FlexTensor) -> FlexTensor {
    let dense = tensor.to_contiguous();
    drop(tensor);
    dense
}

pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a dense f32 tensor")
}

pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// `[channels]`
pub(super) fn vector(values: Vec<f32>) -> FlexTensor {
    let len = values.len();
    tensor(values, [len])
}

/// Keeps the memory of a tensor that no one else holds.
pub(super) fn recycle(pool: &Pool, tensor: FlexTensor) {
    if tensor.is_unique()
        && let Ok(values) = tensor.into_data().try_into_vec()
    {
        pool.give_back(values);
    }
}
