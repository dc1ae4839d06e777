//! What CIFAR-10 and CIFAR-100 share: files of fixed-size records, and the same sets as folders of PNGs.
//!
//! A record is one or two label bytes and 3072 pixel bytes, planar RGB, 32 x 32: already the layout of [`ImageSet`].

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::folder::{self, Fit};
use crate::{DataError, ImageSet, Split};

const SIZE: (usize, usize) = (32, 32);
const IMAGE_BYTES: usize = 3 * 32 * 32;

/// Records that one thread reads, and how many of them at a time: what then lies in a core's cache.
const PIECE: usize = 2048;
const READ: usize = 64;

/// Whether files may hold fewer records than published.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Parts {
    Allowed,
    Refused,
}

/// One of the two sets as published.
pub(crate) struct Cifar {
    /// For errors.
    pub(crate) title: &'static str,
    /// The folder in the published archive.
    pub(crate) folder: &'static str,
    /// What a folder of PNGs beside other sets may be called.
    pub(crate) png_folders: &'static [&'static str],
    /// The files of a split.
    pub(crate) train_files: &'static [&'static str],
    pub(crate) test_files: &'static [&'static str],
    /// Number of images in a training and in a test file, as published.
    pub(crate) train_records: usize,
    pub(crate) test_records: usize,
    /// Label bytes of a record, the last of which is used.
    pub(crate) label_bytes: usize,
    /// The classes by label.
    pub(crate) class_names: &'static [&'static str],
}

impl Cifar {
    /// Loads a split; `parts` says whether a file may hold fewer records than published.
    pub(crate) fn load(&self, root: &Path, split: Split, parts: Parts) -> Result<ImageSet, DataError> {
        let (files, records) = match split {
            Split::Train => (self.train_files, self.train_records),
            Split::Test => (self.test_files, self.test_records),
        };
        for folder in [root.join(self.folder), root.to_path_buf()] {
            if files.iter().any(|file| folder.join(file).exists()) {
                let paths: Vec<PathBuf> = files.iter().map(|file| folder.join(file)).collect();
                return self.load_binary(&paths, records, parts);
            }
        }
        // A folder of its name first: `root/train` may be another set's.
        let png_roots = self.png_folders.iter().map(|name| root.join(name)).chain([root.to_path_buf()]);
        for folder in png_roots.map(|png_root| png_root.join(split.name())) {
            if folder.is_dir() {
                return self.load_pngs(&folder);
            }
        }
        Err(DataError::Missing {
            path: root.to_path_buf(),
            what: format!("{} {} images", self.title, split.name()),
            hint: format!(
                "put {}/{{{}}} there (the binary version from https://www.cs.toronto.edu/~kriz/cifar.html), \
                 or folders of PNGs as {}/<class>/*.png",
                self.folder,
                files.join(", "),
                split.name()
            ),
        })
    }

    fn class_names(&self) -> Vec<String> {
        self.class_names.iter().map(ToString::to_string).collect()
    }

    fn load_binary(&self, paths: &[PathBuf], records: usize, parts: Parts) -> Result<ImageSet, DataError> {
        let counts: Vec<usize> =
            paths.iter().map(|path| self.records_in(path, records, parts)).collect::<Result<_, _>>()?;
        let total: usize = counts.iter().sum();
        let (mut pixels, mut labels) = (vec![0; total * IMAGE_BYTES], vec![0; total]);

        // Each piece of a file goes straight to its place in the set, on all cores.
        let mut pieces = Vec::new();
        let mut places = (pixels.as_mut_slice(), labels.as_mut_slice());
        for (path, count) in paths.iter().zip(counts) {
            for first in (0..count).step_by(PIECE) {
                let records = PIECE.min(count - first);
                let (of_pixels, of_labels);
                (of_pixels, places.0) = places.0.split_at_mut(records * IMAGE_BYTES);
                (of_labels, places.1) = places.1.split_at_mut(records);
                pieces.push((path, first, of_pixels, of_labels));
            }
        }
        let read: Vec<_> = pieces
            .into_par_iter()
            .map(|(path, first, pixels, labels)| self.read_piece(path, first, pixels, labels))
            .collect();
        read.into_iter().collect::<Result<(), _>>()?; // of several faults the first
        ImageSet::new(pixels, SIZE, labels, self.class_names())
    }

    /// The number of records in a file.
    fn records_in(&self, path: &Path, published: usize, parts: Parts) -> Result<usize, DataError> {
        let record_bytes = self.label_bytes + IMAGE_BYTES;
        let length = std::fs::metadata(path).map_err(DataError::io("read", path))?.len();
        let whole = published * record_bytes;
        if length == 0 || length > whole as u64 {
            return Err(DataError::FileSize {
                path: path.to_path_buf(),
                expected: whole.to_string(),
                found: length,
                hint: "it is not the binary version of the set, or damaged",
            });
        }
        let (records, rest) = (length as usize / record_bytes, length as usize % record_bytes);
        if rest > 0 {
            return Err(DataError::Truncated {
                path: path.to_path_buf(),
                offset: length - rest as u64,
                record: records,
                expected: record_bytes,
                found: rest,
            });
        }
        if records < published && parts == Parts::Refused {
            return Err(DataError::ImageCount {
                path: path.to_path_buf(),
                found: records,
                expected: published,
            });
        }
        Ok(records)
    }

    /// Reads records from number `first` of a file on, as many as there are labels to fill.
    fn read_piece(
        &self,
        path: &Path,
        first: usize,
        pixels: &mut [u8],
        labels: &mut [usize],
    ) -> Result<(), DataError> {
        let record_bytes = self.label_bytes + IMAGE_BYTES;
        let mut file = File::open(path).map_err(DataError::io("read", path))?;
        file.seek(SeekFrom::Start((first * record_bytes) as u64)).map_err(DataError::io("read", path))?;
        let mut bytes = vec![0; READ * record_bytes];
        let parts = pixels.chunks_mut(READ * IMAGE_BYTES).zip(labels.chunks_mut(READ)).enumerate();
        for (part, (pixels, labels)) in parts {
            let bytes = &mut bytes[..labels.len() * record_bytes];
            file.read_exact(bytes).map_err(DataError::io("read", path))?;
            let images = pixels.chunks_exact_mut(IMAGE_BYTES).zip(labels);
            for (i, (record, (image, label))) in bytes.chunks_exact(record_bytes).zip(images).enumerate() {
                let (head, pixels) = record.split_at(self.label_bytes);
                *label = usize::from(head[self.label_bytes - 1]);
                if *label >= self.class_names.len() {
                    let record = first + part * READ + i;
                    return Err(DataError::LabelInFile {
                        path: path.to_path_buf(),
                        offset: (record * record_bytes + self.label_bytes - 1) as u64,
                        label: *label as u64,
                        classes: self.class_names.len(),
                    });
                }
                image.copy_from_slice(pixels);
            }
        }
        Ok(())
    }

    /// Reads `folder/<class>/*.png` with the published class names, so that labels agree with the binary version.
    fn load_pngs(&self, folder: &Path) -> Result<ImageSet, DataError> {
        let folders: Vec<PathBuf> = self.class_names.iter().map(|name| folder.join(name)).collect();
        if let Some(missing) = folders.iter().find(|path| !path.is_dir()) {
            return Err(DataError::Missing {
                path: folder.to_path_buf(),
                what: format!("{} class folder {:?}", self.title, folder::name(missing)),
                hint: format!("there must be one folder for each of {}", self.class_names.join(", ")),
            });
        }
        folder::load_classes(&folders, self.class_names(), SIZE, Fit::Exact)
    }
}

#[cfg(test)]
mod tests;
