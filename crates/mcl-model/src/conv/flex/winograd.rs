//! 3x3 convolutions of stride 1 with 4/9 of the multiplications: Winograd's F(2x2, 3x3) (Lavin and Gray, CVPR 2016).
//!
//! ```text
//! Y = A^T [ sum over channels of (G g G^T) * (B^T d B) ] A,   d: 4 x 4 of the input, Y: 2 x 2 of the output
//! d_g = G^T [ sum over tiles of (A d_Y A^T) * (B^T d B) ] G
//! ```
//!
//! `*` is element by element: for each of the 16 elements a product of matrices [tiles, channels] and [channels, channels],
//! or [channels, tiles] and [tiles, channels] for the weight gradient, by the loops of `correlate.rs` and `accumulate.rs`. All coefficients are 0,
//! 1 or 1/2: the error grows little.

use pulp::{Simd, WithSimd};

use super::accumulate::Accumulate;
use super::correlate::Correlate;
use super::geometry::{Geometry, Padded, Plan};
use super::simd::{Strip, dispatch, lanes};
use super::transform::{transform_products, transform_source, transform_target_gradient};

/// Elements of a transformed tile.
pub(super) const ELEMENTS: usize = 16;
/// Values of transformed input and output tiles that are worked on at a time: what a first-level cache holds.
const BLOCK_VALUES: usize = 8 * 1024;
/// Tiles worked on at a time for the weight gradient, at least: its sums are read and written once for each such block.
const GRADIENT_BLOCK: usize = 64;
/// Channels must be a multiple of this: whole vectors on any machine.
const CHANNELS: usize = 16;
/// With fewer channels the transformations cost more than the multiplications saved.
const LEAST_CHANNELS: usize = 32;

/// Whether this convolution can be done this way.
pub(super) fn applies(g: &Geometry) -> bool {
    g.kernel == 3
        && g.stride == 1
        && g.padding <= 2
        && [g.channels_in, g.channels_out]
            .iter()
            .all(|&channels| channels >= LEAST_CHANNELS && channels.is_multiple_of(CHANNELS))
        && g.size_out.iter().all(|&size| size > 1)
}

/// 2 x 2 tiles of the target of a correlation with a padded source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    /// Padded source; its plane has two rows and columns more than the tiles.
    pub(super) source: Padded,
    pub(super) channels_source: usize,
    pub(super) channels_target: usize,
    pub(super) target: [usize; 2],
}

impl Tiling {
    pub(super) fn forward(g: &Geometry) -> Self {
        Self::new(g.size_in, g.channels_in, g.padding, g.size_out, g.channels_out)
    }

    pub(super) fn input_gradient(g: &Geometry) -> Self {
        Self::new(g.size_out, g.channels_out, 2 - g.padding, g.size_in, g.channels_in)
    }

    fn new(
        source: [usize; 2],
        channels_source: usize,
        before: usize,
        target: [usize; 2],
        channels_target: usize,
    ) -> Self {
        let after = [0, 1].map(|axis| 2 * target[axis].div_ceil(2) + 2 - before - source[axis]);
        let source = Padded::new(source, channels_source, before, after);
        Self { source, channels_source, channels_target, target }
    }

    fn tiles(&self) -> [usize; 2] {
        self.target.map(|size| size.div_ceil(2))
    }

    /// Tiles of an image.
    fn per_image(&self) -> usize {
        self.tiles().iter().product()
    }

    /// Where the tiles of a group of images are, in order.
    fn places(&self) -> Places {
        let [height, width] = self.tiles().map(|tiles| 2 * tiles);
        Places { height, width, image: 0, y: 0, x: 0 }
    }
}

/// Image, row and column of the first target pixel of each tile, image by image and row by row.
#[derive(Debug, Clone)]
pub(super) struct Places {
    height: usize,
    width: usize,
    image: usize,
    y: usize,
    x: usize,
}

impl Iterator for Places {
    type Item = [usize; 3];

    #[inline(always)]
    fn next(&mut self) -> Option<[usize; 3]> {
        let place = [self.image, self.y, self.x];
        self.x += 2;
        if self.x == self.width {
            (self.x, self.y) = (0, self.y + 2);
            if self.y == self.height {
                (self.y, self.image) = (0, self.image + 1);
            }
        }
        Some(place)
    }
}

/// What a thread needs besides: transformed tiles of a block.
#[derive(Default)]
pub(super) struct Scratch {
    source: Vec<f32>,
    target: Vec<f32>,
}

impl Scratch {
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
    pub(super) scratch: &'a mut Scratch,
}

impl CorrelateTiles<'_> {
    pub(super) fn run(self) {
        dispatch(self);
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
        let mut places = tiling.places();
        let mut plan = Plan::rows_of(block, sources, targets);
        for first in (0..total).step_by(block) {
            let count = block.min(total - first);
            plan.truncate(count);
            let [source, products] = scratch.of(ELEMENTS * count * sources, ELEMENTS * count * targets);
            transform_source(simd, tiling, places.clone(), planes, source);
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
            transform_products(simd, tiling, places.clone(), products, target);
            places.nth(count - 1);
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
    pub(super) scratch: &'a mut Scratch,
}

impl AccumulateTiles<'_> {
    pub(super) fn run(self) {
        dispatch(self);
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
        let mut places = tiling.places();
        let mut plan = Plan::rows_of(block, sources, targets);
        for first in (0..total).step_by(block) {
            let count = block.min(total - first);
            plan.truncate(count);
            let [source, d_products] = scratch.of(ELEMENTS * count * sources, ELEMENTS * count * targets);
            transform_source(simd, tiling, places.clone(), planes, source);
            transform_target_gradient(simd, tiling, places.clone(), d_target, channels.clone(), d_products);
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
            places.nth(count - 1);
        }
    }
}

/// Length of transformed weights of some strips.
pub(super) fn transformed_len(strips: &[Strip], sources: usize) -> usize {
    strips.iter().map(|strip| ELEMENTS * sources * strip.vectors * lanes()).sum()
}
