//! The weights of a file by name, and their way into a network.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use burn::module::RunningState;
use burn::tensor::{DType, Tensor, TensorData};

use super::error::{WeightProblem, WeightsError};
use crate::layers::replace;
use crate::parameters::{Named, Weight};

/// A tensor of a file. Its bytes (contiguous, row-major, native-endian) are fetched only when it is needed.
pub(super) struct Stored<'a> {
    pub(super) shape: Vec<usize>,
    /// The type of its values when they are floating point, otherwise the name of their type.
    pub(super) dtype: Result<DType, String>,
    pub(super) bytes: Box<dyn Fn() -> io::Result<Vec<u8>> + 'a>,
}

/// The tensors of a file by name.
pub(super) struct StateDict<'a> {
    format: &'static str,
    tensors: BTreeMap<String, Stored<'a>>,
}

impl<'a> StateDict<'a> {
    pub(super) fn new(
        path: &Path,
        format: &'static str,
        tensors: impl IntoIterator<Item = (String, Stored<'a>)>,
    ) -> Result<Self, WeightsError> {
        let mut by_name = BTreeMap::new();
        for (name, tensor) in tensors {
            let name = without_wrappers(&name);
            if by_name.contains_key(&name) {
                let reason = format!("more than one tensor is called {name}");
                return Err(WeightsError::Format { path: path.into(), format, reason });
            }
            by_name.insert(name, tensor);
        }
        Ok(Self { format, tensors: by_name })
    }

    /// Without the tensors whose name begins so.
    pub(super) fn without(mut self, prefix: &str) -> Self {
        self.tensors.retain(|name, _| !name.starts_with(prefix));
        self
    }

    /// Replaces all weights that `named_weights` lists of a network, or none.
    pub(super) fn apply_to<M>(
        mut self,
        mut network: M,
        named_weights: impl Fn(&mut M) -> Vec<Named<'_>>,
        path: &Path,
    ) -> Result<M, WeightsError> {
        let mut problems = Vec::new();
        let mut values = Vec::new();
        for named in named_weights(&mut network) {
            let expected = named.weight.pytorch_shape();
            let stored = self.tensors.remove(&named.name);
            match self.check(named.name, expected, stored, path)? {
                Ok(data) => values.push(data),
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(
            std::mem::take(&mut self.tensors)
                .into_iter()
                .map(|(name, stored)| WeightProblem::Unused { name, found: stored.shape }),
        );
        if !problems.is_empty() {
            return Err(WeightsError::Mismatch { path: path.into(), problems });
        }
        for (named, values) in named_weights(&mut network).into_iter().zip(values) {
            set(named.weight, values);
        }
        Ok(network)
    }

    /// The values of a weight, or what is wrong with them; an error when the file itself is damaged.
    fn check(
        &mut self,
        name: String,
        expected: Vec<usize>,
        stored: Option<Stored<'_>>,
        path: &Path,
    ) -> Result<Result<Vec<f32>, WeightProblem>, WeightsError> {
        // Counts batches in PyTorch; Burn has no such counter.
        if let Some(norm) = name.strip_suffix(".running_var") {
            self.tensors.remove(&format!("{norm}.num_batches_tracked"));
        }
        let Some(stored) = stored else {
            return Ok(Err(WeightProblem::Missing { name, expected }));
        };
        if stored.shape != expected {
            return Ok(Err(WeightProblem::Shape { name, expected, found: stored.shape }));
        }
        let dtype = match stored.dtype {
            Ok(dtype) => dtype,
            Err(found) => return Ok(Err(WeightProblem::Type { name, found })),
        };
        let damaged =
            |reason: String| WeightsError::Format { path: path.into(), format: self.format, reason };
        let bytes = (stored.bytes)().map_err(|error| damaged(error.to_string()))?;
        let values: Vec<f32> = TensorData::try_from_bytes_vec(bytes, stored.shape, dtype)
            .and_then(TensorData::try_into_vec_as)
            .map_err(|error| damaged(format!("{name}: {error:?}")))?;
        let count = values.iter().filter(|value| !value.is_finite()).count();
        if count > 0 {
            return Ok(Err(WeightProblem::NotFinite { name, count }));
        }
        let count = values.iter().filter(|&&value| value < 0.0).count();
        if count > 0 && name.ends_with(".running_var") {
            return Ok(Err(WeightProblem::NegativeVariance { name, count }));
        }
        Ok(Ok(values))
    }
}

/// Gives a weight the values that PyTorch stores for it; lengths have been checked.
fn set(weight: Weight<'_>, values: Vec<f32>) {
    match weight {
        Weight::Conv { filters, .. } => {
            let shape = filters.lazy_shape();
            replace(filters, TensorData::new(values, shape));
        }
        Weight::Linear(param) => {
            let [d_in, d_out] = param.lazy_shape().dims();
            replace(param, TensorData::new(transpose(&values, d_out, d_in), [d_in, d_out]));
        }
        Weight::ConvBias(param) | Weight::LinearBias { bias: param, .. } | Weight::Norm(param) => {
            let shape = param.lazy_shape();
            replace(param, TensorData::new(values, shape));
        }
        // A new state rather than new values: clones of a module share theirs, and an update that is not yet
        // folded in would undo the load.
        Weight::Running(state) => {
            let device = state.value().device();
            let length = values.len();
            *state = RunningState::new(Tensor::from_data(TensorData::new(values, [length]), &device));
        }
    }
}

/// Row-major `[rows, columns] -> [columns, rows]`.
pub(super) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}

/// Removes what `DataParallel` (`module`) and `torch.compile` (`_orig_mod`) put around a module.
fn without_wrappers(name: &str) -> String {
    let segments: Vec<&str> =
        name.split('.').filter(|segment| !matches!(*segment, "module" | "_orig_mod")).collect();
    segments.join(".")
}
