//! Why a detector is not exported.

use std::path::PathBuf;

use mcl_data::printable;
use mcl_infer::InferError;

use crate::detector::DetectorError;
use crate::files::FileError;

/// Errors of [`to_onnx`](super::to_onnx), [`save_onnx`](super::save_onnx) and
/// [`save_hugging_face`](super::save_hugging_face).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The shape of the network is not known: the detector was made by
    /// [`Detector::fit_network`](crate::detector::Detector::fit_network).
    #[error(
        "the settings that the network was made with are not known: make the detector with Detector::fit"
    )]
    UnknownNetwork,
    /// A setting has a value for which there is no ONNX graph.
    #[error("detectors with the {setting} {value} cannot be exported as an ONNX graph")]
    Unsupported {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
    },
    /// A weight that the network of these settings has is not there.
    #[error("the network has no weight {name}, which a network of its settings has")]
    MissingWeight {
        /// Name of the weight, as PyTorch has it.
        name: String,
    },
    /// The images of the detector are too small for its network.
    #[error(
        "images of {height} x {width} pixels are too small for the network, which takes {least} x {least} and larger"
    )]
    ImageSize {
        /// Height of the images.
        height: usize,
        /// Width of the images.
        width: usize,
        /// Least height and width.
        least: usize,
    },
    /// The graph is larger than a file of ONNX may be.
    #[error(
        "the ONNX graph would have {bytes} bytes, and {limit} are the most: export a smaller network, fewer classes, or \
         Gaussians with Covariance::Tied"
    )]
    TooLarge {
        /// Bytes of the graph.
        bytes: usize,
        /// Bytes that a message of Protocol Buffers may have.
        limit: usize,
    },
    /// Something is there already.
    #[error("{} is there already: choose another place, or ask for it to be replaced (--force)", printable(.path))]
    Exists {
        /// The file or directory.
        path: PathBuf,
    },
    /// The file that is to be replaced is no ONNX graph that this library wrote.
    #[error("{} is no ONNX graph that burn-mcl wrote, and is kept: choose another place", printable(.path))]
    NoGraph {
        /// The file.
        path: PathBuf,
    },
    /// The directory that is to be replaced holds a file that an export does not write.
    #[error(
        "{} would be deleted with the directory: export to another directory and copy the files",
        printable(.path)
    )]
    Foreign {
        /// The file or directory in it.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The scores of the detector are not defined.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// The detector could not be saved.
    #[error(transparent)]
    Detector(#[from] DetectorError),
}
