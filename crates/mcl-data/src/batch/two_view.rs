//! Training batches: for each image its rotations, for each rotation two random views, all in the same batch.

use std::sync::Arc;

use burn::config::Config;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::HostBatch;
use super::order::shuffled;
use super::prefetch::Prefetch;
use crate::augment::{Scratch, SimClrAugment, SimClrAugmentConfig, ViewKey};
use crate::{DataError, ImageSet};

const VIEWS: usize = 2;

/// Settings of [`TwoViewBatches`].
///
/// ```
/// use std::sync::Arc;
/// use mcl_data::ImageSet;
/// use mcl_data::batch::{BatchConfig, Position};
///
/// let noise = (0..10 * 3 * 8 * 8).map(|i| (i * 7 % 256) as u8).collect();
/// let set = ImageSet::new(noise, (8, 8), (0..10).collect(), (0..10).map(|i| i.to_string()).collect())?;
/// let batches = BatchConfig::new(4).with_seed(1).try_init(Arc::new(set))?;
/// assert_eq!(batches.batches_per_epoch(), 2); // the last two images wait for another epoch
/// for batch in batches.stream(Position::default(), 3)? {
///     let batch = batch?;
///     assert_eq!(batch.samples(), 4 * 4);
///     assert_eq!(batch.pixels.len(), 4 * 4 * 2 * 3 * 8 * 8);
/// }
/// # Ok::<(), mcl_data::DataError>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct BatchConfig {
    /// Images in a batch. Each takes `rotations * 2` views.
    pub images: usize,
    /// Decides the order of the images and every view.
    #[config(default = 0)]
    pub seed: u64,
    /// Rotations of each image: 4 for 0, 90, 180 and 270 degrees counterclockwise, 1 for none.
    #[config(default = 4)]
    pub rotations: usize,
    /// How the views are drawn.
    #[config(default = "SimClrAugmentConfig::new()")]
    pub augment: SimClrAugmentConfig,
    /// Finished batches that may wait in the queue. At 1,024 samples of 32 x 32 each takes 25 MB.
    #[config(default = 2)]
    pub prefetch: usize,
    /// Threads that make views, 0 for rayon's global pool. The batches do not depend on it.
    #[config(default = 0)]
    pub threads: usize,
}

impl BatchConfig {
    /// Checks the settings against the set.
    ///
    /// # Errors
    /// - [`DataError::Setting`] if `images` is zero, `rotations` is neither 1 nor 4, or an augmentation setting is out of range
    /// - [`DataError::BatchTooLarge`] if the set has fewer than `images` images
    /// - [`DataError::NotSquare`] if images are to be turned that are not square
    /// - [`DataError::Worker`] if the threads cannot be started
    pub fn try_init(&self, set: Arc<ImageSet>) -> Result<TwoViewBatches, DataError> {
        let augment = self.augment.try_init()?;
        if self.images == 0 {
            let value = self.images.to_string();
            return Err(DataError::Setting { name: "images", value, requirement: "must be at least 1" });
        }
        if ![1, 4].contains(&self.rotations) {
            let value = self.rotations.to_string();
            return Err(DataError::Setting {
                name: "rotations",
                value,
                requirement: "must be 4, or 1 to leave images upright",
            });
        }
        if set.len() < self.images {
            return Err(DataError::BatchTooLarge { batch: self.images, available: set.len() });
        }
        let (height, width) = set.size();
        if self.rotations == 4 && height != width {
            return Err(DataError::NotSquare { height, width });
        }
        let pool = match self.threads {
            0 => None,
            threads => {
                let pool = ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .thread_name(|thread| format!("mcl-data views {thread}"))
                    .build()
                    .map_err(|error| DataError::Worker { reason: error.to_string() })?;
                Some(Arc::new(pool))
            }
        };
        Ok(TwoViewBatches { set, augment, config: self.clone(), pool })
    }
}

/// Where in the data a run stands. Serialise the next position with a checkpoint, and the run resumes where it was.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Position {
    /// Epoch, from zero.
    pub epoch: usize,
    /// Batch in the epoch, from zero.
    pub batch: usize,
}

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
    /// Whole batches in an epoch.
    #[must_use]
    pub fn batches_per_epoch(&self) -> usize {
        self.set.len() / self.config.images
    }

    /// Samples in a batch: images times rotations.
    #[must_use]
    pub fn samples_per_batch(&self) -> usize {
        self.config.images * self.config.rotations
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
        let images = &order[position.batch * self.config.images..][..self.config.images];
        let (height, width) = self.set.size();
        let view_len = 3 * height * width;
        let image_len = rotations * VIEWS * view_len;
        let mut pixels = vec![0.0; images.len() * image_len];
        let mut fill = || {
            let outputs = pixels.par_chunks_exact_mut(image_len);
            images.par_iter().zip(outputs).for_each_init(Scratch::default, |scratch, (&image, out)| {
                for (index, out) in out.chunks_exact_mut(view_len).enumerate() {
                    self.write_view(position.epoch, image, index / VIEWS, index % VIEWS, scratch, out);
                }
            });
        };
        match &self.pool {
            Some(pool) => pool.install(fill),
            None => fill(),
        }
        let each = |value: fn(&ImageSet, usize, usize) -> usize| {
            let set = &self.set;
            let samples = images.iter().flat_map(|&image| (0..rotations).map(move |turn| (image, turn)));
            samples.map(|(image, turn)| value(set, image, turn) as i64).collect()
        };
        HostBatch {
            position,
            size: (height, width),
            class: each(|set, image, _| set.label(image)),
            aux: each(|_, _, turn| turn),
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
