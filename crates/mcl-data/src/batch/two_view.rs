//! Training batches: for each image its rotations (the auxiliary labels of Eq. 11), for each rotation two random views, all in
//! the same batch.

use std::sync::Arc;

use rayon::ThreadPool;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::order::shuffled;
use super::prefetch::Prefetch;
use super::{BatchConfig, HostBatch, Position};
use crate::augment::{Scratch, SimClrAugment, ViewKey};
use crate::{DataError, ImageSet};

const VIEWS: usize = 2;

/// The batches of every epoch: any one by its position, or a stream of them made ahead in the background.
///
/// Each epoch takes the images in a new random order and leaves out those that do not fill a batch.
#[derive(Debug, Clone)]
pub struct TwoViewBatches {
    set: Arc<ImageSet>,
    augment: SimClrAugment,
    config: BatchConfig,
    pool: Option<Arc<ThreadPool>>,
}

impl TwoViewBatches {
    /// Of parts that [`BatchConfig::try_init`] has checked.
    pub(super) fn new(
        set: Arc<ImageSet>,
        augment: SimClrAugment,
        config: BatchConfig,
        pool: Option<Arc<ThreadPool>>,
    ) -> Self {
        Self { set, augment, config, pool }
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
        Ok(self.make(position, &shuffled(self.set.len(), self.config.seed, position.epoch)))
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
        let mut order = None; // of one epoch
        let produce = move || {
            if position.epoch >= epochs {
                return None;
            }
            if position.batch == 0 {
                order = None;
            }
            let order =
                order.get_or_insert_with(|| shuffled(batches.set.len(), batches.config.seed, position.epoch));
            let batch = batches.make(position, order);
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
        let rotations = self.config.rotations;
        let turns =
            |image: usize, sample: usize| rotations.turns(sample, self.config.seed, position.epoch, image);
        let images = &order[position.batch * self.config.images..][..self.config.images];
        let (height, width) = self.set.size();
        let view_len = 3 * height * width;
        let image_len = rotations.per_image() * VIEWS * view_len;
        let mut pixels = vec![0.0; images.len() * image_len];
        let mut fill = || {
            let outputs = pixels.par_chunks_exact_mut(image_len);
            images.par_iter().zip(outputs).for_each_init(Scratch::default, |scratch, (&image, out)| {
                for (index, out) in out.chunks_exact_mut(view_len).enumerate() {
                    let turns = turns(image, index / VIEWS);
                    self.write_view(position.epoch, image, turns, index % VIEWS, scratch, out);
                }
            });
        };
        match &self.pool {
            Some(pool) => pool.install(fill),
            None => fill(),
        }
        let per_sample = |value: &dyn Fn(usize, usize) -> usize| {
            let samples =
                |&image: &usize| (0..rotations.per_image()).map(move |sample| value(image, sample) as i64);
            images.iter().flat_map(samples).collect()
        };
        HostBatch {
            position,
            size: (height, width),
            class: per_sample(&|image, _| self.set.label(image)),
            aux: per_sample(&turns),
            images: images.to_vec(),
            pixels,
        }
    }

    fn write_view(
        &self,
        epoch: usize,
        image: usize,
        rotation: usize,
        view: usize,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let key = ViewKey {
            seed: self.config.seed,
            epoch: epoch as u64,
            image: image as u64,
            rotation: rotation as u32,
            view: view as u32,
        };
        let size = self.set.size();
        self.augment.draw(size, rotation, &mut key.rng()).write(self.set.pixels(image), size, scratch, out);
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
