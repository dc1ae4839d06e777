//! Memory of activations, kept from one step for the next: fresh memory costs as much as a pass over it, or more, as the
//! operating system hands it out page by page and zeroed.
//!
//! A buffer that has not been asked for in a long time is freed, as is an old one for each that is asked for in vain: when
//! sizes change, what is kept does not pile up.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Smaller buffers are left to the allocator.
const LEAST_LEN: usize = 1 << 14;
/// Requests after which a buffer that serves none of them is freed: several steps of a large network.
const LIFETIME: u64 = 1000;

static KEPT: Mutex<Kept> = Mutex::new(Kept { buffers: VecDeque::new(), requests: 0 });

/// Oldest first, with the number of requests when it came.
struct Kept {
    buffers: VecDeque<(u64, Vec<f32>)>,
    requests: u64,
}

/// A buffer of this length with any values in it.
pub(super) fn take(len: usize) -> Vec<f32> {
    if len < LEAST_LEN {
        return vec![0.0; len];
    }
    let mut freed = Vec::new();
    let found = {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.requests += 1;
        let requests = kept.requests;
        // The one that was used last is the most likely to be in cache.
        let found = kept.buffers.iter().rposition(|(_, buffer)| buffer.len() == len);
        let found = found.and_then(|index| kept.buffers.remove(index));
        let mut to_free = if found.is_some() { 0 } else { len };
        while let Some((came, buffer)) = kept.buffers.front()
            && (to_free > 0 || requests - came > LIFETIME)
        {
            to_free = to_free.saturating_sub(buffer.len());
            freed.extend(kept.buffers.pop_front());
        }
        found
    };
    drop(freed);
    found.map_or_else(|| vec![0.0; len], |(_, buffer)| buffer)
}

/// Keeps a buffer for [`take`].
pub(super) fn give_back(buffer: Vec<f32>) {
    if buffer.len() >= LEAST_LEN {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = kept.requests;
        kept.buffers.push_back((requests, buffer));
    }
}

/// Frees all that is kept.
pub(super) fn release() {
    let freed = {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut kept.buffers)
    };
    drop(freed);
}

#[cfg(test)]
mod tests {
    use super::*;

    // Other tests of the process take and give back too: lengths here are no one else's.
    #[test]
    fn what_is_given_back_is_taken_again_until_it_is_old() {
        let len = LEAST_LEN + 12_345;
        give_back(vec![7.0; len]);
        assert_eq!(take(len), vec![7.0; len]);
        assert_eq!(take(len), vec![0.0; len]);
        let small = take(3);
        assert_eq!(small, [0.0; 3]);
        give_back(vec![7.0; len]);
        KEPT.lock().unwrap().requests += LIFETIME;
        drop(take(LEAST_LEN + 1));
        assert_eq!(take(len), vec![0.0; len]);
        // Here, for in a test of its own it would take from this one what was given back.
        give_back(vec![7.0; len]);
        crate::release_memory();
        assert_eq!(take(len), vec![0.0; len]);
    }
}
