//! Vectors of whatever width the machine has: choice of the instruction set, and channels in strips of vectors.

use pulp::{Simd, WithSimd};

/// Vector registers across, in channels, of a tile.
pub(super) const ACROSS: usize = 2;

/// Runs `op` compiled for the widest vectors of this machine.
pub(super) fn dispatch<Op: WithSimd>(op: Op) -> Op::Output {
    arch().dispatch(op)
}

#[cfg(not(test))]
fn arch() -> pulp::Arch {
    pulp::Arch::new()
}

/// The best of this machine, or of what a test leaves its process.
#[cfg(test)]
fn arch() -> pulp::Arch {
    match std::env::var(NARROWER).as_deref() {
        #[cfg(target_arch = "x86_64")]
        Ok("avx2") => pulp::x86::V3::try_new().map_or(pulp::Arch::Scalar, pulp::Arch::V3),
        Ok(_) => pulp::Arch::Scalar,
        Err(_) => pulp::Arch::new(),
    }
}

/// Variable of the environment that limits the width of vectors in tests.
#[cfg(test)]
pub(super) const NARROWER: &str = "MCL_MODEL_TEST_VECTORS";

/// A vector holds this many values on this machine.
pub(super) fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _simd: S) -> usize {
            S::F32_LANES
        }
    }
    dispatch(Lanes)
}

/// Output channels in strips of one or two vectors, the order in which weights are packed.
pub(super) fn strips(channels: usize, lanes: usize) -> Vec<Strip> {
    let width = ACROSS * lanes;
    (0..channels)
        .step_by(width)
        .map(|start| {
            let len = width.min(channels - start);
            Strip { start, len, vectors: len.div_ceil(lanes) }
        })
        .collect()
}

/// Some neighbouring output channels, and how many vectors hold them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strip {
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) vectors: usize,
}
