//! Labelled 8-bit colour images held in memory, in the layout that the network reads: planar RGB, [3, height, width].

use std::collections::HashMap;
use std::sync::Arc;

use burn::data::dataset::{Dataset, DatasetError};

use crate::DataError;

/// Which part of a data set: the one to learn from or the one to be judged on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Split {
    /// Training images.
    Train,
    /// Test images.
    Test,
}

impl Split {
    /// `"train"` or `"test"`, as the folders of the published sets are named.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// One image of an [`ImageSet`] with its label: the item of its [`Dataset`] implementation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabeledImage {
    /// Planar RGB, `[3, height, width]`, 0..=255.
    pub pixels: Vec<u8>,
    /// Height and width in pixels.
    pub size: (usize, usize),
    /// Index into the class names of its set.
    pub label: usize,
}

/// Labelled images of one size: u8, planar RGB.
///
/// Clones, subsets and selections share the pixels, and keep all of them in memory.
///
/// ```
/// use mcl_data::ImageSet;
///
/// let black_and_white = [vec![0; 3 * 2 * 2], vec![255; 3 * 2 * 2]].concat();
/// let set = ImageSet::new(black_and_white, (2, 2), vec![0, 1], vec!["black".into(), "white".into()])?;
/// assert_eq!(set.pixels(1), [255; 12]);
/// assert_eq!(set.class_names()[set.label(1)], "white");
/// # Ok::<(), mcl_data::DataError>(())
/// ```
#[derive(Clone)]
pub struct ImageSet {
    pixels: Arc<Vec<u8>>, // [stored images, 3, height, width]
    size: (usize, usize),
    places: Vec<usize>, // the stored image of each image
    labels: Vec<usize>,
    class_names: Vec<String>,
}

impl ImageSet {
    /// Makes a set of `labels.len()` images.
    ///
    /// # Shapes
    /// - pixels: `[images, 3, height, width]`, row-major
    /// - size: (height, width)
    ///
    /// # Errors
    /// - [`DataError::Setting`] if a side is zero
    /// - [`DataError::PixelCount`] if the pixels are not `images * 3 * height * width`
    /// - [`DataError::EqualClassNames`] if two classes have the same name
    /// - [`DataError::Label`] if a label has no class name
    pub fn new(
        pixels: Vec<u8>,
        size: (usize, usize),
        labels: Vec<usize>,
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        let (height, width) = size;
        check_size("size", size)?;
        let images = labels.len();
        let expected = images
            .checked_mul(3)
            .and_then(|n| n.checked_mul(height))
            .and_then(|n| n.checked_mul(width))
            .unwrap_or(usize::MAX);
        if pixels.len() != expected {
            return Err(DataError::PixelCount { images, height, width, expected, found: pixels.len() });
        }
        let mut seen = HashMap::new();
        for (second, name) in class_names.iter().enumerate() {
            if let Some(first) = seen.insert(name, second) {
                return Err(DataError::EqualClassNames { name: name.clone(), first, second });
            }
        }
        let classes = class_names.len();
        if let Some(image) = labels.iter().position(|&label| label >= classes) {
            return Err(DataError::Label { image, label: labels[image], classes });
        }
        Ok(Self { pixels: Arc::new(pixels), size, places: (0..images).collect(), labels, class_names })
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Height and width of every image, in pixels.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// Image `i`, planar RGB, `[3, height, width]`.
    ///
    /// # Panics
    /// If `i >= len()`.
    #[must_use]
    pub fn pixels(&self, i: usize) -> &[u8] {
        let bytes = self.image_bytes();
        &self.pixels[self.places[i] * bytes..][..bytes]
    }

    /// The pixels of each image in turn, planar RGB, `[3, height, width]`.
    pub fn iter_pixels(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|i| self.pixels(i))
    }

    /// Label of image `i`, an index into [`class_names`](Self::class_names).
    ///
    /// # Panics
    /// If `i >= len()`.
    #[must_use]
    pub fn label(&self, i: usize) -> usize {
        self.labels[i]
    }

    /// The labels of all images.
    #[must_use]
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The name of each class.
    #[must_use]
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Number of images of each class.
    #[must_use]
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.class_names.len()];
        for &label in &self.labels {
            counts[label] += 1;
        }
        counts
    }

    /// The images at `indices`, in that order; repeats are allowed. The classes stay, and no pixel is copied.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] if an index is not below `len()`.
    pub fn subset(&self, indices: &[usize]) -> Result<Self, DataError> {
        if let Some(&index) = indices.iter().find(|&&i| i >= self.len()) {
            return Err(DataError::OutOfRange { what: "image", index, len: self.len() });
        }
        Ok(Self {
            pixels: self.pixels.clone(),
            size: self.size,
            places: indices.iter().map(|&i| self.places[i]).collect(),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            class_names: self.class_names.clone(),
        })
    }

    /// The first `n` images, or all of them if there are fewer. The classes stay, and no pixel is copied.
    #[must_use]
    pub fn take(&self, n: usize) -> Self {
        let mut set = self.clone();
        set.places.truncate(n);
        set.labels.truncate(n);
        set
    }

    /// The images of `classes`, which become classes 0, 1, ... in the order given: for one-class and
    /// one-versus-rest settings.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] if a class does not exist, [`DataError::Setting`] if one is given twice.
    pub fn select_classes(&self, classes: &[usize]) -> Result<Self, DataError> {
        let mut new_label = vec![None; self.class_names.len()];
        for (new, &class) in classes.iter().enumerate() {
            let len = self.class_names.len();
            let label =
                new_label.get_mut(class).ok_or(DataError::OutOfRange { what: "class", index: class, len })?;
            if label.replace(new).is_some() {
                let (value, requirement) = (format!("{classes:?}"), "must name each class once");
                return Err(DataError::Setting { name: "classes", value, requirement });
            }
        }
        let kept: Vec<usize> = (0..self.len()).filter(|&i| new_label[self.labels[i]].is_some()).collect();
        let mut set = self.subset(&kept)?;
        for label in &mut set.labels {
            *label = new_label[*label].expect("only images of the selected classes were kept");
        }
        set.class_names = classes.iter().map(|&class| self.class_names[class].clone()).collect();
        Ok(set)
    }

    /// The images of `self`, then those of `other`, copied.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] if image sizes or class names differ.
    pub fn concat(self, other: &Self) -> Result<Self, DataError> {
        if self.size != other.size {
            let ((h, w), (other_h, other_w)) = (self.size, other.size);
            return Err(DataError::Mismatch {
                reason: format!("{h} x {w} pixels and {other_h} x {other_w}"),
            });
        }
        if self.class_names != other.class_names {
            let reason = format!("classes {:?} and {:?}", self.class_names, other.class_names);
            return Err(DataError::Mismatch { reason });
        }
        let pixels = self.iter_pixels().chain(other.iter_pixels()).collect::<Vec<_>>().concat();
        Self::new(pixels, self.size, [self.labels, other.labels.clone()].concat(), self.class_names)
    }

    fn image_bytes(&self) -> usize {
        3 * self.size.0 * self.size.1
    }
}

pub(crate) fn check_size(name: &'static str, (height, width): (usize, usize)) -> Result<(), DataError> {
    if height == 0 || width == 0 {
        let value = format!("{height} x {width}");
        return Err(DataError::Setting { name, value, requirement: "both sides must be at least 1" });
    }
    Ok(())
}

/// Equal images with equal labels, wherever they are stored.
impl PartialEq for ImageSet {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size
            && self.labels == other.labels
            && self.class_names == other.class_names
            && self.iter_pixels().eq(other.iter_pixels())
    }
}

impl Eq for ImageSet {}

/// Millions of pixel bytes help nobody: sizes and counts instead.
impl std::fmt::Debug for ImageSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageSet")
            .field("len", &self.len())
            .field("size", &self.size)
            .field("class_names", &self.class_names)
            .finish_non_exhaustive()
    }
}

impl Dataset<LabeledImage> for ImageSet {
    fn get(&self, index: usize) -> Result<LabeledImage, DatasetError> {
        Ok(LabeledImage { pixels: self.pixels(index).to_vec(), size: self.size, label: self.labels[index] })
    }

    fn len(&self) -> usize {
        self.labels.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    /// Four 1 x 2 images; image i is filled with 10 * i + position.
    fn four() -> ImageSet {
        let pixels = (0..4).flat_map(|i| (0..6).map(move |p| 10 * i + p)).collect();
        ImageSet::new(pixels, (1, 2), vec![2, 0, 1, 2], names(&["a", "b", "c"])).unwrap()
    }

    #[test]
    fn images_come_back_as_put_in() {
        let set = four();
        assert_eq!((set.len(), set.size(), set.label(2)), (4, (1, 2), 1));
        assert_eq!(set.pixels(3), [30, 31, 32, 33, 34, 35]);
        assert_eq!(set.class_counts(), [1, 1, 2]);
        let item = Dataset::get(&set, 3).unwrap();
        assert_eq!(item, LabeledImage { pixels: set.pixels(3).to_vec(), size: (1, 2), label: 2 });
        assert_eq!(Dataset::iter(&set).count(), 4);
    }

    #[test]
    fn subset_keeps_order_and_repeats() {
        let picked = four().subset(&[3, 0, 3]).unwrap();
        assert_eq!(picked.labels(), [2, 2, 2]);
        assert_eq!([picked.pixels(0)[0], picked.pixels(1)[0], picked.pixels(2)[0]], [30, 0, 30]);
        let again = picked.subset(&[1, 2]).unwrap();
        assert_eq!([again.pixels(0)[0], again.pixels(1)[0]], [0, 30]);
        assert_eq!(again.iter_pixels().map(|image| image[0]).collect::<Vec<_>>(), [0, 30]);
        assert!(Arc::ptr_eq(&again.pixels, &picked.pixels));
        assert!(matches!(four().subset(&[1, 4]), Err(DataError::OutOfRange { index: 4, len: 4, .. })));
    }

    #[test]
    fn sets_are_equal_by_their_images() {
        let stored_alone =
            ImageSet::new((10..16).chain(0..6).collect(), (1, 2), vec![0, 2], names(&["a", "b", "c"]));
        assert_eq!(four().subset(&[1, 0]).unwrap(), stored_alone.unwrap());
        assert_ne!(four().subset(&[0, 3]).unwrap(), four().subset(&[3, 0]).unwrap());
    }

    #[test]
    fn take_stops_at_the_end() {
        assert_eq!(four().take(3), four().subset(&[0, 1, 2]).unwrap());
        assert_eq!(four().take(9), four());
        assert!(four().take(0).is_empty());
    }

    #[test]
    fn selected_classes_are_renumbered() {
        let set = four().select_classes(&[2, 0]).unwrap();
        assert_eq!(set.class_names(), ["c", "a"]);
        assert_eq!(set.labels(), [0, 1, 0]);
        assert_eq!(set.pixels(2), four().pixels(3));
        assert!(matches!(four().select_classes(&[3]), Err(DataError::OutOfRange { what: "class", .. })));
        assert!(matches!(four().select_classes(&[2, 2]), Err(DataError::Setting { name: "classes", .. })));
    }

    #[test]
    fn concat_joins_only_what_matches() {
        let set = four().subset(&[3, 1]).unwrap().concat(&four().take(1)).unwrap();
        assert_eq!(set, four().subset(&[3, 1, 0]).unwrap());
        let other_size = ImageSet::new(vec![0; 3], (1, 1), vec![0], names(&["a", "b", "c"])).unwrap();
        assert!(matches!(four().concat(&other_size), Err(DataError::Mismatch { .. })));
        let other_classes = ImageSet::new(vec![0; 6], (1, 2), vec![0], names(&["a"])).unwrap();
        assert!(matches!(four().concat(&other_classes), Err(DataError::Mismatch { .. })));
    }

    #[test]
    fn wrong_parts_are_refused() {
        let new = |pixels: usize, size, labels: Vec<usize>| {
            ImageSet::new(vec![0; pixels], size, labels, names(&["only"]))
        };
        assert!(matches!(new(5, (1, 2), vec![0]), Err(DataError::PixelCount { expected: 6, found: 5, .. })));
        assert!(matches!(new(6, (1, 2), vec![1]), Err(DataError::Label { image: 0, label: 1, classes: 1 })));
        assert!(matches!(new(0, (0, 2), vec![]), Err(DataError::Setting { .. })));
        let twice = ImageSet::new(vec![0; 3], (1, 1), vec![2], names(&["a", "b", "a"]));
        assert!(
            matches!(&twice, Err(DataError::EqualClassNames { name, first: 0, second: 2 }) if name == "a"),
            "{twice:?}"
        );
        assert!(matches!(new(0, (usize::MAX, 2), vec![0]), Err(DataError::PixelCount { .. })));
    }
}
