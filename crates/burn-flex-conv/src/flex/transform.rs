//! The transformations of Winograd's F(2x2, 3x3), on vectors of channels. The matrices, from Lavin and Gray:
//!
//! ```text
//!       | 1  0 -1  0 |        | 1    0    0  |
//! B^T = | 0  1  1  0 |    G = | 1/2  1/2 1/2 |    A^T = | 1  1  1  0 |
//!       | 0 -1  1  0 |        | 1/2 -1/2 1/2 |          | 0  1 -1 -1 |
//!       | 0  1  0 -1 |        | 0    0    1  |
//! ```

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::lanes::Strip;
use super::tiling::{ELEMENTS, TileOrigins, Tiling};

/// `G g G^T`: weights packed per strip as `[9, sources, width]` -> `[16]` times per strip `[sources, width]`.
pub(super) fn transform_weights(arch: Arch, strips: &[Strip], sources: usize, packed: &[f32]) -> Vec<f32> {
    let mut transformed = vec![0.0; packed.len() / 9 * ELEMENTS];
    let of_element = packed.len() / 9;
    arch.dispatch(Weights { strips, sources, packed, to: &mut transformed, of_element });
    transformed
}

/// `G^T u G`, the other way round.
pub(super) fn gradient_of_weights(
    arch: Arch,
    strips: &[Strip],
    sources: usize,
    gradient: &[f32],
) -> Vec<f32> {
    let of_element = gradient.len() / ELEMENTS;
    let mut packed = vec![0.0; of_element * 9];
    arch.dispatch(WeightsGradient { strips, sources, gradient, to: &mut packed, of_element });
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

/// Writes the values of one vector of a tile, `of_element` apart, from `at` on.
#[inline(always)]
fn store<V: Copy>(to: &mut [V], of_element: usize, at: usize, values: [[V; 4]; 4]) {
    for r in 0..4 {
        for s in 0..4 {
            to[(r * 4 + s) * of_element + at] = values[r][s];
        }
    }
}

/// `B^T d B` of tiles: `[16, count, channels]`.
#[inline(always)]
pub(super) fn transform_source<S: Simd>(
    simd: S,
    tiling: &Tiling,
    origins: TileOrigins,
    planes: &[f32],
    to: &mut [f32],
) {
    let (planes, _) = S::as_simd_f32s(planes);
    let (to, _) = S::as_mut_simd_f32s(to);
    let vectors = tiling.channels_source / S::F32_LANES;
    let (image_len, row_len) =
        (tiling.source.len() / S::F32_LANES, tiling.source.offset(1, 0) / S::F32_LANES);
    let of_element = to.len() / ELEMENTS;
    for (index, [image, y, x]) in (0..of_element).step_by(vectors).zip(origins) {
        let start = image * image_len + y * row_len + x * vectors;
        for c in 0..vectors {
            let d = core::array::from_fn(|r| {
                core::array::from_fn(|s| planes[start + r * row_len + s * vectors + c])
            });
            let v: [[_; 4]; 4] = both_ways(d, |d| b(simd, d));
            store(to, of_element, index + c, v);
        }
    }
}

/// `A^T m A` of tiles, into the pixels of the target that there are.
#[inline(always)]
pub(super) fn transform_products<S: Simd>(
    simd: S,
    tiling: &Tiling,
    origins: TileOrigins,
    products: &[f32],
    target: &mut [f32],
) {
    let (products, _) = S::as_simd_f32s(products);
    let (target, _) = S::as_mut_simd_f32s(target);
    let vectors = tiling.channels_target / S::F32_LANES;
    let of_element = products.len() / ELEMENTS;
    let [height, width] = tiling.target;
    for (index, [image, y, x]) in (0..of_element).step_by(vectors).zip(origins) {
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
pub(super) fn transform_target_gradient<S: Simd>(
    simd: S,
    tiling: &Tiling,
    origins: TileOrigins,
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
    for (index, [image, y, x]) in (0..of_element).step_by(vectors).zip(origins) {
        let start = ((image * height + y) * width + x) * all + channels.start / S::F32_LANES;
        let (two_rows, two_columns) = (y + 1 < height, x + 1 < width);
        for c in 0..vectors {
            let right = if two_columns { d_target[start + all + c] } else { zero };
            let below = if two_rows { d_target[start + width * all + c] } else { zero };
            let corner = if two_rows && two_columns { d_target[start + (width + 1) * all + c] } else { zero };
            let d = [[d_target[start + c], right], [below, corner]];
            let z: [[_; 4]; 4] = both_ways(d, |d| a_transposed(simd, d));
            store(to, of_element, index + c, z);
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
                store(to, of_element, start + i, u);
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
