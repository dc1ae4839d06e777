//! Pictures in folders: what counts as one, in which order, and how many become an [`ImageSet`] at once.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use image::RgbImage;
use rayon::prelude::*;

use crate::files::{centre_crop, decode, resize};
use crate::image_set::check_size;
use crate::{DataError, ImageSet};

/// Extensions that are taken for pictures, in lower case.
const EXTENSIONS: [&str; 12] =
    ["bmp", "gif", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp"];

/// Extensions of pictures that this version cannot read, in lower case.
const OTHER_EXTENSIONS: [&str; 18] = [
    "arw", "avif", "cr2", "cr3", "dng", "exr", "hdr", "heic", "heif", "ico", "jp2", "jxl", "nef", "orf",
    "psd", "qoi", "svg", "tga",
];

/// [`EXTENSIONS`], for errors.
pub(crate) const LOOKED_FOR: &str = "bmp, gif, jpeg, png, pnm, tiff and webp files";

/// How a picture gets the size of its set.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fit {
    /// It must have it already.
    Exact,
    /// It is stretched to it.
    Stretch,
    /// Its short side is resized to `short_side` pixels, then its centre is cut out.
    CentreCrop { short_side: usize },
}

/// Whether the name is a picture's: a known extension, and not hidden (`._x.png` is not a picture).
pub(crate) fn is_picture(path: &Path) -> bool {
    ends_with(path, &EXTENSIONS)
}

fn ends_with(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    !is_hidden(path) && extension.is_some_and(|e| extensions.contains(&e.as_str()))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Entries of a folder that pass `keep`, sorted by name (bytewise, as torchvision's `ImageFolder` does).
fn list(folder: &Path, keep: impl Fn(&Path) -> io::Result<bool>) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io("list", folder))? {
        let path = entry.map_err(DataError::io("list", folder))?.path();
        if keep(&path).map_err(DataError::io("read", &path))? {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The pictures directly in `folder`, by name. A link that leads nowhere is among them: whoever opens it will say so.
pub(crate) fn pictures(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    list(folder, |path| Ok(is_picture(path) && fs::metadata(path).map_or(true, |entry| entry.is_file())))
}

/// The folders directly in `folder`. A link that leads nowhere is an error, as it may stand for one: but for those among
/// [`pictures`].
pub(crate) fn folders(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    list(folder, |path| match fs::metadata(path) {
        Err(error) if !is_hidden(path) && !is_picture(path) => Err(error),
        entry => Ok(!is_hidden(path) && entry.is_ok_and(|entry| entry.is_dir())),
    })
}

/// Pictures in `folder` and everywhere below, also where links to folders lead. A folder that several ways lead to is
/// visited once: links can form rings.
pub(crate) fn pictures_below(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let (mut found, mut visited) = (Vec::new(), HashSet::new());
    visit(folder, &mut visited, &mut found)?;
    Ok(found)
}

fn visit(folder: &Path, visited: &mut HashSet<PathBuf>, found: &mut Vec<PathBuf>) -> Result<(), DataError> {
    if visited.insert(folder.canonicalize().map_err(DataError::io("read", folder))?) {
        found.extend(pictures(folder)?);
        for sub_folder in folders(folder)? {
            visit(&sub_folder, visited, found)?;
        }
    }
    Ok(())
}

/// Pictures in `folder` and below whose formats are not read, sorted. Links to folders are not followed: nothing depends
/// on these files but a remark.
pub(crate) fn other_formats_below(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(DataError::io("list", &folder))? {
            let entry = entry.map_err(DataError::io("list", &folder))?;
            let path = entry.path();
            if ends_with(&path, &OTHER_EXTENSIONS) {
                found.push(path);
            } else if !is_hidden(&path) && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The last part of a path as text.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The name of a folder, also of `.` and `..`.
pub(crate) fn own_name(root: &Path) -> String {
    match root.file_name() {
        Some(_) => name(root),
        None => root.canonicalize().map_or_else(|_| name(root), |path| name(&path)),
    }
}

/// Zeros for the pixels of so many pictures, `[pictures, 3, height, width]`, and the bytes of one picture.
pub(crate) fn room(pictures: usize, size: (usize, usize)) -> Result<(Vec<u8>, usize), DataError> {
    check_size("size", size)?;
    let (height, width) = size;
    let image_bytes = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(3));
    let bytes = image_bytes.and_then(|image_bytes| image_bytes.checked_mul(pictures));
    let too_much = || {
        let bytes = bytes.map_or(u64::MAX, |bytes| bytes as u64);
        DataError::OutOfMemory { pictures, height, width, bytes }
    };
    let (bytes, image_bytes) = bytes.zip(image_bytes).ok_or_else(too_much)?;
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(bytes).map_err(|_| too_much())?;
    pixels.resize(bytes, 0);
    Ok((pixels, image_bytes))
}

/// Decodes pictures in parallel. The order is that of `pictures`, and of several faulty ones the first is reported.
/// ([`image_folder`](crate::image_folder) has a loader that passes over faulty ones.)
pub(crate) fn load(
    pictures: &[(PathBuf, usize)],
    class_names: Vec<String>,
    size: (usize, usize),
    fit: Fit,
) -> Result<ImageSet, DataError> {
    let pixels = decode_all(pictures, size, |(path, _), planar| {
        decode::read(path).and_then(|image| place(path, &image, size, fit, planar))
    })?;
    ImageSet::new(pixels, size, pictures.iter().map(|p| p.1).collect(), class_names)
}

/// Fills the place of each item, `[3, height, width]`, by `decode`, on all cores. Of several errors the first is returned.
pub(crate) fn decode_all<T: Sync>(
    items: &[T],
    size: (usize, usize),
    decode: impl Fn(&T, &mut [u8]) -> Result<(), DataError> + Sync,
) -> Result<Vec<u8>, DataError> {
    let (mut pixels, image_bytes) = room(items.len(), size)?;
    let places = pixels.par_chunks_exact_mut(image_bytes).zip(items);
    match places.find_map_first(|(planar, item)| decode(item, planar).err()) {
        Some(error) => Err(error),
        None => Ok(pixels),
    }
}

/// Writes `image` into its place in a set, `[3, height, width]`.
pub(crate) fn place(
    path: &Path,
    image: &RgbImage,
    size: (usize, usize),
    fit: Fit,
    planar: &mut [u8],
) -> Result<(), DataError> {
    let found = (image.height() as usize, image.width() as usize);
    match fit {
        Fit::CentreCrop { short_side } => {
            decode::to_planar(&centre_crop::centre_crop(path, image, short_side, size)?, planar);
        }
        _ if found == size => decode::to_planar(image, planar),
        Fit::Stretch => decode::to_planar(&resize::resize(image, size), planar),
        Fit::Exact => {
            return Err(DataError::ImageSize { path: path.to_path_buf(), found, expected: size });
        }
    }
    Ok(())
}

/// Loads `root/<class>/*`, one class for each of `folders`, labelled in that order.
pub(crate) fn load_classes(
    folders: &[PathBuf],
    class_names: Vec<String>,
    size: (usize, usize),
    fit: Fit,
) -> Result<ImageSet, DataError> {
    let mut labelled = Vec::new();
    for (label, folder) in folders.iter().enumerate() {
        let pictures = pictures(folder)?;
        if pictures.is_empty() {
            return Err(DataError::EmptyFolder { path: folder.clone(), looked_for: LOOKED_FOR });
        }
        labelled.extend(pictures.into_iter().map(|path| (path, label)));
    }
    load(&labelled, class_names, size, fit)
}
