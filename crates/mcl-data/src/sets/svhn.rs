//! SVHN, cropped digits: 73,257 training and 26,032 test images of house numbers, 32 x 32 (Netzer et al., 2011).

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::files::mat::{self, Numbers, Variable};
use crate::{DataError, ImageSet, Split};

const SIDE: usize = 32;
const IMAGE_BYTES: usize = 3 * SIDE * SIDE;

/// Images of the training and the test file as published.
const TRAIN_IMAGES: usize = 73_257;
const TEST_IMAGES: usize = 26_032;

/// Loads `train_32x32.mat` or `test_32x32.mat` from `root`, `root/svhn` or `root/SVHN`. Class d is the digit d: the
/// files write the digit 0 as label 10.
///
/// # Errors
/// - [`DataError::ImageCount`] if the file does not hold all images of the split; see [`load_partial`]
/// - [`DataError::Missing`] if the file is not there: says what to put where
/// - [`DataError::Corrupt`] if it is truncated, damaged, or not SVHN's arrays `X` and `y`; [`DataError::OverLimit`]
/// - [`DataError::Io`]
///
/// ```no_run
/// use mcl_data::{Split, svhn};
/// let test = svhn::load("data".as_ref(), Split::Test)?;
/// assert_eq!(test.len(), 26_032);
/// # Ok::<(), mcl_data::DataError>(())
/// ```
pub fn load(root: &Path, split: Split) -> Result<ImageSet, DataError> {
    let expected = match split {
        Split::Train => TRAIN_IMAGES,
        Split::Test => TEST_IMAGES,
    };
    let path = find_file(root, split)?;
    let set = read(&path)?;
    if set.len() != expected {
        return Err(DataError::ImageCount { path, found: set.len(), expected });
    }
    Ok(set)
}

/// As [`load`], from a file that may hold a part of the images.
///
/// # Errors
/// As [`load`], but for the number of images.
pub fn load_partial(root: &Path, split: Split) -> Result<ImageSet, DataError> {
    read(&find_file(root, split)?)
}

fn find_file(root: &Path, split: Split) -> Result<PathBuf, DataError> {
    let file = format!("{}_32x32.mat", split.name());
    let places = [root.join(&file), root.join("svhn").join(&file), root.join("SVHN").join(&file)];
    match places.into_iter().find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => Err(DataError::Missing {
            path: root.to_path_buf(),
            what: format!("SVHN {} images", split.name()),
            hint: format!("put {file} there (cropped digits, http://ufldl.stanford.edu/housenumbers/{file})"),
        }),
    }
}

fn read(path: &Path) -> Result<ImageSet, DataError> {
    let variables = mat::read(path, &["X", "y"])?;
    let images = find(path, &variables, "X")?;
    let labels = find(path, &variables, "y")?;
    let corrupt = |at: &Variable, reason: String| DataError::Corrupt {
        path: path.to_path_buf(),
        offset: at.offset,
        reason,
    };

    let count = match images.dimensions[..] {
        [SIDE, SIDE, 3] => 1, // MATLAB drops a last dimension of one
        [SIDE, SIDE, 3, count] => count,
        ref other => return Err(corrupt(images, format!("X is {other:?}, expected [32, 32, 3, images]"))),
    };
    let Numbers::Bytes(columns) = &images.numbers else {
        return Err(corrupt(images, "X is not of type uint8".to_string()));
    };
    let labels_read: Vec<f64> = match &labels.numbers {
        Numbers::Bytes(bytes) => bytes.iter().copied().map(f64::from).collect(),
        Numbers::Doubles(doubles) => doubles.clone(),
        Numbers::Other => return Err(corrupt(labels, "y is neither of type uint8 nor double".to_string())),
    };
    if labels_read.len() != count {
        return Err(corrupt(labels, format!("{} labels in y for {count} images in X", labels_read.len())));
    }
    let digit = |(i, &label): (usize, &f64)| match (1..=10).find(|&l| f64::from(l) == label) {
        Some(l) => Ok(l as usize % 10),
        None => Err(corrupt(labels, format!("label {label} of image {i} is not one of 1 to 10"))),
    };
    let digits = labels_read.iter().enumerate().map(digit).collect::<Result<Vec<_>, _>>()?;

    let mut pixels = vec![0; columns.len()];
    pixels
        .par_chunks_exact_mut(SIDE * SIDE)
        .zip(columns.par_chunks_exact(SIDE * SIDE))
        .for_each(|(plane, columns)| transpose(columns, plane));
    debug_assert_eq!(pixels.len(), count * IMAGE_BYTES);
    ImageSet::new(pixels, (SIDE, SIDE), digits, (0..10).map(|digit| digit.to_string()).collect())
}

fn find<'a>(path: &Path, variables: &'a [Variable], name: &str) -> Result<&'a Variable, DataError> {
    variables.iter().find(|v| v.name == name).ok_or_else(|| {
        let reason = format!("no array {name}: not a file of SVHN's cropped digits");
        DataError::Corrupt { path: path.to_path_buf(), offset: 0, reason }
    })
}

/// MATLAB stores columns one after the other; `plane` takes rows.
fn transpose(columns: &[u8], plane: &mut [u8]) {
    for (row, out) in plane.chunks_exact_mut(SIDE).enumerate() {
        for (value, column) in out.iter_mut().zip(columns.chunks_exact(SIDE)) {
            *value = column[row];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPRESSED: &[u8] = include_bytes!("../../tests/golden/svhn_32x32.mat");
    const PLAIN: &[u8] = include_bytes!("../../tests/golden/svhn_32x32_uncompressed.mat");

    fn load_bytes(bytes: &[u8]) -> Result<ImageSet, DataError> {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("svhn")).unwrap();
        std::fs::write(root.path().join("svhn/test_32x32.mat"), bytes).unwrap();
        load_partial(root.path(), Split::Test)
    }

    #[test]
    fn parts_of_the_set_are_loaded_only_when_asked_for() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("test_32x32.mat"), PLAIN).unwrap();
        let error = load(root.path(), Split::Test).unwrap_err();
        assert!(matches!(error, DataError::ImageCount { found: 12, expected: 26_032, .. }), "{error}");
        assert!(error.to_string().contains("load_partial"), "{error}");
        assert_eq!(load_partial(root.path(), Split::Test).unwrap().len(), 12);
    }

    fn corrupt_at(bytes: &[u8]) -> (u64, String) {
        match load_bytes(bytes) {
            Err(DataError::Corrupt { path, offset, reason }) => {
                assert!(path.ends_with("svhn/test_32x32.mat"));
                (offset, reason)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Reference: `scipy.io.savemat` wrote the files, `numpy` the expected planes
    #[test]
    fn files_of_scipy_are_read_as_written() {
        #[derive(serde::Deserialize)]
        struct Expected {
            shape: [usize; 4],
            first_image_chw: Vec<u8>,
            last_image_chw: Vec<u8>,
            labels: Vec<usize>,
        }
        let expected: Expected = serde_json::from_str(include_str!("../../tests/golden/svhn.json")).unwrap();
        for bytes in [COMPRESSED, PLAIN] {
            let set = load_bytes(bytes).unwrap();
            assert_eq!([set.len(), 3, set.size().0, set.size().1], expected.shape);
            assert_eq!(set.labels(), expected.labels);
            assert!(set.pixels(0) == expected.first_image_chw);
            assert!(set.pixels(set.len() - 1) == expected.last_image_chw);
            assert_eq!(set.class_names()[0], "0");
        }
    }

    #[test]
    fn a_cut_anywhere_is_an_error() {
        for bytes in [COMPRESSED, PLAIN] {
            // Every prefix, but steps through the bulk of the pixels.
            let cuts =
                (0..400).chain((400..bytes.len() - 200).step_by(997)).chain(bytes.len() - 200..bytes.len());
            for cut in cuts {
                assert!(corrupt_at(&bytes[..cut]).0 <= cut as u64, "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_part_larger_than_its_variable_is_an_error() {
        // A name, and pixels, of 4 GiB: rounded up, the size overflows 32 bits.
        for tag in [128 + 48, 128 + 56] {
            let mut bytes = PLAIN.to_vec();
            bytes[tag..tag + 8].copy_from_slice(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
            assert_eq!(corrupt_at(&bytes), (128, "a variable whose parts do not fit its size".to_string()));
        }
    }

    #[test]
    fn damage_never_panics() {
        for bytes in [COMPRESSED, PLAIN] {
            for position in (0..300).chain((300..bytes.len()).step_by(499)) {
                for value in [0x00, 0xff] {
                    let mut damaged = bytes.to_vec();
                    damaged[position] = value;
                    let _either = load_bytes(&damaged);
                }
            }
        }
    }

    #[test]
    fn labels_and_shapes_are_checked() {
        let label = PLAIN.windows(8).rposition(|w| w == [1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        let mut wrong = PLAIN.to_vec();
        wrong[label + 2] = 11;
        assert!(corrupt_at(&wrong).1.contains("label 11 of image 2"), "{:?}", corrupt_at(&wrong));

        let mut taller = PLAIN.to_vec();
        taller[160] = 16; // dimensions of X: 16, 64, 3, 12
        taller[164] = 64;
        assert!(corrupt_at(&taller).1.contains("X is [16, 64, 3, 12]"));

        let mut overflowing = PLAIN.to_vec();
        overflowing[160..164].copy_from_slice(&i32::MAX.to_le_bytes());
        assert!(corrupt_at(&overflowing).1.contains("impossible dimensions"));

        let mut hdf5 = PLAIN.to_vec();
        hdf5[125] = 2;
        assert!(corrupt_at(&hdf5).1.contains("-v7"));
    }

    #[test]
    fn compressed_data_inside_compressed_data_is_refused() {
        use std::io::Write;
        let zlib = |bytes: &[u8]| {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            let body = encoder.finish().unwrap();
            [&15u32.to_le_bytes()[..], &(body.len() as u32).to_le_bytes(), &body].concat()
        };
        let nested = [&PLAIN[..128], &zlib(&zlib(&PLAIN[128..]))].concat();
        assert!(corrupt_at(&nested).1.contains("no matrix"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = load(tempfile::tempdir().unwrap().path(), Split::Train).unwrap_err();
        assert!(matches!(error, DataError::Missing { .. }));
        assert!(error.to_string().contains("put train_32x32.mat there"), "{error}");
        let (_, reason) = corrupt_at(&PLAIN[..128]);
        assert!(reason.contains("no array X"), "{reason}");
    }
}
