//! What CIFAR-10 and CIFAR-100 share: files of fixed-size records, and the same sets as folders of PNGs.
//!
//! A record is one or two label bytes and 3072 pixel bytes, planar RGB, 32 x 32: already the layout of [`ImageSet`].

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::folder::{self, Fit};
use crate::{DataError, ImageSet, Split};

const SIZE: (usize, usize) = (32, 32);
const IMAGE_BYTES: usize = 3 * 32 * 32;

/// Records that one thread reads, and how many of them at a time: what then lies in a core's cache.
const PIECE: usize = 2048;
const READ: usize = 64;

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
    /// Number of images in a training and in a test file.
    pub(crate) train_records: usize,
    pub(crate) test_records: usize,
    /// Label bytes of a record, the last of which is used.
    pub(crate) label_bytes: usize,
    /// The classes by label.
    pub(crate) class_names: &'static [&'static str],
}

impl Cifar {
    pub(crate) fn load(&self, root: &Path, split: Split) -> Result<ImageSet, DataError> {
        let (files, max_records) = match split {
            Split::Train => (self.train_files, self.train_records),
            Split::Test => (self.test_files, self.test_records),
        };
        for folder in [root.join(self.folder), root.to_path_buf()] {
            if files.iter().any(|file| folder.join(file).exists()) {
                let paths: Vec<PathBuf> = files.iter().map(|file| folder.join(file)).collect();
                return self.load_binary(&paths, max_records);
            }
        }
        let mut png_roots = vec![root.to_path_buf()];
        png_roots.extend(self.png_folders.iter().map(|name| root.join(name)));
        for folder in png_roots.iter().map(|png_root| png_root.join(split.name())) {
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

    fn load_binary(&self, paths: &[PathBuf], max_records: usize) -> Result<ImageSet, DataError> {
        let counts: Vec<usize> =
            paths.iter().map(|path| self.records_in(path, max_records)).collect::<Result<_, _>>()?;
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

    /// The number of records in a file, which may hold fewer than published (a part of the set) but not more.
    fn records_in(&self, path: &Path, max_records: usize) -> Result<usize, DataError> {
        let record_bytes = self.label_bytes + IMAGE_BYTES;
        let length = std::fs::metadata(path).map_err(DataError::io("read", path))?.len();
        let max_bytes = max_records * record_bytes;
        if length == 0 || length > max_bytes as u64 {
            return Err(DataError::FileSize {
                path: path.to_path_buf(),
                expected: format!("{record_bytes} to {max_bytes}"),
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
mod tests {
    use super::*;
    use crate::{cifar10, cifar100};

    /// `n` records whose labels count up (the last label byte) and whose pixel p is `p + record`, mod 251.
    fn records(n: usize, label_bytes: usize, classes: usize) -> Vec<u8> {
        let image = |i: usize| (0..IMAGE_BYTES).map(move |p| ((p + i) % 251) as u8);
        let head = |i: usize| {
            let mut head = vec![7; label_bytes];
            head[label_bytes - 1] = (i % classes) as u8;
            head
        };
        (0..n).flat_map(|i| head(i).into_iter().chain(image(i))).collect()
    }

    fn write(root: &Path, file: &str, bytes: &[u8]) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn records_are_read_in_file_order() {
        let root = tempfile::tempdir().unwrap();
        for k in 1..=5 {
            write(root.path(), &format!("cifar-10-batches-bin/data_batch_{k}.bin"), &records(10 + k, 1, 10));
        }
        let set = cifar10::load(root.path(), Split::Train).unwrap();
        assert_eq!(set.len(), 11 + 12 + 13 + 14 + 15);
        assert_eq!(set.size(), (32, 32));
        assert_eq!(set.labels()[..13], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 1]);
        assert_eq!(set.pixels(12)[..3], [1, 2, 3]); // record 1 of the second file
        assert_eq!(set.pixels(12)[3071], ((3071 + 1) % 251) as u8);
        let inside = cifar10::load(&root.path().join("cifar-10-batches-bin"), Split::Train).unwrap();
        assert_eq!(inside, set);
    }

    #[test]
    fn cifar100_takes_the_fine_label() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "cifar-100-binary/test.bin", &records(101, 2, 100));
        let set = cifar100::load(root.path(), Split::Test).unwrap();
        assert_eq!((set.label(0), set.label(99), set.label(100)), (0, 99, 0));
        assert_eq!(set.pixels(3)[0], 3);
        assert_eq!(set.class_names()[53], "orange");
    }

    #[test]
    fn faults_name_file_and_offset() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cifar-10-batches-bin/test_batch.bin");
        let load = |bytes: &[u8]| {
            write(root.path(), "cifar-10-batches-bin/test_batch.bin", bytes);
            cifar10::load(root.path(), Split::Test).unwrap_err()
        };
        let good = records(4, 1, 10);
        let error = load(&good[..2 * 3073 + 100]);
        assert!(
            matches!(&error, DataError::Truncated { path: p, offset: 6146, record: 2, expected: 3073, found: 100 } if *p == path),
            "{error}"
        );
        let mut bad_label = good.clone();
        bad_label[3 * 3073] = 10;
        let error = load(&bad_label);
        assert!(
            matches!(&error, DataError::LabelInFile { offset: 9219, label: 10, classes: 10, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("test_batch.bin: label 10 at byte 9219"), "{error}");
        assert!(matches!(load(&[]), DataError::FileSize { found: 0, .. }));
        let error = load(&vec![0; 10_001 * 3073]);
        assert!(matches!(error, DataError::FileSize { found: 30_733_073, .. }), "{error}");
    }

    #[test]
    fn a_missing_batch_is_an_error_not_a_smaller_set() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "cifar-10-batches-bin/data_batch_1.bin", &records(1, 1, 10));
        let error = cifar10::load(root.path(), Split::Train).unwrap_err();
        assert!(
            matches!(&error, DataError::Io { path, .. } if path.ends_with("data_batch_2.bin")),
            "{error}"
        );
        let error = cifar100::load(root.path(), Split::Train).unwrap_err();
        assert!(matches!(error, DataError::Missing { .. }));
        assert!(error.to_string().contains("put cifar-100-binary/{train.bin} there"), "{error}");
    }

    #[test]
    fn folders_of_pngs_are_the_same_set() {
        let root = tempfile::tempdir().unwrap();
        let bytes = records(20, 1, 10);
        write(root.path(), "bin/test_batch.bin", &bytes);
        for (i, record) in bytes.chunks_exact(3073).enumerate() {
            let class = cifar10::CLASS_NAMES[usize::from(record[0])];
            let folder = root.path().join("cifar10/test").join(class);
            std::fs::create_dir_all(&folder).unwrap();
            let pixel = |x: u32, y: u32, c: usize| record[1 + 1024 * c + (32 * y + x) as usize];
            let image =
                image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([0, 1, 2].map(|c| pixel(x, y, c))));
            image.save(folder.join(format!("{i:04}.png"))).unwrap();
        }
        let binary = cifar10::load(&root.path().join("bin"), Split::Test).unwrap();
        let by_class: Vec<usize> = (0..10).flat_map(|class| [class, class + 10]).collect();
        let pngs = cifar10::load(root.path(), Split::Test).unwrap();
        assert_eq!(pngs, binary.subset(&by_class).unwrap());
        assert_eq!(cifar10::load(&root.path().join("cifar10"), Split::Test).unwrap(), pngs);

        image::RgbImage::new(31, 32).save(root.path().join("cifar10/test/cat/0000.png")).unwrap();
        let error = cifar10::load(root.path(), Split::Test).unwrap_err();
        assert!(matches!(&error, DataError::ImageSize { found: (32, 31), .. }), "{error}");
        std::fs::remove_dir_all(root.path().join("cifar10/test/frog")).unwrap();
        let error = cifar10::load(root.path(), Split::Test).unwrap_err();
        assert!(error.to_string().contains("\"frog\""), "{error}");
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

        #[test]
        fn any_file_is_read_whole_or_refused(length in 0usize..8000, label in 0u8..12, fill in 0u8..) {
            let root = tempfile::tempdir().unwrap();
            let mut bytes = vec![fill; length];
            bytes.iter_mut().step_by(3073).for_each(|head| *head = label);
            write(root.path(), "test_batch.bin", &bytes);
            match cifar10::load(root.path(), Split::Test) {
                Ok(set) => assert!(set.len() * 3073 == length && length > 0 && label < 10),
                Err(DataError::FileSize { .. }) => assert_eq!(length, 0),
                Err(DataError::Truncated { offset, found, .. }) => {
                    assert_eq!((offset as usize + found, offset % 3073), (length, 0));
                    assert!(found > 0);
                }
                Err(DataError::LabelInFile { offset: 0, .. }) => assert!(label >= 10),
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// The real sets, where they are: in `$MCL_DATA` or in `data/` of the workspace.
    #[test]
    fn real_sets_are_balanced() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
        let root = std::env::var_os("MCL_DATA").map_or(workspace, PathBuf::from);
        if !root.join("cifar-10-batches-bin").is_dir() {
            println!("skipped: no CIFAR-10 in {}", root.display());
            return;
        }
        for (split, each) in [(Split::Train, 5000), (Split::Test, 1000)] {
            assert_eq!(cifar10::load(&root, split).unwrap().class_counts(), [each; 10]);
        }
        if !root.join("cifar-100-binary/test.bin").is_file() {
            println!("skipped: no CIFAR-100 in {}", root.display());
            return;
        }
        let test = cifar100::load(&root, Split::Test).unwrap();
        assert_eq!(test.class_counts(), [100; 100]);
        let names = std::fs::read_to_string(root.join("cifar-100-binary/fine_label_names.txt")).unwrap();
        assert_eq!(names.split_whitespace().collect::<Vec<_>>(), test.class_names());
    }
}
