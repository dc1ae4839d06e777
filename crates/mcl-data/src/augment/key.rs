//! What a view's randomness depends on, and on nothing else.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Names one view of one image in one epoch. Equal keys give equal random numbers, whatever the thread, the order of work or
/// the number of views made before; keys that differ anywhere give independent ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ViewKey {
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, from zero.
    pub epoch: u64,
    /// Index of the image in its set.
    pub image: u64,
    /// Quarter turns counterclockwise.
    pub rotation: u32,
    /// 0 or 1.
    pub view: u32,
}

impl ViewKey {
    /// The view's random numbers.
    ///
    /// The key *is* the 256-bit key of the cipher: nothing is hashed away, so no two views can collide.
    #[must_use]
    pub fn rng(&self) -> ChaCha8Rng {
        let last = u64::from(self.rotation) << 32 | u64::from(self.view);
        let mut seed = [0; 32];
        for (bytes, word) in seed.chunks_exact_mut(8).zip([self.seed, self.epoch, self.image, last]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        ChaCha8Rng::from_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn each_part_of_the_key_counts() {
        let key = ViewKey { seed: 1, epoch: 2, image: 3, rotation: 0, view: 0 };
        let others = [
            ViewKey { seed: 2, ..key },
            ViewKey { epoch: 3, ..key },
            ViewKey { image: 2, ..key },
            ViewKey { rotation: 1, ..key },
            ViewKey { view: 1, ..key },
            ViewKey { seed: 2, epoch: 1, ..key },
        ];
        let mut seen: Vec<u64> = others.iter().map(|other| other.rng().next_u64()).collect();
        seen.push(key.rng().next_u64());
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), others.len() + 1);
    }

    /// Runs can be repeated with a later version only if this stays.
    #[test]
    fn random_numbers_are_the_same_in_every_version() {
        let key = ViewKey { seed: 1, epoch: 2, image: 3, rotation: 1, view: 1 };
        assert_eq!(key.rng().next_u64(), 13_209_591_993_525_922_389);
    }
}
