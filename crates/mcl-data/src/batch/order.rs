//! The order in which an epoch goes through the images.

use std::sync::{Arc, Mutex, PoisonError};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The orders of all epochs; the latest one is kept. Clones share that one.
#[derive(Debug, Clone)]
pub(super) struct Order {
    len: usize,
    seed: u64,
    latest: Arc<Mutex<Option<Epoch>>>,
}

/// The order of one epoch.
#[derive(Debug)]
struct Epoch {
    number: usize,
    order: Arc<Vec<usize>>,
}

impl Order {
    pub(super) fn new(len: usize, seed: u64) -> Self {
        Self { len, seed, latest: Arc::default() }
    }

    /// A uniformly random permutation of `0..len`, a different one for each (seed, epoch).
    pub(super) fn of(&self, epoch: usize) -> Arc<Vec<usize>> {
        // The value is replaced as a whole: a thread that panicked left a good one.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*latest {
            Some(latest) if latest.number == epoch => latest.order.clone(),
            _ => {
                let order = Arc::new(shuffled(self.len, self.seed, epoch));
                *latest = Some(Epoch { number: epoch, order: order.clone() });
                order
            }
        }
    }
}

fn shuffled(len: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut key = *b"seed....epoch...order of images.";
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(epoch as u64).to_le_bytes());
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut ChaCha8Rng::from_seed(key));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_permutation() {
        let mut order = shuffled(1000, 7, 3);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn seed_and_epoch_change_it_and_nothing_else_does() {
        assert_eq!(shuffled(50, 7, 3), shuffled(50, 7, 3));
        assert_ne!(shuffled(50, 7, 3), shuffled(50, 7, 4));
        assert_ne!(shuffled(50, 7, 3), shuffled(50, 8, 3));
        assert_ne!(shuffled(50, 7, 3), shuffled(50, 3, 7));
    }

    #[test]
    fn the_batches_of_an_epoch_share_one_order() {
        let order = Order::new(100, 7);
        let first = order.of(3);
        assert_eq!(*first, shuffled(100, 7, 3));
        assert!(Arc::ptr_eq(&first, &order.clone().of(3)), "the order was made twice");
        assert_eq!(*order.of(4), shuffled(100, 7, 4));
        assert_eq!(*order.of(3), *first);
    }

    #[test]
    fn every_image_is_as_likely_in_every_place() {
        let mut counts = [[0; 4]; 4];
        for epoch in 0..4000 {
            for (place, image) in shuffled(4, 0, epoch).into_iter().enumerate() {
                counts[place][image] += 1;
            }
        }
        assert!(counts.iter().flatten().all(|count| (880..1120).contains(count)), "{counts:?}");
    }
}
