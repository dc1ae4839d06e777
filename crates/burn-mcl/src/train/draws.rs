//! What a run draws on the device: the masks of dropout layers, and whatever else a network of one's own
//! draws.
//!
//! The device keeps one generator, and checkpoints do not store the state of the generator. A seed before
//! every pass makes each pass draw the same in a resumed run as in a run that never stopped.

use burn::tensor::Device;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A pass through the network in training mode.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pass {
    /// The training step after this many steps.
    Step(usize),
    /// The batches that make the batch-norm statistics of averaged weights.
    Statistics,
}

/// Seeds the generator of `device` for a pass of the run with the seed `seed`.
pub(super) fn seed_device(device: &Device, seed: u64, pass: Pass) {
    device.seed(device_seed(seed, pass));
}

fn device_seed(seed: u64, pass: Pass) -> u64 {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    // The losses draw from streams that are counted down from the last one.
    generator.set_stream(match pass {
        Pass::Statistics => 0,
        Pass::Step(steps) => steps as u64 + 1,
    });
    generator.next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_and_pass_draws_its_own() {
        let mut seeds = Vec::new();
        for seed in 0..10 {
            seeds.push(device_seed(seed, Pass::Statistics));
            seeds.extend((0..100).map(|steps| device_seed(seed, Pass::Step(steps))));
        }
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 10 * 101);
        assert_eq!(device_seed(3, Pass::Step(7)), device_seed(3, Pass::Step(7)));
    }
}
