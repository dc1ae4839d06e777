//! Images back to picture files.

use std::fs;
use std::io::Cursor;
use std::path::{Component, Path};

use image::{ImageFormat, RgbImage};

use super::resize;
use crate::{DataError, ImageSet};

impl ImageSet {
    /// Image `i` as a PNG file.
    ///
    /// # Panics
    /// If `i >= len()`.
    #[must_use]
    pub fn png(&self, i: usize) -> Vec<u8> {
        encode(&self.rgb(i))
    }

    /// Image `i` as a PNG file, shrunk if a side is longer than `side` pixels.
    ///
    /// # Panics
    /// If `i >= len()` or `side` is 0.
    #[must_use]
    pub fn thumbnail(&self, i: usize, side: usize) -> Vec<u8> {
        assert!(side > 0, "a thumbnail has at least one pixel");
        let (height, width) = self.size();
        let longest = height.max(width);
        if longest <= side {
            return self.png(i);
        }
        let shrunk = |length: usize| (length * side / longest).max(1);
        encode(&resize::resize(&self.rgb(i), (shrunk(height), shrunk(width))))
    }

    /// `[3, height, width] -> [height, width, 3]`
    fn rgb(&self, i: usize) -> RgbImage {
        let (height, width) = self.size();
        let planes: Vec<&[u8]> = self.pixels(i).chunks_exact(height * width).collect();
        let interleaved = (0..height * width).flat_map(|at| [planes[0][at], planes[1][at], planes[2][at]]);
        RgbImage::from_raw(width as u32, height as u32, interleaved.collect()).expect("3 bytes a pixel")
    }

    /// Writes every image as `root/<class>/<number>.png`, numbered within its class, such that names sort as numbers.
    ///
    /// # Errors
    /// - [`DataError::Setting`] if a class's name cannot be that of a folder in `root`: then nothing is written
    /// - [`DataError::Io`]; also if one of the files exists: nothing is overwritten
    pub fn write_folders(&self, root: &Path) -> Result<(), DataError> {
        for name in self.class_names() {
            let mut parts = Path::new(name).components();
            let is_plain = matches!(parts.next(), Some(Component::Normal(part)) if part == name.as_str());
            if !is_plain || parts.next().is_some() {
                return Err(DataError::Setting {
                    name: "class name",
                    value: format!("{name:?}"),
                    requirement: "must be the name of a folder, without a path",
                });
            }
        }
        let most = self.class_counts().into_iter().max().unwrap_or(0);
        let digits = digits(most);
        let mut written = vec![0; self.class_names().len()];
        for (i, &label) in self.labels().iter().enumerate() {
            let folder = root.join(&self.class_names()[label]);
            fs::create_dir_all(&folder).map_err(DataError::io("create", &folder))?;
            let path = folder.join(format!("{:0digits$}.png", written[label]));
            let mut file = fs::File::create_new(&path).map_err(DataError::io("create", &path))?;
            std::io::Write::write_all(&mut file, &self.png(i)).map_err(DataError::io("write", &path))?;
            written[label] += 1;
        }
        Ok(())
    }
}

/// Digits that the numbers of so many images are written with.
fn digits(images: usize) -> usize {
    images.saturating_sub(1).to_string().len().max(5)
}

fn encode(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).expect("8-bit RGB is a PNG, and memory takes it");
    bytes.into_inner()
}

#[cfg(test)]
mod tests {
    use crate::DataError;
    use crate::image_folder;
    use crate::shapes::{ShapesSplit, generate};

    #[test]
    fn folders_hold_the_same_pixels() {
        let root = tempfile::tempdir().unwrap();
        let set = generate(ShapesSplit::FarOod, 3, 0);
        set.write_folders(root.path()).unwrap();
        let read = image_folder::load(root.path(), set.size()).unwrap();
        let mut classes: Vec<usize> = (0..set.class_names().len()).collect();
        classes.sort_by_key(|&class| &set.class_names()[class]);
        let sorted = set.select_classes(&classes).unwrap();
        for class in 0..classes.len() {
            let of = |set: &crate::ImageSet| -> Vec<Vec<u8>> {
                (0..set.len()).filter(|&i| set.label(i) == class).map(|i| set.pixels(i).to_vec()).collect()
            };
            assert_eq!(of(&read), of(&sorted));
        }
        assert_eq!((read.class_names(), read.len()), (sorted.class_names(), sorted.len()));
        assert!(
            matches!(set.write_folders(root.path()), Err(DataError::Io { .. })),
            "nothing is overwritten"
        );
    }

    #[test]
    fn names_that_are_no_folders_are_refused_before_anything_is_written() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("inner");
        for name in ["../x", "/tmp/x", "n/a", "a/", ""] {
            let names = ["good", name].map(String::from).to_vec();
            let set = crate::ImageSet::new(vec![7; 2 * 3], (1, 1), vec![0, 1], names).unwrap();
            let error = set.write_folders(&inner).unwrap_err();
            assert!(matches!(error, DataError::Setting { name: "class name", .. }), "{name}: {error}");
            assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn numbers_of_large_classes_sort_as_names() {
        assert_eq!([0, 1, 100_000, 100_001, 2_000_000].map(super::digits), [5, 5, 5, 6, 7]);
    }

    #[test]
    fn thumbnails_shrink_and_never_grow() {
        let set = crate::ImageSet::new(vec![7; 3 * 40 * 20], (40, 20), vec![0], vec!["only".into()]).unwrap();
        let size = |bytes: &[u8]| image::load_from_memory(bytes).unwrap().into_rgb8().dimensions();
        assert_eq!(size(&set.thumbnail(0, 10)), (5, 10));
        assert_eq!(size(&set.thumbnail(0, 100)), (20, 40));
    }
}
