//! Convolution with batch norm, shortcut and ReLU for Burn's CPU backend, flex, several times faster than its generic ones.
//!
//! Activations are channels last, `[n, h, w, channels]`: a vector register then holds neighbouring channels of one pixel, and
//! convolutions of any kernel, stride and padding, their gradients and the batch norm all run at full width without moving
//! values around first.
//!
//! | file | what |
//! |---|---|
//! | `geometry.rs` | which values meet which weights |
//! | `simd.rs` | vectors of whatever width the machine has |
//! | `correlate.rs`, `accumulate.rs` | the loops that do all the multiplications: convolution and data gradient, weight gradient |
//! | `weights.rs` | weights in the order in which these loops read them |
//! | `winograd.rs`, `transform.rs` | 3x3 convolutions with fewer multiplications |
//! | `convolve.rs` | forward and gradients over a batch, on all threads |
//! | `statistics.rs`, `normalize.rs`, `normalize_gradient.rs` | batch norm, shortcut and ReLU |
//! | `buffers.rs` | memory of activations, kept for the next step |
//! | `layer.rs` | the layers of the network: convolution, batch norm, shortcut, ReLU |
//! | `extension.rs` | all of it as operations of Burn's backend, with autodiff |
//!
//! Results are the same bits whatever the number of threads.

mod accumulate;
mod buffers;
mod convolve;
mod correlate;
mod extension;
mod geometry;
mod layer;
mod normalize;
mod normalize_gradient;
mod simd;
mod statistics;
#[cfg(test)]
mod tests;
mod transform;
mod weights;
mod winograd;

use burn::backend::{Dispatch, DispatchTensor};
use burn::module::RunningState;
use burn::nn::BatchNorm;
use burn::tensor::{DType, Device, Tensor};

use extension::{ChannelsLast, Shortcut};
use layer::After;
pub(crate) use layer::Steps;

/// Whether the functions of this module may be called: f32 on flex, with or without autodiff.
pub(crate) fn supports(tensor: &Tensor<4>) -> bool {
    tensor.dtype() == DType::F32 && tensor.device() == Device::flex()
}

/// Frees the memory of activations that is kept for the next step.
pub(crate) fn release_memory() {
    buffers::release();
}

/// `[n, h, w, channels_in]`, `[channels_out, channels_in, k, k]` -> `[n, oh, ow, channels_out]`
#[cfg(test)]
pub(crate) fn convolve(input: Tensor<4>, weight: Tensor<4>, steps: Steps) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::convolve(input.into_dispatch(), weight.into_dispatch(), steps))
}

/// Convolution, batch norm, addition of the shortcut, ReLU if asked for. The batch norm does what its own forward does: it
/// takes the statistics of the batch, and moves the running ones, on an autodiff device unless it is frozen.
///
/// `[n, h, w, channels_in]`, `[channels_out, channels_in, k, k]` -> `[n, oh, ow, channels_out]`
pub(crate) fn layer(
    input: Tensor<4>,
    weight: Tensor<4>,
    batch_norm: &BatchNorm,
    shortcut: Option<Tensor<4>>,
    steps: Steps,
    relu: bool,
) -> Tensor<4> {
    let device = input.device();
    let after = After { epsilon: batch_norm.epsilon, relu };
    let shortcut = shortcut.map_or(Shortcut::Nothing, |shortcut| Shortcut::Add(shortcut.into_dispatch()));
    let (input, weight) = (input.into_dispatch(), weight.into_dispatch());
    let (gamma, beta) = (batch_norm.gamma.val().into_dispatch(), batch_norm.beta.val().into_dispatch());
    if device.is_autodiff() && batch_norm.training.is_enabled() {
        let (output, mean, variance) =
            Dispatch::convolve_normalize(input, weight, gamma, beta, shortcut, steps, after);
        let move_towards = |running: &RunningState<Tensor<1>>, batch: DispatchTensor| {
            let old = running.value_sync().to_device(&device).mul_scalar(1.0 - batch_norm.momentum);
            running.update((old + Tensor::from_dispatch(batch).mul_scalar(batch_norm.momentum)).detach());
        };
        move_towards(&batch_norm.running_mean, mean);
        move_towards(&batch_norm.running_var, variance);
        Tensor::from_dispatch(output)
    } else {
        let running = |state: &RunningState<Tensor<1>>| state.value().to_device(&device).into_dispatch();
        let (mean, variance) = (running(&batch_norm.running_mean), running(&batch_norm.running_var));
        Tensor::from_dispatch(Dispatch::convolve_affine(
            input, weight, gamma, beta, mean, variance, shortcut, steps, after,
        ))
    }
}
