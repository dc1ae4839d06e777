//! LSUN-Fix: 10,000 scenes, 32 x 32, resized with antialiasing (Tack et al., CSI, 2020, appendix I). Far-OOD for CIFAR.

use std::path::Path;

use crate::{DataError, ImageSet, fix};

/// Loads the set from `root`: a folder of 32 x 32 pictures, or of folders of them, or the published archive (.tar.gz,
/// read without unpacking); as `LSUN_fix` in `root`, or `root` itself if it is called so, an archive, or holds pictures and
/// no folders. See [`fix::make`] for making it.
///
/// # Errors
/// - [`DataError::Missing`] if there is nothing of it under `root`: says what to put where
/// - [`DataError::Undecodable`], [`DataError::ImageSize`], [`DataError::OverLimit`] for pictures
/// - [`DataError::Corrupt`], [`DataError::UnsafeEntry`] for the archive
/// - [`DataError::Io`]
pub fn load(root: &Path) -> Result<ImageSet, DataError> {
    fix::load(root, "LSUN-Fix", &["LSUN_fix", "lsun_fix", "LSUN_FIX"])
}
