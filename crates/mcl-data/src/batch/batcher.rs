//! Burn's `Batcher` for two-view training batches and for evaluation batches: the way into
//! `burn::data::dataloader::DataLoaderBuilder` and burn-train.

use std::sync::{Mutex, PoisonError};

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Tensor, TensorData};

use super::samples::{Sampler, Source};
use super::{EvalBatch, Indexed, Rotations, TwoViewBatch};
use crate::LabeledImage;
use crate::augment::SimClrAugment;
use crate::augment::ops::Channel;

/// Makes two-view batches of the images that a loader hands over.
///
/// The k-th time that the batcher gets an image, it makes the views of epoch k. So the views of an image depend on the
/// seed, the index of the image and the number of its visits alone, with any number of workers; which images share a batch
/// is up to the loader. [`TwoViewBatches`](super::TwoViewBatches) makes batches that depend on their position alone, and
/// resumes at any of them.
///
/// ```
/// use burn::data::dataloader::DataLoaderBuilder;
/// use burn::tensor::Device;
/// use mcl_data::augment::SimClrAugmentConfig;
/// use mcl_data::batch::{IndexedDataset, Rotations, TwoViewBatcher};
/// use mcl_data::shapes::{self, ShapesSplit};
///
/// let set = shapes::generate(ShapesSplit::Train, 4, 0);
/// let batcher = TwoViewBatcher::new(SimClrAugmentConfig::new().try_init()?, Rotations::Drawn, 0);
/// let loader = DataLoaderBuilder::new(batcher)
///     .batch_size(16)
///     .shuffle(0)
///     .set_device(Device::flex())
///     .build(IndexedDataset(set));
/// let batch = loader.iter().next().unwrap().unwrap();
/// assert_eq!(batch.images.dims(), [32, 3, 32, 32]); // two views of each of 16 samples
/// # Ok::<(), mcl_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct TwoViewBatcher {
    sampler: Sampler,
    first_epoch: usize,
    visits: Mutex<Vec<usize>>, // of each image so far
}

impl TwoViewBatcher {
    /// Makes a batcher that draws views by `augment`, and everything random from `seed`.
    #[must_use]
    pub fn new(augment: SimClrAugment, rotations: Rotations, seed: u64) -> Self {
        Self { sampler: Sampler { augment, rotations, seed }, first_epoch: 0, visits: Mutex::default() }
    }

    /// Starts with the views of `epoch` instead of epoch 0: a run that goes on does not see the same views again.
    #[must_use]
    pub fn with_first_epoch(mut self, epoch: usize) -> Self {
        self.first_epoch = epoch;
        self
    }

    /// The epoch of each image, and its next visit counted.
    fn visit(&self, items: &[Indexed<LabeledImage>]) -> Vec<usize> {
        let mut visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        let visit = |item: &Indexed<LabeledImage>| {
            if visits.len() <= item.index {
                visits.resize(item.index + 1, 0);
            }
            visits[item.index] += 1;
            self.first_epoch + visits[item.index] - 1
        };
        items.iter().map(visit).collect()
    }
}

impl Batcher<Indexed<LabeledImage>, TwoViewBatch> for TwoViewBatcher {
    /// Makes the two views of each sample, on all cores.
    ///
    /// # Panics
    /// If the images differ in size, or are turned and neither square nor given a
    /// [`view_size`](crate::augment::SimClrAugmentConfig::view_size).
    fn batch(&self, items: Vec<Indexed<LabeledImage>>, device: &Device) -> TwoViewBatch {
        let size = common_size(items.iter().map(|item| &item.item));
        assert!(
            self.sampler.fits(size),
            "images of {} x {} cannot be turned in one batch: make them square, set view_size, or set rotations to None",
            size.0,
            size.1
        );
        let epochs = self.visit(&items);
        let visited = items.iter().zip(epochs);
        let sources: Vec<Source<'_>> = visited
            .map(|(Indexed { index, item }, epoch)| Source {
                index: *index,
                epoch,
                class: item.label,
                pixels: &item.pixels,
            })
            .collect();
        TwoViewBatch::new(self.sampler.make(&sources, size, None), device)
    }
}

/// Makes batches of images as they are, in [0, 1], with their labels.
#[derive(Debug, Clone, Copy, Default)]
pub struct EvalBatcher;

impl Batcher<LabeledImage, EvalBatch> for EvalBatcher {
    /// Puts images into a tensor `[images, 3, height, width]`.
    ///
    /// # Panics
    /// If the images differ in size.
    fn batch(&self, items: Vec<LabeledImage>, device: &Device) -> EvalBatch {
        let (height, width) = common_size(items.iter());
        let pixels: Vec<f32> = items.iter().flat_map(|item| item.pixels.iter().map(|v| v.unit())).collect();
        let data = TensorData::new(pixels, [items.len(), 3, height, width]);
        let labels = items.iter().map(|item| item.label).collect();
        EvalBatch { images: Tensor::from_data(data, device), labels }
    }
}

impl Batcher<Indexed<LabeledImage>, EvalBatch> for EvalBatcher {
    /// As for items without an index.
    ///
    /// # Panics
    /// If the images differ in size.
    fn batch(&self, items: Vec<Indexed<LabeledImage>>, device: &Device) -> EvalBatch {
        let items: Vec<LabeledImage> = items.into_iter().map(|item| item.item).collect();
        self.batch(items, device)
    }
}

fn common_size<'a>(mut items: impl Iterator<Item = &'a LabeledImage>) -> (usize, usize) {
    let size = items.next().map_or((1, 1), |first| first.size);
    if let Some(other) = items.find(|item| item.size != size) {
        panic!("a batch has images of {size:?} and of {:?} (height, width): resize them first", other.size);
    }
    size
}
