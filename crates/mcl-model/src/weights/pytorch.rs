//! Checkpoints written by `torch.save`, through the pure-Rust reader that Burn comes with: it interprets the
//! pickle's tensors and containers and never runs what a pickle asks to call.

use std::fs::File;
use std::io::{self, Read};
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
    let format = |reason| WeightsError::Format { path: path.into(), format: FORMAT, reason };
    if is_tar(path).map_err(|source| WeightsError::Read { path: path.into(), source })? {
        return Err(format(
            "it is a tar archive, as PyTorch before 0.1.10 wrote: load it there and save it again with a newer PyTorch"
                .into(),
        ));
    }
    let reader = PytorchReader::new(path).map_err(|error| match error {
        PytorchError::Io(source) if !is_damage(&source) => WeightsError::Read { path: path.into(), source },
        error => format(error.to_string()),
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

/// Whether the reader would take the file for a tar archive. It reads their members whole, and a sparse
/// member of a file of 1 kB may say that it has terabytes.
fn is_tar(path: &Path) -> io::Result<bool> {
    const MAGIC: &[u8] = b"ustar";
    const OFFSET: usize = 257;
    let mut header = Vec::new();
    File::open(path)?.take((OFFSET + MAGIC.len()) as u64).read_to_end(&mut header)?;
    let is_zip = header.starts_with(b"PK\x03\x04") || header.starts_with(b"PK\x05\x06");
    Ok(!is_zip && header.get(OFFSET..) == Some(MAGIC))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A tar header of GNU's: one member, all of whose terabyte is a hole.
    fn sparse_tar() -> Vec<u8> {
        let mut header = [0; 512];
        header[..8].copy_from_slice(b"storages");
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(b"00000000000\0");
        header[156] = b'S';
        header[257..265].copy_from_slice(b"ustar  \0");
        // Numbers of 2^40 in base 256. Where the first part begins, and how long the member is.
        for field in [386, 483] {
            header[field] = 0x80;
            header[field + 6] = 1;
        }
        header[398..410].copy_from_slice(b"00000000000\0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        [&header[..], &[0; 1024]].concat()
    }

    #[test]
    fn tar_archives_are_refused_unread() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sparse.pt");
        std::fs::write(&path, sparse_tar()).unwrap();
        let Err(error) = read(&path) else { panic!("a tar archive was read") };
        assert!(matches!(error, WeightsError::Format { .. }), "{error}");
        assert!(error.to_string().contains("save it again with a newer PyTorch"), "{error}");
    }

    #[test]
    fn other_files_are_not_taken_for_tar_archives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("other.pt");
        let mut zip = [0; 300];
        zip[..4].copy_from_slice(b"PK\x03\x04");
        zip[257..262].copy_from_slice(b"ustar");
        for other in [&zip[..], &zip[..261], b""] {
            std::fs::write(&path, other).unwrap();
            assert!(!is_tar(&path).unwrap());
        }
    }
}
