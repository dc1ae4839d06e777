//! Memory of activations, kept from one step for the next: fresh memory costs as much as a pass over it, or more, as the
//! operating system hands it out page by page and zeroed.
//!
//! A buffer that has not been asked for in a long time is freed, as is an old one for each that is asked for in vain: when
//! sizes change, what is kept does not pile up.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Smaller buffers are left to the allocator.
const LEAST_LEN: usize = 1 << 14;
/// Requests after which a buffer that serves none of them is freed: several steps of a large network.
const LIFETIME: u64 = 1000;

static KEPT: Mutex<Kept> = Mutex::new(Kept { buffers: VecDeque::new(), requests: 0 });

/// A buffer of this length with any values in it.
pub(super) fn take(len: usize) -> Vec<f32> {
    if len < LEAST_LEN {
        return vec![0.0; len];
    }
    // What is freed is freed when others may take again.
    let (found, _freed) = kept().take(len);
    found.unwrap_or_else(|| vec![0.0; len])
}

/// Keeps a buffer for [`take`].
pub(super) fn give_back(buffer: Vec<f32>) {
    if buffer.len() >= LEAST_LEN {
        kept().give_back(buffer);
    }
}

/// Frees all that is kept.
pub(super) fn release() {
    let _freed = std::mem::take(&mut kept().buffers);
}

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Oldest first, with the number of requests when it came.
struct Kept {
    buffers: VecDeque<(u64, Vec<f32>)>,
    requests: u64,
}

impl Kept {
    /// A buffer of this length if there is one, and those whose time is over.
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
        let mut kept = Kept { buffers: VecDeque::new(), requests: 0 };
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

    // Lengths of no other test: those of the process take and give back too.
    #[test]
    fn small_buffers_and_released_ones_are_not_kept() {
        give_back(vec![7.0; 3]);
        assert_eq!(take(3), [0.0; 3]);
        let len = LEAST_LEN + 12_345;
        give_back(vec![7.0; len]);
        crate::release_memory();
        assert_eq!(take(len), vec![0.0; len]);
    }
}
