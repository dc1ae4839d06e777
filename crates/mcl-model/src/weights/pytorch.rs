//! Checkpoints written by `torch.save`, through the pure-Rust reader that Burn comes with: it interprets the pickle's
//! tensors and containers and never runs what a pickle asks to call.

use std::io;
use std::path::Path;

use burn::store::pytorch_reader::{
    DType as StoredType, PytorchError, PytorchReader, Tensor as PytorchTensor,
};
use burn::tensor::DType;

use super::error::WeightsError;
use super::state_dict::{StateDict, Stored};

const FORMAT: &str = "PyTorch";

/// Where a checkpoint may keep the state dict, when that is not the root.
const STATE_DICT_KEYS: [&str; 3] = ["net.", "state_dict.", "model."];

pub(super) fn read(path: &Path) -> Result<StateDict<'static>, WeightsError> {
    let reader = PytorchReader::new(path).map_err(|error| match error {
        PytorchError::Io(source) if !is_damage(&source) => WeightsError::Read { path: path.into(), source },
        error => WeightsError::Format { path: path.into(), format: FORMAT, reason: error.to_string() },
    })?;
    // The reader names a tensor by the keys that lead to it, so a nested state dict shows as a common prefix.
    let tensors = reader.into_tensors();
    let prefix = STATE_DICT_KEYS
        .into_iter()
        .find(|prefix| tensors.keys().any(|name| name.starts_with(prefix)))
        .unwrap_or_default();
    let state_dict = tensors
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), stored(tensor))));
    StateDict::new(path, FORMAT, state_dict)
}

fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn stored(tensor: PytorchTensor) -> Stored<'static> {
    let dtype = match tensor.dtype() {
        StoredType::F64 => Ok(DType::F64),
        StoredType::F32 => Ok(DType::F32),
        StoredType::F16 => Ok(DType::F16),
        StoredType::BF16 => Ok(DType::BF16),
        other => Err(format!("{other:?}").to_lowercase()),
    };
    Stored { shape: tensor.shape().to_vec(), dtype, bytes: Box::new(move || tensor.read()) }
}
