//! What can go wrong with a file of weights.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Weights that cannot be read, written, or used by the network at hand.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file cannot be opened or read.
    #[error("cannot read weights from {path:?}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file cannot be written. What was at its place before is still there.
    #[error("cannot write weights to {path:?}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is not what it should be, or damaged.
    #[error("{path:?} is not a valid {format} file (truncated, damaged, or of another kind): {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What was expected: `safetensors` or `PyTorch`.
        format: &'static str,
        /// What the parser found.
        reason: String,
    },
    /// The file is far larger than any file with weights of this network; it was not read.
    #[error("{path:?} has {bytes} bytes, but the weights of this network take at most {limit}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most that would have been read.
        limit: u64,
    },
    /// The file holds weights of another network. Every difference is listed; nothing was loaded.
    #[error("the weights in {path:?} do not fit the network, {}", list(problems))]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// All differences: first in the order of the network, then what the network has no place for.
        problems: Vec<WeightProblem>,
    },
}

/// One difference between the weights of a file and those of the network. Shapes and names are PyTorch's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightProblem {
    /// The network needs it, the file does not have it.
    Missing {
        /// Name of the weight.
        name: String,
        /// Shape that the network needs.
        expected: Vec<usize>,
    },
    /// The file has it, the network has no place for it.
    Unused {
        /// Name of the weight.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// The shapes differ.
    Shape {
        /// Name of the weight.
        name: String,
        /// Shape that the network needs.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// The values are not floating point numbers of 16, 32 or 64 bits.
    Type {
        /// Name of the weight.
        name: String,
        /// Type in the file.
        found: String,
    },
    /// Some values are NaN or infinite as f32.
    NotFinite {
        /// Name of the weight.
        name: String,
        /// How many values.
        count: usize,
    },
    /// Some running variances are negative: batch norm would give NaN.
    NegativeVariance {
        /// Name of the weight.
        name: String,
        /// How many values.
        count: usize,
    },
}

impl fmt::Display for WeightProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, expected } => write!(f, "missing: {name}, expected shape {expected:?}"),
            Self::Unused { name, found } => write!(f, "unused: {name}, shape {found:?}"),
            Self::Shape { name, expected, found } => {
                write!(f, "wrong shape: {name}, expected {expected:?}, found {found:?}")
            }
            Self::Type { name, found } => write!(f, "wrong type: {name}, expected f32, found {found}"),
            Self::NotFinite { name, count } => {
                write!(f, "not finite: {name}, {count} values are NaN or infinite")
            }
            Self::NegativeVariance { name, count } => write!(f, "negative variance: {name}, {count} values"),
        }
    }
}

fn list(problems: &[WeightProblem]) -> String {
    let plural = if problems.len() == 1 { "" } else { "s" };
    let mut text = format!("{} problem{plural}:", problems.len());
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}
