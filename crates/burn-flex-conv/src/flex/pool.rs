//! Memory of activations, kept for the next layer or the next training step: fresh memory costs as much as a
//! pass over it, or more, as the operating system hands it out page by page and zeroed.
//!
//! A buffer that no request has taken for a long time is freed. When a request finds no buffer of its length,
//! the oldest buffers of that total length are freed: when sizes change, unused buffers do not pile up.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// Smaller buffers are left to the allocator.
const LEAST_LEN: usize = 1 << 14;
/// Requests after which a buffer that serves none of them is freed: several steps of a large network.
const LIFETIME: u64 = 1000;

static OF_TRAINING: LazyLock<Pool> = LazyLock::new(Pool::default);

/// Buffers that wait for the next request. Clones share them; the last one frees them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Kept>>);

impl Pool {
    /// The pool of all training steps of the process.
    pub(super) fn of_training() -> Self {
        OF_TRAINING.clone()
    }

    /// Returns a buffer of this length with any values in it.
    pub(super) fn take(&self, len: usize) -> Vec<f32> {
        if len < LEAST_LEN {
            return vec![0.0; len];
        }
        // Memory is freed after the lock: other threads may take again meanwhile.
        let (found, _freed) = self.kept().take(len);
        found.unwrap_or_else(|| vec![0.0; len])
    }

    /// Keeps a buffer for [`take`](Self::take).
    pub(super) fn give_back(&self, buffer: Vec<f32>) {
        if buffer.len() >= LEAST_LEN {
            self.kept().give_back(buffer);
        }
    }

    /// Frees all buffers.
    pub(super) fn release(&self) {
        let _freed = std::mem::take(&mut self.kept().buffers);
    }

    /// Number of values in all buffers.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept().buffers.iter().map(|(_, buffer)| buffer.len()).sum()
    }

    /// Whether there is a buffer of this length.
    #[cfg(test)]
    pub(super) fn has(&self, len: usize) -> bool {
        self.kept().buffers.iter().any(|(_, buffer)| buffer.len() == len)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Oldest first, with the number of requests when it came.
#[derive(Debug, Default)]
struct Kept {
    buffers: VecDeque<(u64, Vec<f32>)>,
    requests: u64,
}

impl Kept {
    /// Returns a buffer of this length if there is one, and the buffers that are too old.
    fn take(&mut self, len: usize) -> (Option<Vec<f32>>, Vec<Vec<f32>>) {
        self.requests += 1;
        // The one that was used last is the most likely to be in cache.
        let found = self.buffers.iter().rposition(|(_, buffer)| buffer.len() == len);
        let found = found.and_then(|index| self.buffers.remove(index)).map(|(_, buffer)| buffer);
        let mut to_free = if found.is_some() { 0 } else { len };
        let mut freed = Vec::new();
        while let Some((came, buffer)) = self.buffers.front()
            && (to_free > 0 || self.requests - came > LIFETIME)
        {
            to_free = to_free.saturating_sub(buffer.len());
            freed.extend(self.buffers.pop_front().map(|(_, buffer)| buffer));
        }
        (found, freed)
    }

    fn give_back(&mut self, buffer: Vec<f32>) {
        self.buffers.push_back((self.requests, buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_taken_again_until_it_is_old() {
        let mut kept = Kept::default();
        kept.give_back(vec![7.0; 5]);
        assert_eq!(kept.take(5), (Some(vec![7.0; 5]), vec![]));
        assert_eq!(kept.take(5), (None, vec![]));
        kept.give_back(vec![7.0; 5]);
        kept.give_back(vec![8.0; 6]);
        kept.requests += LIFETIME;
        assert_eq!(kept.take(6), (Some(vec![8.0; 6]), vec![vec![7.0; 5]]), "too old");
        kept.give_back(vec![7.0; 5]);
        kept.give_back(vec![8.0; 6]);
        assert_eq!(kept.take(4), (None, vec![vec![7.0; 5]]), "another size is asked for");
    }

    // Lengths of no other test: other tests of the process take and give back too.
    #[test]
    fn small_buffers_and_released_ones_are_not_kept() {
        let pool = Pool::of_training();
        pool.give_back(vec![7.0; 3]);
        assert_eq!(pool.take(3), [0.0; 3]);
        let len = LEAST_LEN + 12_345;
        pool.give_back(vec![7.0; len]);
        crate::release_memory();
        assert_eq!(pool.take(len), vec![0.0; len]);
    }
}
