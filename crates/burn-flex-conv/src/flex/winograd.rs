//! 3x3 convolutions of stride 1 with 4/9 of the multiplications: Winograd's F(2x2, 3x3) (Lavin and Gray, CVPR
//! 2016).
//!
//! ```text
//! Y = A^T [ sum over channels of (G g G^T) * (B^T d B) ] A,   d: 4 x 4 of the input, Y: 2 x 2 of the output
//! d_g = G^T [ sum over tiles of (A d_Y A^T) * (B^T d B) ] G
//! ```
//!
//! `*` is element by element: for each of the 16 elements a product of matrices [tiles, channels] and
//! [channels, channels], or [channels, tiles] and [tiles, channels] for the weight gradient, by the loops of
//! `correlate.rs` and `accumulate.rs`. All coefficients are 0, 1 or 1/2: the error grows little.

use pulp::{Arch, Simd, WithSimd};

use super::accumulate::Accumulate;
use super::correlate::Correlate;
use super::geometry::Plan;
use super::lanes::Strip;
use super::tiling::{ELEMENTS, Tiling};
use super::transform::{transform_products, transform_source, transform_target_gradient};

/// Values of transformed input and output tiles that are worked on at a time: what a first-level cache holds.
const BLOCK_VALUES: usize = 8 * 1024;
/// Tiles worked on at a time for the weight gradient, at least: its sums are read and written once for each
/// such block.
const GRADIENT_BLOCK: usize = 64;

/// Memory of a thread: the transformed tiles of a block.
#[derive(Default)]
pub(super) struct TileScratch {
    source: Vec<f32>,
    target: Vec<f32>,
}

impl TileScratch {
    fn of(&mut self, source: usize, target: usize) -> [&mut [f32]; 2] {
        self.source.resize(self.source.len().max(source), 0.0);
        self.target.resize(self.target.len().max(target), 0.0);
        [&mut self.source[..source], &mut self.target[..target]]
    }
}

/// As [`Correlate`]: `weights` are those of [`transform_weights`](super::transform::transform_weights).
pub(super) struct CorrelateTiles<'a> {
    pub(super) tiling: &'a Tiling,
    pub(super) strips: &'a [Strip],
    pub(super) planes: &'a [f32],
    pub(super) weights: &'a [f32],
    pub(super) target: &'a mut [f32],
    pub(super) scratch: &'a mut TileScratch,
}

impl CorrelateTiles<'_> {
    pub(super) fn run(self, arch: Arch) {
        arch.dispatch(self);
    }
}

impl WithSimd for CorrelateTiles<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiling, strips, planes, weights, target, scratch } = self;
        let (sources, targets) = (tiling.channels_source, tiling.channels_target);
        let total = planes.len() / tiling.source.len() * tiling.per_image();
        let block = (BLOCK_VALUES / ELEMENTS / (sources + targets)).max(16).min(total);
        let mut origins = tiling.origins();
        let mut plan = Plan::rows_of(block, sources, targets);
        for first in (0..total).step_by(block) {
            let count = block.min(total - first);
            plan.truncate(count);
            let [source, products] = scratch.of(ELEMENTS * count * sources, ELEMENTS * count * targets);
            transform_source(simd, tiling, origins.clone(), planes, source);
            let elements =
                source.chunks_exact(count * sources).zip(products.chunks_exact_mut(count * targets));
            for ((source, products), weights) in elements.zip(weights.chunks_exact(weights.len() / ELEMENTS))
            {
                let source_image = source.len();
                let target_image = products.len();
                let product = Correlate {
                    source,
                    source_image,
                    plan: &plan,
                    strips,
                    weights,
                    target: products,
                    target_image,
                };
                product.with_simd(simd);
            }
            transform_products(simd, tiling, origins.clone(), products, target);
            origins.nth(count - 1);
        }
    }
}

/// As [`Accumulate`], for the channels of `strips`: adds to `gradient`, which
/// [`gradient_of_weights`](super::transform::gradient_of_weights) turns to one of the weights.
pub(super) struct AccumulateTiles<'a> {
    pub(super) tiling: &'a Tiling,
    pub(super) strips: &'a [Strip],
    pub(super) planes: &'a [f32],
    /// Gradients of the output, `[images, h, w, channels_target]`.
    pub(super) d_target: &'a [f32],
    pub(super) gradient: &'a mut [f32],
    pub(super) scratch: &'a mut TileScratch,
}

impl AccumulateTiles<'_> {
    pub(super) fn run(self, arch: Arch) {
        arch.dispatch(self);
    }
}

impl WithSimd for AccumulateTiles<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiling, strips, planes, d_target, gradient, scratch } = self;
        let (Some(&start), Some(last)) = (strips.first(), strips.last()) else { return };
        let channels = start.start..last.start + last.len;
        let (sources, targets) = (tiling.channels_source, channels.len());
        let strips: Vec<Strip> =
            strips.iter().map(|strip| Strip { start: strip.start - channels.start, ..*strip }).collect();
        let total = planes.len() / tiling.source.len() * tiling.per_image();
        let block = (BLOCK_VALUES / ELEMENTS / (sources + targets)).max(GRADIENT_BLOCK).min(total);
        let of_element = gradient.len() / ELEMENTS;
        let mut origins = tiling.origins();
        let mut plan = Plan::rows_of(block, sources, targets);
        for first in (0..total).step_by(block) {
            let count = block.min(total - first);
            plan.truncate(count);
            let [source, d_products] = scratch.of(ELEMENTS * count * sources, ELEMENTS * count * targets);
            transform_source(simd, tiling, origins.clone(), planes, source);
            transform_target_gradient(simd, tiling, origins.clone(), d_target, channels.clone(), d_products);
            let elements = source.chunks_exact(count * sources).zip(d_products.chunks_exact(count * targets));
            for ((source, d_target), gradient) in elements.zip(gradient.chunks_exact_mut(of_element)) {
                let accumulate = Accumulate {
                    source,
                    source_image: source.len(),
                    plan: &plan,
                    strips: &strips,
                    d_target,
                    d_target_image: d_target.len(),
                    gradient,
                };
                accumulate.with_simd(simd);
            }
            origins.nth(count - 1);
        }
    }
}

/// Length of transformed weights of some strips.
pub(super) fn transformed_len(strips: &[Strip], sources: usize, lanes: usize) -> usize {
    strips.iter().map(|strip| ELEMENTS * sources * strip.width(lanes)).sum()
}
