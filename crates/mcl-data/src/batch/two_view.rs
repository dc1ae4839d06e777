//! Training batches: for each image its rotations (the auxiliary labels of Eq. 11), for each rotation two random views, all in
//! the same batch.

use std::sync::Arc;

use rayon::ThreadPool;

use super::order::Order;
use super::prefetch::Prefetch;
use super::samples::{Sampler, Source};
use super::{BatchConfig, HostBatch, Position};
use crate::augment::ViewTransform;
use crate::{DataError, ImageSet};

/// The batches of every epoch: any one by its position, or a stream of them made ahead in the background.
///
/// Each epoch takes the images in a new random order and leaves out those that do not fill a batch.
#[derive(Debug, Clone)]
pub struct TwoViewBatches {
    set: Arc<ImageSet>,
    order: Order,
    sampler: Sampler,
    config: BatchConfig,
    pool: Option<Arc<ThreadPool>>,
}

impl TwoViewBatches {
    /// Of parts that [`BatchConfig::try_init`] has checked.
    pub(super) fn new(
        set: Arc<ImageSet>,
        sampler: Sampler,
        config: BatchConfig,
        pool: Option<Arc<ThreadPool>>,
    ) -> Self {
        let order = Order::new(set.len(), config.seed);
        Self { set, order, sampler, config, pool }
    }

    /// Applies `transform` to every view, after the built-in operations.
    #[must_use]
    pub fn with_transform(mut self, transform: Arc<dyn ViewTransform>) -> Self {
        self.sampler.augment = self.sampler.augment.with_transform(transform);
        self
    }

    /// Whole batches in an epoch.
    #[must_use]
    pub fn batches_per_epoch(&self) -> usize {
        self.set.len() / self.config.images
    }

    /// Samples in a batch: images times the samples of an image.
    #[must_use]
    pub fn samples_per_batch(&self) -> usize {
        self.config.images * self.config.rotations.per_image()
    }

    /// The position that follows: the next batch, or the first of the next epoch.
    #[must_use]
    pub fn after(&self, position: Position) -> Position {
        if position.batch + 1 < self.batches_per_epoch() {
            Position { batch: position.batch + 1, ..position }
        } else {
            Position { epoch: position.epoch + 1, batch: 0 }
        }
    }

    /// Makes the batch at a position. A [`stream`](Self::stream) gives the same ones, made ahead.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] if the epoch has no such batch.
    pub fn batch(&self, position: Position) -> Result<HostBatch, DataError> {
        self.check(position)?;
        Ok(self.make(position, &self.order.of(position.epoch)))
    }

    /// The batches from a position on, up to the end of epoch `epochs - 1`, made ahead on a background thread. `usize::MAX`
    /// goes on for ever.
    ///
    /// The stream ends after an error. Dropping it stops the thread.
    ///
    /// # Errors
    /// - [`DataError::OutOfRange`] if the first epoch has no such batch
    /// - [`DataError::Worker`] if the thread cannot be started
    pub fn stream(&self, from: Position, epochs: usize) -> Result<BatchStream, DataError> {
        self.check(from)?;
        let batches = self.clone();
        let mut position = from;
        let produce = move || {
            if position.epoch >= epochs {
                return None;
            }
            let batch = batches.make(position, &batches.order.of(position.epoch));
            position = batches.after(position);
            Some(Ok(batch))
        };
        let left = epochs.saturating_sub(from.epoch).saturating_mul(self.batches_per_epoch());
        let left = left.saturating_sub(from.batch);
        Ok(BatchStream { batches: Prefetch::spawn(self.config.prefetch, produce)?, left })
    }

    fn check(&self, position: Position) -> Result<(), DataError> {
        let len = self.batches_per_epoch();
        if position.batch < len {
            return Ok(());
        }
        Err(DataError::OutOfRange { what: "batch", index: position.batch, len })
    }

    fn make(&self, position: Position, order: &[usize]) -> HostBatch {
        let images = self.config.images;
        let indices = &order[position.batch * images..][..images];
        let source = |&index: &usize| Source {
            index,
            epoch: position.epoch,
            class: self.set.label(index),
            pixels: self.set.pixels(index),
        };
        let sources: Vec<Source<'_>> = indices.iter().map(source).collect();
        let samples = self.sampler.make(&sources, self.set.size(), self.pool.as_deref());
        HostBatch::new(position, indices.to_vec(), samples)
    }
}

/// Iterator made by [`TwoViewBatches::stream`].
#[derive(Debug)]
pub struct BatchStream {
    batches: Prefetch<HostBatch>,
    left: usize,
}

impl Iterator for BatchStream {
    type Item = Result<HostBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next();
        self.left = if matches!(batch, Some(Ok(_))) { self.left.saturating_sub(1) } else { 0 };
        batch
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.min(1), Some(self.left)) // an error ends it early
    }
}
