//! 3x3 convolutions of stride 1 with 4/9 of the multiplications: Winograd's F(2x2, 3x3) (Lavin and Gray, CVPR 2016).
//!
//! ```text
//! Y = A^T [ sum over channels of (G g G^T) * (B^T d B) ] A,   d: 4 x 4 of the input, Y: 2 x 2 of the output
//! d_g = G^T [ sum over tiles of (A d_Y A^T) * (B^T d B) ] G
//! ```
//!
//! `*` is element by element: for each of the 16 elements a product of matrices [tiles, channels] and [channels, channels],
//! or [channels, tiles] and [tiles, channels] for the weight gradient, by the loops of `kernel.rs`. All coefficients are 0,
//! 1 or 1/2: the error grows little.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::geometry::{Geometry, Padded, Plan};
use super::kernel::{Accumulate, Correlate, Strip, dispatch, lanes};

/// Elements of a transformed tile.
const ELEMENTS: usize = 16;
/// Values of transformed input and output tiles that are worked on at a time: what a second-level cache holds.
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
struct Places {
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

/// As [`Correlate`](super::kernel::Correlate): `weights` are those of [`transform_weights`].
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

/// As [`Accumulate`](super::kernel::Accumulate), for the channels of `strips`: adds to `gradient`, which
/// [`gradient_of_weights`] turns to one of the weights.
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
                    d_target_starts: &plan.target,
                    gradient,
                };
                accumulate.with_simd(simd);
            }
            places.nth(count - 1);
        }
    }
}

/// `G g G^T`: weights packed per strip as `[9, sources, width]` -> `[16]` times per strip `[sources, width]`.
pub(super) fn transform_weights(strips: &[Strip], sources: usize, packed: &[f32]) -> Vec<f32> {
    let mut transformed = vec![0.0; packed.len() / 9 * ELEMENTS];
    let of_element = packed.len() / 9;
    dispatch(Weights { strips, sources, packed, to: &mut transformed, of_element });
    transformed
}

/// `G^T u G`, the other way round.
pub(super) fn gradient_of_weights(strips: &[Strip], sources: usize, gradient: &[f32]) -> Vec<f32> {
    let of_element = gradient.len() / ELEMENTS;
    let mut packed = vec![0.0; of_element * 9];
    dispatch(WeightsGradient { strips, sources, gradient, to: &mut packed, of_element });
    packed
}

/// `B^T d` for one column (and, transposed, for one row).
#[inline(always)]
fn b<S: Simd>(simd: S, d: [S::f32s; 4]) -> [S::f32s; 4] {
    [
        simd.sub_f32s(d[0], d[2]),
        simd.add_f32s(d[1], d[2]),
        simd.sub_f32s(d[2], d[1]),
        simd.sub_f32s(d[1], d[3]),
    ]
}

/// `A^T m`
#[inline(always)]
fn a<S: Simd>(simd: S, m: [S::f32s; 4]) -> [S::f32s; 2] {
    [simd.add_f32s(simd.add_f32s(m[0], m[1]), m[2]), simd.sub_f32s(simd.sub_f32s(m[1], m[2]), m[3])]
}

/// `A y`
#[inline(always)]
fn a_transposed<S: Simd>(simd: S, y: [S::f32s; 2]) -> [S::f32s; 4] {
    [y[0], simd.add_f32s(y[0], y[1]), simd.sub_f32s(y[0], y[1]), simd.neg_f32s(y[1])]
}

/// `G g`
#[inline(always)]
fn g<S: Simd>(simd: S, g: [S::f32s; 3]) -> [S::f32s; 4] {
    let half = simd.splat_f32s(0.5);
    let outer = simd.add_f32s(g[0], g[2]);
    [
        g[0],
        simd.mul_f32s(half, simd.add_f32s(outer, g[1])),
        simd.mul_f32s(half, simd.sub_f32s(outer, g[1])),
        g[2],
    ]
}

/// `G^T u`
#[inline(always)]
fn g_transposed<S: Simd>(simd: S, u: [S::f32s; 4]) -> [S::f32s; 3] {
    let half = simd.splat_f32s(0.5);
    let sum = simd.mul_f32s(half, simd.add_f32s(u[1], u[2]));
    [simd.add_f32s(u[0], sum), simd.mul_f32s(half, simd.sub_f32s(u[1], u[2])), simd.add_f32s(sum, u[3])]
}

/// Applies `f` to the columns of a matrix, then to the rows of the result.
#[inline(always)]
fn both_ways<T: Copy, const N: usize, const M: usize>(
    x: [[T; N]; N],
    f: impl Fn([T; N]) -> [T; M],
) -> [[T; M]; M] {
    let columns: [[T; M]; N] = core::array::from_fn(|column| f(core::array::from_fn(|row| x[row][column])));
    core::array::from_fn(|row| f(core::array::from_fn(|column| columns[column][row])))
}

/// `B^T d B` of tiles: `[16, count, channels]`.
#[inline(always)]
fn transform_source<S: Simd>(simd: S, tiling: &Tiling, places: Places, planes: &[f32], to: &mut [f32]) {
    let (planes, _) = S::as_simd_f32s(planes);
    let (to, _) = S::as_mut_simd_f32s(to);
    let vectors = tiling.channels_source / S::F32_LANES;
    let (image_len, row_len) =
        (tiling.source.len() / S::F32_LANES, tiling.source.offset(1, 0) / S::F32_LANES);
    let of_element = to.len() / ELEMENTS;
    for (index, [image, y, x]) in (0..of_element).step_by(vectors).zip(places) {
        let start = image * image_len + y * row_len + x * vectors;
        for c in 0..vectors {
            let d = core::array::from_fn(|r| {
                core::array::from_fn(|s| planes[start + r * row_len + s * vectors + c])
            });
            let v: [[_; 4]; 4] = both_ways(d, |d| b(simd, d));
            for r in 0..4 {
                for s in 0..4 {
                    to[(r * 4 + s) * of_element + index + c] = v[r][s];
                }
            }
        }
    }
}

/// `A^T m A` of tiles, into the pixels of the target that there are.
#[inline(always)]
fn transform_products<S: Simd>(
    simd: S,
    tiling: &Tiling,
    places: Places,
    products: &[f32],
    target: &mut [f32],
) {
    let (products, _) = S::as_simd_f32s(products);
    let (target, _) = S::as_mut_simd_f32s(target);
    let vectors = tiling.channels_target / S::F32_LANES;
    let of_element = products.len() / ELEMENTS;
    let [height, width] = tiling.target;
    for (index, [image, y, x]) in (0..of_element).step_by(vectors).zip(places) {
        let start = ((image * height + y) * width + x) * vectors;
        let (two_rows, two_columns) = (y + 1 < height, x + 1 < width);
        for c in 0..vectors {
            let m = core::array::from_fn(|r| {
                core::array::from_fn(|s| products[(r * 4 + s) * of_element + index + c])
            });
            let values: [[_; 2]; 2] = both_ways(m, |m| a(simd, m));
            target[start + c] = values[0][0];
            if two_columns {
                target[start + vectors + c] = values[0][1];
            }
            if two_rows {
                target[start + width * vectors + c] = values[1][0];
                if two_columns {
                    target[start + (width + 1) * vectors + c] = values[1][1];
                }
            }
        }
    }
}

/// `A d_Y A^T` of tiles, for some of the channels.
#[inline(always)]
fn transform_target_gradient<S: Simd>(
    simd: S,
    tiling: &Tiling,
    places: Places,
    d_target: &[f32],
    channels: Range<usize>,
    to: &mut [f32],
) {
    let (d_target, _) = S::as_simd_f32s(d_target);
    let (to, _) = S::as_mut_simd_f32s(to);
    let all = tiling.channels_target / S::F32_LANES;
    let vectors = channels.len() / S::F32_LANES;
    let of_element = to.len() / ELEMENTS;
    let [height, width] = tiling.target;
    let zero = simd.splat_f32s(0.0);
    for (index, [image, y, x]) in (0..of_element).step_by(vectors).zip(places) {
        let start = ((image * height + y) * width + x) * all + channels.start / S::F32_LANES;
        let (two_rows, two_columns) = (y + 1 < height, x + 1 < width);
        for c in 0..vectors {
            let right = if two_columns { d_target[start + all + c] } else { zero };
            let below = if two_rows { d_target[start + width * all + c] } else { zero };
            let corner = if two_rows && two_columns { d_target[start + (width + 1) * all + c] } else { zero };
            let d = [[d_target[start + c], right], [below, corner]];
            let z: [[_; 4]; 4] = both_ways(d, |d| a_transposed(simd, d));
            for r in 0..4 {
                for s in 0..4 {
                    to[(r * 4 + s) * of_element + index + c] = z[r][s];
                }
            }
        }
    }
}

struct Weights<'a> {
    strips: &'a [Strip],
    sources: usize,
    packed: &'a [f32],
    to: &'a mut [f32],
    of_element: usize,
}

impl WithSimd for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (packed, _) = S::as_simd_f32s(self.packed);
        let (to, _) = S::as_mut_simd_f32s(self.to);
        let of_element = self.of_element / S::F32_LANES;
        let mut start = 0;
        for strip in self.strips {
            let of_tap = self.sources * strip.vectors;
            for i in 0..of_tap {
                let taps = core::array::from_fn(|r| {
                    core::array::from_fn(|s| packed[9 * start + (r * 3 + s) * of_tap + i])
                });
                let u: [[_; 4]; 4] = both_ways(taps, |taps| g(simd, taps));
                for r in 0..4 {
                    for s in 0..4 {
                        to[(r * 4 + s) * of_element + start + i] = u[r][s];
                    }
                }
            }
            start += of_tap;
        }
    }
}

struct WeightsGradient<'a> {
    strips: &'a [Strip],
    sources: usize,
    gradient: &'a [f32],
    to: &'a mut [f32],
    of_element: usize,
}

impl WithSimd for WeightsGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (gradient, _) = S::as_simd_f32s(self.gradient);
        let (to, _) = S::as_mut_simd_f32s(self.to);
        let of_element = self.of_element / S::F32_LANES;
        let mut start = 0;
        for strip in self.strips {
            let of_tap = self.sources * strip.vectors;
            for i in 0..of_tap {
                let u = core::array::from_fn(|r| {
                    core::array::from_fn(|s| gradient[(r * 4 + s) * of_element + start + i])
                });
                let taps: [[_; 3]; 3] = both_ways(u, |u| g_transposed(simd, u));
                for r in 0..3 {
                    for s in 0..3 {
                        to[9 * start + (r * 3 + s) * of_tap + i] = taps[r][s];
                    }
                }
            }
            start += of_tap;
        }
    }
}

/// Length of transformed weights of some strips.
pub(super) fn transformed_len(strips: &[Strip], sources: usize) -> usize {
    strips.iter().map(|strip| ELEMENTS * sources * strip.vectors * lanes()).sum()
}
