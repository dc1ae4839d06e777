//! The safetensors format.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::DType;
use safetensors::tensor::TensorView;
use safetensors::{Dtype as StoredType, SafeTensors};

use super::error::WeightsError;
use super::named::{PytorchWeight, pytorch_weights};
use super::state_dict::{StateDict, Stored};
use crate::model::MclModel;
use crate::parameters::Named;

const FORMAT: &str = "safetensors";

/// The whole file, unless it is far larger than these weights as f64 and a header can be.
pub(super) fn read(weights: &[Named<'_>], path: &Path) -> Result<Vec<u8>, WeightsError> {
    read_limited(
        weights.iter().map(|named| named.weight.pytorch_shape().iter().product::<usize>()).sum(),
        path,
    )
}

/// The bytes of a file, unless it is far larger than `values` weights in f64 and a header can be.
pub(crate) fn read_limited(values: usize, path: &Path) -> Result<Vec<u8>, WeightsError> {
    let in_file = |source: io::Error| WeightsError::Read { path: path.into(), source };
    let file = File::open(path).map_err(in_file)?;
    let bytes = file.metadata().map_err(in_file)?.len();
    let limit = (64 << 20) + 16 * values as u64;
    if bytes > limit {
        return Err(WeightsError::TooLarge { path: path.into(), bytes, limit });
    }
    let mut content = Vec::with_capacity(bytes as usize);
    // The file may grow while it is read.
    file.take(limit).read_to_end(&mut content).map_err(in_file)?;
    Ok(content)
}

impl<'a> StateDict<'a> {
    /// The tensors of a file's content.
    pub(super) fn from_safetensors(content: &'a [u8], path: &Path) -> Result<Self, WeightsError> {
        let tensors = SafeTensors::deserialize(content).map_err(|error| WeightsError::Format {
            path: path.into(),
            format: FORMAT,
            reason: error.to_string(),
        })?;
        let stored = tensors.tensors().into_iter().map(|(name, view)| {
            let dtype = match view.dtype() {
                StoredType::F64 => Ok(DType::F64),
                StoredType::F32 => Ok(DType::F32),
                StoredType::F16 => Ok(DType::F16),
                StoredType::BF16 => Ok(DType::BF16),
                other => Err(other.to_string().to_lowercase()),
            };
            let (shape, data) = (view.shape().to_vec(), view.data());
            (name, Stored { shape, dtype, bytes: Box::new(move || Ok(data.to_vec())) })
        });
        Self::new(path, FORMAT, stored)
    }
}

pub(super) fn write(model: &MclModel, path: &Path) -> Result<(), WeightsError> {
    let mut tensors: Vec<(String, StoredType, Vec<usize>, Vec<u8>)> = Vec::new();
    for PytorchWeight { name, shape, values } in pytorch_weights(model) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        if let Some(norm) = name.strip_suffix(".running_var") {
            let counter = format!("{norm}.num_batches_tracked");
            tensors.push((counter, StoredType::I64, Vec::new(), 0_i64.to_le_bytes().to_vec()));
        }
        tensors.push((name, StoredType::F32, shape, bytes));
    }
    let in_file = |source: io::Error| WeightsError::Write { path: path.into(), source };
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| in_file(io::Error::other(error)))?;
    // What Python's safetensors writes for PyTorch. One entry only: the order of several is random.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let content =
        safetensors::serialize(views, Some(metadata)).map_err(|error| in_file(io::Error::other(error)))?;
    replace_file(path, &content).map_err(in_file)
}

/// Writes beside the file, makes sure the bytes are on disk, then renames.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    // Two threads that save to one path must not write into the same file.
    static SAVES: AtomicU64 = AtomicU64::new(0);
    let save = SAVES.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().ok_or_else(|| io::Error::other("the path does not name a file"))?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}-{save}.tmp", std::process::id()));
    let temporary: PathBuf = path.with_file_name(temporary);
    let written =
        OpenOptions::new().write(true).create(true).truncate(true).open(&temporary).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
    written.and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        // Nothing more can be done about a leftover.
        let _ = fs::remove_file(&temporary);
    })
}
