//! Loading a folder as it is found: a few unreadable files, and a cache for the next time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::config::Config;
use image::error::{DecodingError, ImageFormatHint};
use image::{DynamicImage, ImageError};
use rayon::prelude::*;

use super::cache::{self, CacheUse, Decoded, Expected};
use super::{ImageFolder, Listing, Unreadable, fingerprint};
use crate::files::decode;
use crate::image_set::check_size;
use crate::sets::folder::{self, Fit};
use crate::{DataError, ImageSet, printable};

/// Unreadable files that an error names.
const NAMED: usize = 5;

/// How a folder of pictures is read.
///
/// In memory a set takes 3 * height * width bytes a picture, and its path; while decoding, each thread holds one picture
/// besides: its file (at most 256 MiB), its pixels as stored (at most 256 MiB) and as RGB (three times that if it is
/// grey), and, while it is stretched, 3 * its height * the target width bytes. The cache file is as large as the pixels.
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
    /// Height and width of the images, in pixels.
    pub size: (usize, usize),
    /// Share of the pictures that may be unreadable, from 0 to 1, rounded down to whole files: 0.05 allows 1 of 20 and none of 19.
    #[config(default = 0.05)]
    pub unreadable: f64,
    /// Whether a class may be left without a readable picture. The class keeps its name and its label.
    #[config(default = false)]
    pub empty_classes: bool,
    /// Folder for the cache file; `None` for no cache.
    #[config(default = "None")]
    pub cache: Option<PathBuf>,
    /// How a picture gets its [`size`](Self::size). `None` stretches it. `Some(n)` keeps its proportions: the short side is
    /// resized to n pixels, and the centre cut out, as torchvision's `Resize(n)` and `CenterCrop`.
    #[config(default = "None")]
    pub centre_crop: Option<usize>,
}

impl ImageFolderConfig {
    /// Loads `root` in the layout of [`load`](super::load), from the cache if it is still right.
    ///
    /// `observer` is called with the number of pictures done and of all pictures, from several threads at once; not when
    /// the cache serves.
    ///
    /// A picture that the system could not open or read, unlike one that is damaged, may be readable another time: then
    /// no cache is written.
    ///
    /// # Errors
    /// - [`DataError::TooManyUnreadable`] if more pictures cannot be read than [`unreadable`](Self::unreadable) allows
    /// - [`DataError::NoClassFolders`], [`DataError::EmptyFolder`], [`DataError::MixedFolder`] if there is no class, a
    ///   class without a picture, or pictures both in `root` and in folders
    /// - [`DataError::EqualFolderNames`] if two classes have the same name once it is text
    /// - [`DataError::UnreadableClass`] if not one picture of a class can be read and
    ///   [`empty_classes`](Self::empty_classes) is off
    /// - [`DataError::OutOfMemory`], [`DataError::Io`], [`DataError::Setting`]
    pub fn load(
        &self,
        root: &Path,
        observer: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<ImageFolder, DataError> {
        let fit = self.checked_fit()?;
        let listing = Listing::read(root, self.empty_classes)?;
        let Some(folder) = &self.cache else {
            let (decoded, _) = decode_all(&listing, self.size, fit, observer)?;
            return self.finish(listing, decoded, CacheUse::Off);
        };
        let path = folder.join(cache::file_name(root, self.size, fit));
        let expected = Expected {
            size: self.size,
            pictures: listing.files.len(),
            fingerprint: fingerprint::of(&listing, self.size, fit),
        };
        let replaced = match cache::read(&path, &expected) {
            Ok(decoded) => return self.finish(listing, decoded, CacheUse::Read(path)),
            Err(reason) => path.exists().then_some(reason),
        };
        let (decoded, passing) = decode_all(&listing, self.size, fit, observer)?;
        let written = match passing {
            Some(reason) => Err(format!("a picture may be readable another time: {reason}")),
            None => cache::write(&path, &expected, &decoded)
                .map_err(|error| format!("cannot write {}: {error}", printable(&path))),
        };
        let cache = match written {
            Ok(()) => CacheUse::Written { path, replaced },
            Err(reason) => CacheUse::NotWritten { path, reason },
        };
        self.finish(listing, decoded, cache)
    }

    /// Decodes the pictures of a list of files, in its order, as one class. No cache is read or written.
    ///
    /// # Errors
    /// - [`DataError::TooManyUnreadable`] if more of them cannot be read than [`unreadable`](Self::unreadable) allows; a file that is
    ///   not there is one that cannot be read
    /// - [`DataError::UnreadableClass`] if not one can be read and [`empty_classes`](Self::empty_classes) is off
    /// - [`DataError::OutOfMemory`], [`DataError::Setting`]
    pub fn load_files(
        &self,
        files: &[PathBuf],
        observer: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<ImageFolder, DataError> {
        let fit = self.checked_fit()?;
        let listing = Listing::of_files(files);
        let (decoded, _) = decode_all(&listing, self.size, fit, observer)?;
        self.finish(listing, decoded, CacheUse::Off)
    }

    /// A set of one picture that is decoded already. The picture becomes what it would become if it were in a file.
    ///
    /// # Errors
    /// [`DataError::Undecodable`] for a picture without pixels, [`DataError::OverLimit`], [`DataError::OutOfMemory`],
    /// [`DataError::Setting`]
    ///
    /// ```
    /// use image::{DynamicImage, Rgb, RgbImage};
    /// use mcl_data::image_folder::ImageFolderConfig;
    ///
    /// let red = DynamicImage::from(RgbImage::from_pixel(60, 40, Rgb([255, 0, 0])));
    /// let set = ImageFolderConfig::new((32, 32)).picture(&red)?;
    /// assert_eq!((set.len(), set.size(), set.pixels(0)[0]), (1, (32, 32), 255));
    /// # Ok::<(), mcl_data::DataError>(())
    /// ```
    pub fn picture(&self, picture: &DynamicImage) -> Result<ImageSet, DataError> {
        let (fit, name) = (self.checked_fit()?, Path::new("the picture"));
        if picture.width() == 0 || picture.height() == 0 {
            let source = DecodingError::new(ImageFormatHint::Unknown, "a picture without pixels");
            let source = ImageError::Decoding(source);
            return Err(DataError::Undecodable { path: name.into(), offset: 0, source });
        }
        let (mut pixels, _) = folder::room(1, self.size)?;
        folder::place(name, &decode::flatten(picture.clone()), self.size, fit, &mut pixels)?;
        ImageSet::new(pixels, self.size, vec![0], vec!["picture".into()])
    }

    /// How pictures get their size, once the settings are in range.
    fn checked_fit(&self) -> Result<Fit, DataError> {
        check_size("size", self.size)?;
        if !(0.0..=1.0).contains(&self.unreadable) {
            let (value, requirement) = (self.unreadable.to_string(), "must be a share from 0 to 1");
            return Err(DataError::Setting { name: "unreadable", value, requirement });
        }
        match self.centre_crop {
            None => Ok(Fit::Stretch),
            Some(short_side) if short_side >= self.size.0.max(self.size.1) => {
                Ok(Fit::CentreCrop { short_side })
            }
            Some(short_side) => {
                let (value, requirement) =
                    (short_side.to_string(), "must be at least as long as both sides of size");
                Err(DataError::Setting { name: "centre_crop", value, requirement })
            }
        }
    }

    /// Holds the limit, and puts files, labels and pixels together.
    fn finish(&self, listing: Listing, decoded: Decoded, cache: CacheUse) -> Result<ImageFolder, DataError> {
        let Listing { root, class_names, mut folders, files, other_formats } = listing;
        let (pictures, unreadable) = (files.len(), decoded.unreadable.len());
        // 0.29 * 100 is a little less than 29.
        let limit = (self.unreadable * pictures as f64 + 1e-9).floor() as usize;
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
        let empty = images.class_counts().iter().position(|&count| count == 0);
        if let Some(class) = empty.filter(|_| !self.empty_classes) {
            let path = folders.swap_remove(class);
            // A listing holds no class without files: here they were all unreadable.
            let mut of_class = unreadable.into_iter().filter(|file| file.path.starts_with(&path));
            let first = of_class.next().map(|file| file.reason).unwrap_or_default();
            return Err(DataError::UnreadableClass { pictures: 1 + of_class.count(), first, path });
        }
        Ok(ImageFolder { images, files: kept, unreadable, other_formats, cache })
    }
}

/// Decodes every picture into its place; then closes the gaps that the unreadable ones left. Also the first reason that
/// may pass without a change to the folder: an error of the system, not of a picture.
fn decode_all(
    listing: &Listing,
    size: (usize, usize),
    fit: Fit,
    observer: &(dyn Fn(usize, usize) + Sync),
) -> Result<(Decoded, Option<String>), DataError> {
    let all = listing.files.len();
    let (mut pixels, image_bytes) = folder::room(all, size)?;

    let done = AtomicUsize::new(0);
    let errors: Vec<Option<DataError>> = pixels
        .par_chunks_exact_mut(image_bytes)
        .zip(&listing.files)
        .map(|(planar, (path, _))| {
            let outcome = decode::read(path).and_then(|image| folder::place(path, &image, size, fit, planar));
            observer(done.fetch_add(1, Ordering::Relaxed) + 1, all);
            outcome.err()
        })
        .collect();

    let passing = errors.iter().flatten().find(|error| matches!(error, DataError::Io { .. }));
    let passing = passing.map(ToString::to_string);
    let mut unreadable = Vec::new();
    for (i, error) in errors.into_iter().enumerate() {
        match error {
            Some(error) => unreadable.push((i, error.to_string())),
            None if unreadable.is_empty() => {}
            None => {
                let from = i * image_bytes;
                pixels.copy_within(from..from + image_bytes, (i - unreadable.len()) * image_bytes);
            }
        }
    }
    pixels.truncate((all - unreadable.len()) * image_bytes);
    Ok((Decoded { pixels, unreadable }, passing))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
