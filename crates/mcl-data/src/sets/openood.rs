//! The test sets of OpenOOD's benchmarks, as its image lists give them (Yang et al., NeurIPS 2022; Zhang et al., 2023, version 1.5).
//!
//! A list names the pictures of a set, one a line, with a label. A list is smaller than the set it is taken from: pictures that
//! OpenOOD found in both sets of a comparison are left out. Results are comparable with the leaderboard's only on the lists' pictures.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::cifar10;
use super::folder::{self, Fit};
use crate::{DataError, ImageSet};

/// The benchmark for networks trained on CIFAR-10.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenOod {
    /// The 9,000 test images of CIFAR-10; the list leaves 1,000 to validation.
    pub test: ImageSet,
    /// Sets whose mean is the leaderboard's column "near": CIFAR-100 and Tiny ImageNet.
    pub near: Vec<(&'static str, ImageSet)>,
    /// Sets whose mean is the leaderboard's column "far": MNIST, SVHN, Textures and Places365.
    pub far: Vec<(&'static str, ImageSet)>,
    /// The sets that could not be read. Without them a mean is not the leaderboard's.
    pub missing: Vec<(&'static str, DataError)>,
}

/// The sets near to CIFAR-10: name, and name in the lists.
const NEAR: [(&str, &str); 2] = [("CIFAR-100", "cifar100"), ("Tiny ImageNet", "tin")];
/// The sets far from CIFAR-10.
const FAR: [(&str, &str); 4] =
    [("MNIST", "mnist"), ("SVHN", "svhn"), ("Textures", "texture"), ("Places365", "places365")];
/// Height and width of the benchmark's images.
const SIDE: usize = 32;

/// Loads the benchmark for CIFAR-10 from OpenOOD's own layout: `root/benchmark_imglist/cifar10/test_*.txt` and
/// `root/images_classic/`, as OpenOOD's script downloads them. Sets other than the test images of CIFAR-10 may be missing.
///
/// # Errors
///
/// As [`load_list`], for the test images of CIFAR-10.
pub fn cifar10(root: &Path) -> Result<OpenOod, DataError> {
    let (lists, images) = (root.join("benchmark_imglist/cifar10"), root.join("images_classic"));
    let list = |name: &str| lists.join(format!("test_{name}.txt"));
    let names = cifar10::CLASS_NAMES.map(String::from).to_vec();
    let test = load_pictures(&read_list(&list("cifar10"), &images)?, names, (SIDE, SIDE))?;
    let mut missing = Vec::new();
    let mut load_all = |sets: &[(&'static str, &str)]| {
        let mut found = Vec::new();
        for &(name, listed) in sets {
            match load_list(&list(listed), &images, (SIDE, SIDE)) {
                Ok(set) => found.push((name, set)),
                Err(error) => missing.push((name, error)),
            }
        }
        found
    };
    let (near, far) = (load_all(&NEAR), load_all(&FAR));
    Ok(OpenOod { test, near, far, missing })
}

/// Loads the pictures of an image list, in its order: `path label` on each line, the path below `images`. The short side of a
/// picture is resized to that of `size` (height, width), and its centre is cut out, as OpenOOD does it.
///
/// The classes are numbered; a label below 0, which stands for none, is class 0.
///
/// # Errors
///
/// - [`DataError::Io`] when the list or a picture cannot be read
/// - [`DataError::Corrupt`] for a line that is not a path and a label, or whose path leads out of `images`
/// - [`DataError::EmptyFolder`] when the list is empty
/// - [`DataError::Undecodable`], [`DataError::OverLimit`] for the first picture that is not one or too large
/// - [`DataError::OutOfMemory`], [`DataError::Setting`] (a zero size)
pub fn load_list(list: &Path, images: &Path, size: (usize, usize)) -> Result<ImageSet, DataError> {
    let pictures = read_list(list, images)?;
    let classes = pictures.iter().map(|(_, label)| label + 1).max().unwrap_or(0);
    load_pictures(&pictures, (0..classes).map(|label| label.to_string()).collect(), size)
}

fn load_pictures(
    pictures: &[(PathBuf, usize)],
    class_names: Vec<String>,
    size: (usize, usize),
) -> Result<ImageSet, DataError> {
    folder::load(pictures, class_names, size, Fit::CentreCrop { short_side: size.0.min(size.1) })
}

/// The pictures of a list with their labels, in the order of the list.
fn read_list(list: &Path, images: &Path) -> Result<Vec<(PathBuf, usize)>, DataError> {
    let text = fs::read_to_string(list).map_err(DataError::io("read", list))?;
    let (mut pictures, mut offset) = (Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        let entry = line.trim();
        if !entry.is_empty() {
            let (path, label) = picture(entry).map_err(|reason| {
                let reason = format!("{entry:?} {reason}");
                DataError::Corrupt { path: list.to_path_buf(), offset, reason }
            })?;
            pictures.push((images.join(path), label));
        }
        offset += line.len() as u64;
    }
    if pictures.is_empty() {
        let looked_for = "lines of a path and a label";
        return Err(DataError::EmptyFolder { path: list.to_path_buf(), looked_for });
    }
    Ok(pictures)
}

/// The path and the label of a line.
fn picture(entry: &str) -> Result<(&Path, usize), &'static str> {
    let (path, label) = entry.rsplit_once(' ').ok_or("is not a path and a label")?;
    let label: i64 = label.parse().map_err(|_| "does not end in a label, a whole number")?;
    let path = Path::new(path.trim_end());
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err("leads out of the folder of the pictures");
    }
    match usize::try_from(label.max(0)) {
        Ok(label) if label < MOST_CLASSES => Ok((path, label)),
        _ => Err("has a label that is too large"),
    }
}

/// Classes that a list may have. A larger label is a mistake, and the names of so many classes would fill the memory.
const MOST_CLASSES: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    /// A benchmark with pictures of one colour each: three of CIFAR-10, two of CIFAR-100 and one of SVHN.
    fn benchmark() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let lists = root.path().join("benchmark_imglist/cifar10");
        fs::create_dir_all(&lists).unwrap();
        let picture = |name: &str, value: u8, (height, width): (u32, u32)| {
            let path = root.path().join("images_classic").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            RgbImage::from_pixel(width, height, Rgb([value, 0, 255])).save(path).unwrap();
        };
        picture("cifar10/test/cat/a b.png", 3, (32, 32));
        picture("cifar10/test/dog/1.png", 5, (32, 32));
        picture("cifar10/test/dog/not listed.png", 99, (32, 32));
        picture("cifar10/test/plane/2.png", 0, (32, 32));
        picture("cifar100/test/apple.png", 50, (32, 32));
        picture("cifar100/test/bed.png", 51, (64, 70));
        picture("svhn/1.png", 70, (32, 32));
        let list = |name: &str, lines: &str| fs::write(lists.join(name), lines).unwrap();
        list(
            "test_cifar10.txt",
            "cifar10/test/dog/1.png 5\ncifar10/test/cat/a b.png 3\n\ncifar10/test/plane/2.png 0",
        );
        list("test_cifar100.txt", "cifar100/test/bed.png -1\r\ncifar100/test/apple.png -1\r\n");
        list("test_svhn.txt", "svhn/1.png 7\n");
        root
    }

    fn reds(set: &ImageSet) -> Vec<u8> {
        set.iter_pixels().map(|pixels| pixels[0]).collect()
    }

    #[test]
    fn a_benchmark_is_what_the_lists_name_in_their_order() {
        let root = benchmark();
        let OpenOod { test, near, far, missing } = cifar10(root.path()).unwrap();
        assert_eq!((reds(&test), test.labels()), (vec![5, 3, 0], &[5, 3, 0][..]));
        assert_eq!((test.class_names().len(), test.class_names()[5].as_str()), (10, "dog"));
        assert_eq!(
            near.iter().map(|(name, set)| (*name, reds(set))).collect::<Vec<_>>(),
            [("CIFAR-100", vec![51, 50])]
        );
        assert_eq!(near[0].1.size(), (32, 32));
        assert_eq!(
            far.iter().map(|(name, set)| (*name, reds(set))).collect::<Vec<_>>(),
            [("SVHN", vec![70])]
        );
        let missing: Vec<_> = missing.iter().map(|(name, error)| (*name, error.to_string())).collect();
        assert_eq!(
            missing.iter().map(|m| m.0).collect::<Vec<_>>(),
            ["Tiny ImageNet", "MNIST", "Textures", "Places365"]
        );
        assert!(missing[0].1.contains("test_tin.txt"), "{missing:?}");
    }

    #[test]
    fn labels_beyond_the_classes_of_cifar10_are_refused() {
        let root = benchmark();
        fs::write(root.path().join("benchmark_imglist/cifar10/test_cifar10.txt"), "svhn/1.png 10\n").unwrap();
        let error = cifar10(root.path()).unwrap_err();
        assert!(matches!(error, DataError::Label { image: 0, label: 10, classes: 10 }), "{error}");
    }

    #[test]
    fn faulty_lists_are_named_with_the_line() {
        let root = benchmark();
        let list = root.path().join("list.txt");
        let load = |text: &str| {
            fs::write(&list, text).unwrap();
            load_list(&list, &root.path().join("images_classic"), (8, 8)).unwrap_err()
        };
        for (text, at, says) in [
            ("svhn/1.png", 0, "not a path and a label"),
            ("svhn/1.png 7\nsvhn/1.png seven\n", 13, "label"),
            ("../list.txt 0\n", 0, "leads out"),
            ("/etc/passwd 0\n", 0, "leads out"),
            ("svhn/1.png 7\nsvhn/1.png 4000000000\n", 13, "too large"),
        ] {
            let error = load(text);
            let DataError::Corrupt { path, offset, reason } = &error else { panic!("{error}") };
            assert_eq!((path.as_path(), *offset), (list.as_path(), at), "{text}");
            assert!(reason.contains(says), "{reason}");
        }
        assert!(matches!(load(" \n\n"), DataError::EmptyFolder { .. }));
        assert!(matches!(load("svhn/2.png 0"), DataError::Io { path, .. } if path.ends_with("svhn/2.png")));
    }
}
