//! Convolution with pooling, batch norm, shortcut and activation for Burn's CPU backend, flex, several times
//! faster than its generic layers.
//!
//! Activations are channels last, `[n, h, w, channels]`: a vector register then holds neighbouring channels
//! of one pixel. Convolutions of any kernel, stride and padding, their gradients and the batch norm all run
//! at full width without moving values around first.
//!
//! | file | what |
//! |---|---|
//! | `geometry.rs` | which values are multiplied with which weights |
//! | `lanes.rs` | vectors of whatever width the machine has |
//! | `correlate.rs`, `accumulate.rs` | the loops that do all the multiplications: convolution and input gradient, weight gradient |
//! | `products.rs`, `bf16.rs`, `pairs.rs` | what these loops multiply: values in f32, or pairs of values in bf16 |
//! | `blocks.rs` | weight gradients in bf16, over blocks of channels |
//! | `amx.rs` | products of tiles in bf16, on CPUs with AMX |
//! | `pixel_tiles.rs`, `tile_gradient.rs` | the loops over these products: convolution and input gradient, weight gradient |
//! | `weights.rs` | weights in the order in which these loops read them |
//! | `packed.rs` | weights packed once for evaluation |
//! | `tiling.rs`, `transform.rs`, `winograd.rs` | 3x3 convolutions with fewer multiplications |
//! | `correlation.rs`, `weight_gradient.rs` | forward and gradients over a batch, on all threads |
//! | `statistics.rs`, `normalize.rs`, `normalize_gradient.rs` | batch norm, shortcut and activation |
//! | `activation.rs` | GELU on vectors |
//! | `max_pool.rs`, `maxima.rs` | maximum pooling, and the maximum over the positions |
//! | `pool.rs`, `context.rs` | memory of activations, kept for the next layer or step |
//! | `tensors.rs` | flex's tensors and the memory behind them |
//! | `normalized.rs` | the layer: convolution, pooling, batch norm, shortcut, activation |
//! | `extension.rs` | the layer as an operation of Burn's backend, with autodiff |
//! | `ops.rs` | the layer on Burn's tensors and modules |
//!
//! Results are the same bits whatever the number of threads.

mod accumulate;
mod activation;
mod amx;
mod bf16;
mod blocks;
mod context;
mod correlate;
mod correlation;
mod extension;
mod geometry;
mod lanes;
mod max_pool;
mod maxima;
mod normalize;
mod normalize_gradient;
mod normalized;
mod ops;
mod packed;
mod pairs;
mod pixel_tiles;
mod pool;
mod products;
mod rows;
mod statistics;
mod tensors;
#[cfg(test)]
mod tests;
mod tile_gradient;
mod tiling;
mod transform;
mod weight_gradient;
mod weights;
mod winograd;

pub(crate) use activation::Activation;
pub(crate) use context::Context;
pub(crate) use normalized::ConvParams;
pub(crate) use ops::{Layer, convolve, convolve_gelu, maximum, pool as max_pool, release_memory, supports};
