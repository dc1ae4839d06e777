//! Loading a folder as it is found: a few unreadable files, and a cache for the next time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::config::Config;
use rayon::prelude::*;

use super::cache::{self, CacheUse, Decoded, Expected};
use super::{ImageFolder, Listing, Unreadable, fingerprint};
use crate::folder::{self, Fit, LOOKED_FOR};
use crate::image_set::check_size;
use crate::{DataError, ImageSet, decode};

/// Unreadable files that an error names.
const NAMED: usize = 5;

/// How a folder of pictures is read.
///
/// In memory a set takes 3 * height * width bytes a picture, and its path; while decoding, each thread holds one picture
/// besides, at most 256 MiB encoded and 256 MiB decoded. The cache file is as large as the pixels.
///
/// ```no_run
/// use mcl_data::image_folder::ImageFolderConfig;
///
/// let config = ImageFolderConfig::new((64, 64)).with_cache(Some("cache".into()));
/// let folder = config.load("my-pictures".as_ref(), &|done, all| eprintln!("{done} of {all}"))?;
/// println!("{} pictures, {}", folder.images.len(), folder.cache);
/// for file in &folder.unreadable {
///     println!("passed over: {}", file.reason);
/// }
/// # Ok::<(), mcl_data::DataError>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct ImageFolderConfig {
    /// Height and width that every picture is stretched to, in pixels.
    pub size: (usize, usize),
    /// Share of the pictures that may be unreadable, from 0 to 1; rounded up to whole files.
    #[config(default = 0.05)]
    pub unreadable: f64,
    /// Folder for the cache file; `None` for no cache.
    #[config(default = "None")]
    pub cache: Option<PathBuf>,
}

impl ImageFolderConfig {
    /// Loads `root` in the layout of [`load`](super::load), from the cache if it is still right.
    ///
    /// `observer` is called with the number of pictures done and of all pictures, from several threads at once; not when
    /// the cache serves.
    ///
    /// # Errors
    /// - [`DataError::TooManyUnreadable`] if more pictures cannot be read than [`unreadable`](Self::unreadable) allows
    /// - [`DataError::NoClassFolders`], [`DataError::EmptyFolder`], [`DataError::MixedFolder`] if there is no class, a
    ///   class without a readable picture, or pictures both in `root` and in folders
    /// - [`DataError::OutOfMemory`], [`DataError::Io`], [`DataError::Setting`]
    pub fn load(
        &self,
        root: &Path,
        observer: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<ImageFolder, DataError> {
        check_size(self.size)?;
        if !(0.0..=1.0).contains(&self.unreadable) {
            let (value, requirement) = (self.unreadable.to_string(), "must be a share from 0 to 1");
            return Err(DataError::Setting { name: "unreadable", value, requirement });
        }
        let listing = Listing::read(root)?;
        let Some(folder) = &self.cache else {
            let decoded = decode_all(&listing, self.size, observer)?;
            return self.finish(listing, decoded, CacheUse::Off);
        };
        let path = folder.join(cache::file_name(root, self.size));
        let expected = Expected {
            size: self.size,
            pictures: listing.files.len(),
            fingerprint: fingerprint::of(&listing, self.size)?,
        };
        let replaced = match cache::read(&path, &expected) {
            Ok(decoded) => return self.finish(listing, decoded, CacheUse::Read(path)),
            Err(reason) => path.exists().then_some(reason),
        };
        let decoded = decode_all(&listing, self.size, observer)?;
        let cache = match cache::write(&path, &expected, &decoded) {
            Ok(()) => CacheUse::Written { path, replaced },
            Err(error) => CacheUse::NotWritten { path, reason: error.to_string() },
        };
        self.finish(listing, decoded, cache)
    }

    /// Holds the limit, and puts files, labels and pixels together.
    fn finish(&self, listing: Listing, decoded: Decoded, cache: CacheUse) -> Result<ImageFolder, DataError> {
        let Listing { root, class_names, files } = listing;
        let (pictures, unreadable) = (files.len(), decoded.unreadable.len());
        let limit = (self.unreadable * pictures as f64).ceil() as usize;
        if unreadable > limit {
            let first = decoded.unreadable.into_iter().take(NAMED).map(|(_, reason)| reason).collect();
            return Err(DataError::TooManyUnreadable { path: root, unreadable, pictures, limit, first });
        }
        let mut bad = decoded.unreadable.into_iter().peekable();
        let (mut kept, mut labels, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (path, label)) in files.into_iter().enumerate() {
            match bad.next_if(|(index, _)| *index == i) {
                Some((_, reason)) => unreadable.push(Unreadable { path, reason }),
                None => {
                    kept.push(path);
                    labels.push(label);
                }
            }
        }
        let images = ImageSet::new(decoded.pixels, self.size, labels, class_names)?;
        if let Some(class) = images.class_counts().iter().position(|&count| count == 0) {
            let path =
                if images.class_names().len() == 1 { root } else { root.join(&images.class_names()[class]) };
            return Err(DataError::EmptyFolder { path, looked_for: LOOKED_FOR });
        }
        Ok(ImageFolder { images, files: kept, unreadable, cache })
    }
}

/// Decodes every picture into its place; then closes the gaps that the unreadable ones left.
fn decode_all(
    listing: &Listing,
    size: (usize, usize),
    observer: &(dyn Fn(usize, usize) + Sync),
) -> Result<Decoded, DataError> {
    let all = listing.files.len();
    let image_bytes = 3 * size.0 * size.1;
    let mut pixels = Vec::new();
    let bytes = all.saturating_mul(image_bytes);
    pixels.try_reserve_exact(bytes).map_err(|_| DataError::OutOfMemory {
        pictures: all,
        height: size.0,
        width: size.1,
        bytes: bytes as u64,
    })?;
    pixels.resize(bytes, 0);

    let done = AtomicUsize::new(0);
    let reasons: Vec<Option<String>> = pixels
        .par_chunks_exact_mut(image_bytes)
        .zip(&listing.files)
        .map(|(planar, (path, _))| {
            let outcome =
                decode::read(path).and_then(|image| folder::place(path, &image, size, Fit::Stretch, planar));
            observer(done.fetch_add(1, Ordering::Relaxed) + 1, all);
            outcome.err().map(|error| error.to_string())
        })
        .collect();

    let mut unreadable = Vec::new();
    for (i, reason) in reasons.into_iter().enumerate() {
        match reason {
            Some(reason) => unreadable.push((i, reason)),
            None if unreadable.is_empty() => {}
            None => {
                let from = i * image_bytes;
                pixels.copy_within(from..from + image_bytes, (i - unreadable.len()) * image_bytes);
            }
        }
    }
    pixels.truncate((all - unreadable.len()) * image_bytes);
    Ok(Decoded { pixels, unreadable })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
