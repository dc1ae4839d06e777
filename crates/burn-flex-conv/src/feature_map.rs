//! The activations between the layers, in the memory layout that the device's convolutions want.

use burn::nn::PaddingConfig2d;
use burn::nn::pool::MaxPool2d;
use burn::tensor::Tensor;

use crate::flex::{Context, max_pool, maximum, supports};

/// Activations of a batch: channels last in memory on the flex backend in f32, channels first elsewhere.
///
/// Make one of the images, pass it from layer to layer, and take the tensor out at the end. On a plain device
/// (not autodiff) the layers of one call use each other's memory; that memory is freed with the last
/// `FeatureMap` of the call.
#[derive(Debug, Clone)]
pub struct FeatureMap(pub(crate) Layout);

/// The precision of the operands of a convolution's products.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// Products of values in f32.
    #[default]
    F32,
    /// Activations, weights and gradients are rounded to bf16 (nearest, ties to even) where a convolution or
    /// its gradients multiply them. Products are summed in f32, and everything else is f32.
    ///
    /// Convolutions run in f32 on CPUs without AVX512-BF16. A convolution of an odd number of channels runs in
    /// f32, and so does the gradient of its input where the number of output channels is odd.
    Bf16,
}

/// The layout of activations in memory.
#[derive(Debug, Clone)]
pub(crate) enum Layout {
    /// `[n, channels, h, w]`, as Burn's own operations take it
    ChannelsFirst(Tensor<4>),
    /// `[n, h, w, channels]`, on flex
    ChannelsLast(Tensor<4>, Context),
}

impl FeatureMap {
    /// Wraps activations or images.
    ///
    /// # Shapes
    ///
    /// - `values`: `[n, channels, h, w]`
    pub fn new(values: Tensor<4>) -> Self {
        if !supports(&values) {
            return Self(Layout::ChannelsFirst(values));
        }
        let context = if values.device().is_autodiff() { Context::training() } else { Context::evaluation() };
        Self::channels_last(values, context)
    }

    /// Returns the same activations. Convolutions of them and of what is computed from them multiply in this
    /// precision, forward and backward.
    ///
    /// [`Precision::F32`] is the default.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        let Layout::ChannelsLast(x, context) = self.0 else { return self };
        let context = match precision {
            Precision::F32 => Context { bf16: None, ..context },
            Precision::Bf16 => context.with_bf16(),
        };
        Self(Layout::ChannelsLast(x, context))
    }

    /// From `[n, channels, h, w]`.
    pub(crate) fn channels_last(values: Tensor<4>, context: Context) -> Self {
        Self(Layout::ChannelsLast(values.permute([0, 2, 3, 1]), context))
    }

    /// Returns the activations as Burn's own layers take them.
    ///
    /// # Shapes
    ///
    /// - output: `[n, channels, h, w]`
    pub fn into_tensor(self) -> Tensor<4> {
        match self.0 {
            Layout::ChannelsFirst(x) => x,
            Layout::ChannelsLast(x, _) => x.permute([0, 3, 1, 2]),
        }
    }

    /// `[n, h, w, channels]`
    pub(crate) fn into_channels_last(self) -> Tensor<4> {
        match self.0 {
            Layout::ChannelsFirst(x) => x.permute([0, 2, 3, 1]),
            Layout::ChannelsLast(x, _) => x,
        }
    }

    /// Applies a function of single values, such as an activation. `f` sees the values in either layout and
    /// must keep the shape.
    #[must_use]
    pub fn map(self, f: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Self {
        Self(match self.0 {
            Layout::ChannelsFirst(x) => Layout::ChannelsFirst(f(x)),
            Layout::ChannelsLast(x, context) => Layout::ChannelsLast(f(x), context),
        })
    }

    /// Applies Burn's maximum pooling.
    #[must_use]
    pub fn max_pool(self, pool: &MaxPool2d) -> Self {
        match self.0 {
            Layout::ChannelsFirst(x) => Self(Layout::ChannelsFirst(pool.forward(x))),
            Layout::ChannelsLast(x, context) if is_halving(pool, [x.dims()[1], x.dims()[2]]) => {
                Self(Layout::ChannelsLast(max_pool(x, &context), context))
            }
            Layout::ChannelsLast(x, context) => {
                Self::channels_last(pool.forward(x.permute([0, 3, 1, 2])), context)
            }
        }
    }

    /// Returns the maximum over the positions.
    ///
    /// # Shapes
    ///
    /// - output: `[n, channels]`
    pub fn max(self) -> Tensor<2> {
        match self.0 {
            // [n, channels, h, w] -> [n, channels, h * w] -> [n, channels]
            Layout::ChannelsFirst(x) => x.flatten::<3>(2, 3).max_dim(2).squeeze_dim::<2>(2),
            Layout::ChannelsLast(x, context) => maximum(x, &context),
        }
    }

    /// Returns the mean over the positions.
    ///
    /// # Shapes
    ///
    /// - output: `[n, channels]`
    pub fn mean(self) -> Tensor<2> {
        match self.0 {
            // [n, channels, h, w] -> [n, channels, h * w] -> [n, channels]
            Layout::ChannelsFirst(x) => x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim::<2>(2),
            // [n, h, w, channels] -> [n, h * w, channels] -> [n, channels]
            Layout::ChannelsLast(x, _) => x.flatten::<3>(1, 2).mean_dim(1).squeeze_dim::<2>(1),
        }
    }
}

/// Whether a pooling of images of this size, `[h, w]`, is the one that the loops of this crate can do: the
/// maximum over 2 x 2 pixels with stride 2.
pub(crate) fn is_halving(pool: &MaxPool2d, size: [usize; 2]) -> bool {
    pool.kernel_size == [2, 2]
        && pool.stride == [2, 2]
        && matches!(pool.padding, PaddingConfig2d::Valid | PaddingConfig2d::Explicit(0, 0, 0, 0))
        && pool.dilation == [1, 1]
        && !pool.ceil_mode
        && size.iter().all(|&size| size >= 2)
}
