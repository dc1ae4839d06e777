//! Vectors of whatever width the machine has, and channels in strips of vectors.

use pulp::{Arch, Simd, WithSimd};

/// Vector registers across, in channels, of a tile.
pub(super) const ACROSS: usize = 2;

/// Returns how many values a vector of this instruction set holds.
pub(super) fn lanes(arch: Arch) -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _simd: S) -> usize {
            S::F32_LANES
        }
    }
    arch.dispatch(Lanes)
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

impl Strip {
    /// Values of a row of the strip's packed weights: whole vectors.
    pub(super) fn width(&self, lanes: usize) -> usize {
        self.vectors * lanes
    }
}
