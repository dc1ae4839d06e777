//! File formats, read without trust: archives, MATLAB's arrays, pictures; and pictures written as PNG.

pub mod archive;
pub(crate) mod centre_crop;
pub(crate) mod decode;
pub(crate) mod mat;
pub(crate) mod partial;
mod png;
pub(crate) mod resize;
pub(crate) mod staging;
