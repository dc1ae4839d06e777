//! Settings of the training batches, and their check against the images.

use std::sync::Arc;

use burn::config::Config;
use rayon::ThreadPoolBuilder;

use super::samples::Sampler;
use super::{Rotations, TwoViewBatches};
use crate::augment::SimClrAugmentConfig;
use crate::{DataError, ImageSet};

/// Most batches that may wait: the queue takes its memory at once.
const MAX_PREFETCH: usize = 1024;

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
    /// Images in a batch. Each takes `rotations.per_image() * 2` views.
    pub images: usize,
    /// Decides the order of the images and every view.
    #[config(default = 0)]
    pub seed: u64,
    /// Which rotations of each image a batch shows.
    #[config(default = "Rotations::All")]
    pub rotations: Rotations,
    /// How the views are drawn.
    #[config(default = "SimClrAugmentConfig::new()")]
    pub augment: SimClrAugmentConfig,
    /// Finished batches that may wait in the queue, up to 1024. At 1,024 samples of 32 x 32 each takes 25 MB.
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
    /// - [`DataError::Setting`] if `images` is zero, `prefetch` is above 1024, or an augmentation setting is out of
    ///   range
    /// - [`DataError::BatchTooLarge`] if the set has fewer than `images` images
    /// - [`DataError::NotSquare`] if images are to be turned that are not square, and no size of the views is set
    /// - [`DataError::Worker`] if the threads cannot be started
    pub fn try_init(&self, set: Arc<ImageSet>) -> Result<TwoViewBatches, DataError> {
        let augment = self.augment.try_init()?;
        let sampler = Sampler { augment, rotations: self.rotations, seed: self.seed };
        if self.images == 0 {
            let value = self.images.to_string();
            return Err(DataError::Setting { name: "images", value, requirement: "must be at least 1" });
        }
        if self.prefetch > MAX_PREFETCH {
            let value = self.prefetch.to_string();
            return Err(DataError::Setting { name: "prefetch", value, requirement: "must be at most 1024" });
        }
        if set.len() < self.images {
            return Err(DataError::BatchTooLarge { batch: self.images, available: set.len() });
        }
        if !sampler.fits(set.size()) {
            let (height, width) = set.size();
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
        Ok(TwoViewBatches::new(set, sampler, self.clone(), pool))
    }
}
