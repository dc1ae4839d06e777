//! Copies: images with the same pixels under other names.

use std::collections::{HashMap, HashSet};

use crate::ImageSet;

impl ImageSet {
    /// For each image the index of the first image with the same pixels: its own index unless it is a copy of
    /// an earlier image. Classes do not matter, and pictures that differ in a single pixel are no copies.
    ///
    /// ```
    /// use mcl_data::ImageSet;
    ///
    /// let set = ImageSet::new(vec![7, 7, 7, 0, 0, 0, 7, 7, 7], (1, 1), vec![0; 3], vec!["only".into()])?;
    /// assert_eq!(set.originals(), [0, 1, 0]);
    /// # Ok::<(), mcl_data::DataError>(())
    /// ```
    #[must_use]
    pub fn originals(&self) -> Vec<usize> {
        let mut first = HashMap::with_capacity(self.len());
        self.iter_pixels().enumerate().map(|(i, pixels)| *first.entry(pixels).or_insert(i)).collect()
    }

    /// How many images are copies of an earlier image of the set ([`originals`](Self::originals)).
    #[must_use]
    pub fn copies(&self) -> usize {
        self.originals().into_iter().enumerate().filter(|(i, original)| i != original).count()
    }

    /// How many images of this set have the same pixels as an image of `other`. Images of another size have
    /// none.
    #[must_use]
    pub fn copies_of(&self, other: &Self) -> usize {
        let known: HashSet<&[u8]> = other.iter_pixels().collect();
        let same_size = self.size() == other.size(); // 2 x 8 and 4 x 4 pixels may be the same bytes
        self.iter_pixels().filter(|pixels| same_size && known.contains(pixels)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(size: (usize, usize), values: &[u8]) -> ImageSet {
        let pixels = values.iter().flat_map(|&value| vec![value; 3 * size.0 * size.1]).collect();
        let labels = (0..values.len()).map(|i| i % 2).collect();
        ImageSet::new(pixels, size, labels, vec!["a".into(), "b".into()]).unwrap()
    }

    #[test]
    fn copies_are_found_within_a_set_and_between_sets() {
        let set_of = |values: &[u8]| set((1, 2), values);
        assert_eq!(set_of(&[5, 6, 5, 5, 7, 6]).originals(), [0, 1, 0, 0, 4, 1]);
        assert_eq!((set_of(&[5, 6, 5, 5, 7, 6]).copies(), set_of(&[5, 6, 7]).copies()), (3, 0));
        assert_eq!(set_of(&[5, 5, 8]).copies_of(&set_of(&[9, 5])), 2);
        assert_eq!(set_of(&[5]).copies_of(&set((2, 1), &[5])), 0);
    }
}
