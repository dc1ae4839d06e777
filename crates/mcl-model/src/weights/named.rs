//! The weights of a network as plain numbers, under PyTorch's names and in PyTorch's layout.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::state_dict::transpose;
use crate::model::MclModel;
use crate::parameters::{Weight, named_weights};

/// A weight of a network as PyTorch's `state_dict` has it. Made by [`MclModel::pytorch_weights`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PytorchWeight {
    /// The name: `enc.conv1.weight`, for example.
    pub name: String,
    /// The shape: filters are `[out, in, height, width]`, weights of linear layers `[out, in]`.
    pub shape: Vec<usize>,
    /// The values, row by row.
    pub values: Vec<f32>,
}

/// All weights of a model, in the order of PyTorch's `state_dict`, without `num_batches_tracked`.
pub(super) fn pytorch_weights(model: &MclModel) -> Vec<PytorchWeight> {
    // A snapshot: it folds in the last update of the running statistics, which otherwise lag one step behind.
    let mut snapshot = model.valid();
    let weights = named_weights(&mut snapshot).into_iter().map(|named| {
        let shape = named.weight.pytorch_shape();
        let values = match named.weight {
            Weight::Conv { filters, .. } => values(filters),
            Weight::Linear(param) => transpose(&values(param), shape[1], shape[0]),
            Weight::ConvBias(param) | Weight::LinearBias { bias: param, .. } | Weight::Norm(param) => {
                values(param)
            }
            Weight::Running(state) => state.value().into_data().iter().collect(),
        };
        PytorchWeight { name: named.name, shape, values }
    });
    weights.collect()
}

fn values<const D: usize>(param: &Param<Tensor<D>>) -> Vec<f32> {
    param.val().into_data().iter().collect()
}
