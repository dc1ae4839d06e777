//! Items that know their place in a data set, for Burn's loaders, which shuffle items and pass on nothing else.

use burn::data::dataset::Dataset;

/// An item of a data set with its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed<T> {
    /// Index in the data set, from zero.
    pub index: usize,
    /// The item.
    pub item: T,
}

/// The items of a [`Dataset`], each with its index.
///
/// Put this around the set itself, inside of transforms that change the order of the items: the index decides the random
/// views of an image.
#[derive(Debug, Clone)]
pub struct IndexedDataset<D>(pub D);

impl<D, I, E> Dataset<Indexed<I>, E> for IndexedDataset<D>
where
    D: Dataset<I, E>,
    E: std::error::Error + Send + Sync + 'static,
{
    fn get(&self, index: usize) -> Result<Indexed<I>, E> {
        Ok(Indexed { index, item: self.0.get(index)? })
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}
