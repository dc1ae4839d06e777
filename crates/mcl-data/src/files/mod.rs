//! File formats, read without trust: archives, MATLAB's arrays, pictures; and pictures written as PNG.

pub mod archive;
pub(crate) mod decode;
pub(crate) mod mat;
mod png;
pub(crate) mod resize;
