//! The layers on Burn's tensors and modules.

use burn::backend::{Dispatch, DispatchTensor};
use burn::module::RunningState;
use burn::nn::BatchNorm;
use burn::tensor::{DType, Device, Tensor};

use super::activation::Activation;
use super::context::Context;
use super::extension::{ChannelsLast, Shortcut};
use super::normalized::{ConvParams, Epilogue};
use super::packed;
use super::pool::Pool;

/// Whether the functions of this module take this tensor: f32 on flex, with or without autodiff.
pub(crate) fn supports(tensor: &Tensor<4>) -> bool {
    tensor.dtype() == DType::F32 && tensor.device() == Device::flex()
}

/// Frees the memory of activations that is kept for the next training step, and the packed weights.
pub(crate) fn release_memory() {
    Pool::of_training().release();
    packed::release();
}

/// `[n, h, w, channels_in]`, `[channels_out, channels_in, k, k]` -> `[n, oh, ow, channels_out]`
pub(crate) fn convolve(
    input: Tensor<4>,
    weight: Tensor<4>,
    params: ConvParams,
    context: &Context,
) -> Tensor<4> {
    let (input, weight) = (input.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::convolve(input, weight, params, context.clone()))
}

/// With the bias, or without one, and GELU.
pub(crate) fn convolve_gelu(
    input: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    params: ConvParams,
    context: &Context,
) -> Tensor<4> {
    let bias = bias.unwrap_or_else(|| Tensor::zeros([weight.dims()[0]], &input.device()));
    let (input, weight, bias) = (input.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::convolve_gelu(input, weight, bias, params, context.clone()))
}

/// Maximum over 2 x 2 pixels: `[n, h, w, channels] -> [n, h / 2, w / 2, channels]`. The images have at least
/// 2 x 2 pixels.
pub(crate) fn pool(input: Tensor<4>, context: &Context) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::pool(input.into_dispatch(), context.clone()))
}

/// Maximum over the positions: `[n, h, w, channels] -> [n, channels]`
pub(crate) fn maximum(input: Tensor<4>, context: &Context) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::maximum(input.into_dispatch(), context.clone()))
}

/// A convolution and what follows it: pooling if asked for, batch norm, activation.
///
/// The batch norm does what its own forward does: on an autodiff device, unless it is frozen, it takes the
/// statistics of the batch and moves the running ones.
pub(crate) struct Layer<'a> {
    /// `[channels_out, channels_in, k, k]`
    pub(crate) weight: Tensor<4>,
    /// `[channels_out]`
    pub(crate) bias: Option<Tensor<1>>,
    pub(crate) params: ConvParams,
    pub(crate) norm: &'a BatchNorm,
    pub(crate) activation: Activation,
    /// Whether the maximum over 2 x 2 pixels is taken before the batch norm. The output of the convolution
    /// must be at least 2 x 2, and there must be no shortcut.
    pub(crate) pooled: bool,
}

impl Layer<'_> {
    /// The shortcut is added before the activation, which is then not GELU.
    ///
    /// `[n, h, w, channels_in]` -> `[n, oh, ow, channels_out]`
    pub(crate) fn forward(
        self,
        input: Tensor<4>,
        shortcut: Option<Tensor<4>>,
        context: &Context,
    ) -> Tensor<4> {
        let Self { weight, bias, params, norm, activation, pooled } = self;
        let (device, context) = (input.device(), context.clone());
        let epilogue = Epilogue { pooled, epsilon: norm.epsilon, activation };
        let shortcut = shortcut.map_or(Shortcut::Nothing, |shortcut| Shortcut::Add(shortcut.into_dispatch()));
        let (input, weight) = (input.into_dispatch(), weight.into_dispatch());
        let (gamma, mut beta) = (norm.gamma.val().into_dispatch(), norm.beta.val());
        if device.is_autodiff() && norm.training.is_enabled() {
            // The mean of the batch takes the bias away again. The bias gets the gradient that it has: zero.
            if let Some(bias) = &bias {
                beta = beta + bias.clone() * 0.0;
            }
            let beta = beta.into_dispatch();
            let (output, mean, variance) =
                Dispatch::convolve_normalize(input, weight, gamma, beta, shortcut, params, epilogue, context);
            let move_towards = |running: &RunningState<Tensor<1>>, batch: Tensor<1>| {
                let old = running.value_sync().to_device(&device).mul_scalar(1.0 - norm.momentum);
                running.update((old + batch.mul_scalar(norm.momentum)).detach());
            };
            let tensor = |values: DispatchTensor| Tensor::<1>::from_dispatch(values);
            let mean = tensor(mean);
            let mean = match bias {
                Some(bias) => mean + bias,
                None => mean,
            };
            move_towards(&norm.running_mean, mean);
            move_towards(&norm.running_var, tensor(variance));
            Tensor::from_dispatch(output)
        } else {
            let running = |state: &RunningState<Tensor<1>>| state.value().to_device(&device);
            let (mut mean, variance) = (running(&norm.running_mean), running(&norm.running_var));
            if let Some(bias) = bias {
                mean = mean - bias;
            }
            let (beta, mean, variance) =
                (beta.into_dispatch(), mean.into_dispatch(), variance.into_dispatch());
            Tensor::from_dispatch(Dispatch::convolve_affine(
                input, weight, gamma, beta, mean, variance, shortcut, params, epilogue, context,
            ))
        }
    }
}
