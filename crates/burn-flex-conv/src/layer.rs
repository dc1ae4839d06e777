//! The layers, on burn-nn's own modules.

use burn::module::Param;
use burn::nn::conv::Conv2d;
use burn::nn::pool::MaxPool2d;
use burn::nn::{BatchNorm, PaddingConfig2d};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use crate::feature_map::{FeatureMap, Layout, is_halving};
use crate::flex::{Activation, ConvParams, Layer, convolve, convolve_gelu, supports};
use crate::gelu::gelu;

/// `conv(x)`
///
/// # Shapes
///
/// - `x`: `[n, channels_in, h, w]`
/// - output: `[n, channels_out, h', w']`, as of [`Conv2d::forward`]
///
/// # Panics
///
/// As [`Conv2d::forward`]: when the channels differ, or the padded image is smaller than the kernel.
pub fn conv(x: FeatureMap, conv: &Conv2d) -> FeatureMap {
    match (x.0, params(conv)) {
        (Layout::ChannelsLast(x, context), Some(params)) => {
            let mut y = convolve(x, conv.weight.val(), params, &context);
            if let Some(bias) = &conv.bias {
                y = y + bias.val().reshape([1, 1, 1, -1]);
            }
            FeatureMap(Layout::ChannelsLast(y, context))
        }
        (x, _) => on_burns_layers(FeatureMap(x), |x| conv.forward(x)),
    }
}

/// `norm(conv(x))`
///
/// The batch norm behaves as [`BatchNorm::forward`]: on an autodiff device, unless the batch norm is frozen,
/// it takes the statistics of the batch and moves the running statistics.
///
/// Shapes and panics are those of [`conv()`].
pub fn conv_norm(x: FeatureMap, conv: &Conv2d, norm: &BatchNorm) -> FeatureMap {
    run(x, conv, norm, None, Activation::Identity)
}

/// `relu(norm(conv(x)))`; see [`conv_norm`].
pub fn conv_norm_relu(x: FeatureMap, conv: &Conv2d, norm: &BatchNorm) -> FeatureMap {
    run(x, conv, norm, None, Activation::Relu)
}

/// `norm(conv(x)) + shortcut`; see [`conv_norm`]. The shortcut has the shape of the output.
pub fn conv_norm_add(x: FeatureMap, conv: &Conv2d, norm: &BatchNorm, shortcut: FeatureMap) -> FeatureMap {
    run(x, conv, norm, Some(shortcut), Activation::Identity)
}

/// `relu(norm(conv(x)) + shortcut)`; see [`conv_norm`]. The shortcut has the shape of the output.
pub fn conv_norm_add_relu(
    x: FeatureMap,
    conv: &Conv2d,
    norm: &BatchNorm,
    shortcut: FeatureMap,
) -> FeatureMap {
    run(x, conv, norm, Some(shortcut), Activation::Relu)
}

/// `gelu(conv(x))`, with the exact GELU; see [`conv()`].
pub fn conv_gelu(x: FeatureMap, conv: &Conv2d) -> FeatureMap {
    match (x.0, params(conv)) {
        (Layout::ChannelsLast(x, context), Some(params)) => {
            let (weight, bias) = (conv.weight.val(), conv.bias.as_ref().map(Param::val));
            let y = convolve_gelu(x, weight, bias, params, &context);
            FeatureMap(Layout::ChannelsLast(y, context))
        }
        (x, _) => on_burns_layers(FeatureMap(x), |x| gelu(conv.forward(x))),
    }
}

/// `gelu(norm(conv(x)))`, with the exact GELU; see [`conv_norm`].
pub fn conv_norm_gelu(x: FeatureMap, conv: &Conv2d, norm: &BatchNorm) -> FeatureMap {
    run(x, conv, norm, None, Activation::Gelu)
}

/// `gelu(norm(pool(conv(x))))`, with the exact GELU; see [`conv_norm`].
///
/// A maximum over 2 x 2 pixels with stride 2 and no padding is taken while the output of the convolution is in
/// cache. Any other pooling is Burn's own.
pub fn conv_pool_norm_gelu(x: FeatureMap, conv: &Conv2d, pool: &MaxPool2d, norm: &BatchNorm) -> FeatureMap {
    if let (Layout::ChannelsLast(x, context), Some(params)) = (&x.0, params(conv)) {
        let [_, height, width, _] = x.dims();
        let out =
            |size: usize| (size + 2 * params.padding).saturating_sub(conv.kernel_size[0]) / params.stride + 1;
        if is_halving(pool, [out(height), out(width)]) {
            let layer = Layer { activation: Activation::Gelu, pooled: true, ..layer(conv, norm, params) };
            let y = layer.forward(x.clone(), None, context);
            return FeatureMap(Layout::ChannelsLast(y, context.clone()));
        }
    }
    let pooled = self::conv(x, conv).max_pool(pool);
    on_burns_layers(pooled, |x| norm.forward(x)).map(gelu)
}

fn run(
    x: FeatureMap,
    conv: &Conv2d,
    norm: &BatchNorm,
    shortcut: Option<FeatureMap>,
    activation: Activation,
) -> FeatureMap {
    match (x.0, params(conv)) {
        (Layout::ChannelsLast(x, context), Some(params)) => {
            let layer = Layer { activation, ..layer(conv, norm, params) };
            let shortcut = shortcut.map(FeatureMap::into_channels_last);
            let y = layer.forward(x, shortcut, &context);
            FeatureMap(Layout::ChannelsLast(y, context))
        }
        (x, _) => on_burns_layers(FeatureMap(x), |x| {
            let mut y = norm.forward(conv.forward(x));
            if let Some(shortcut) = shortcut {
                y = y + shortcut.into_tensor();
            }
            match activation {
                Activation::Identity => y,
                Activation::Relu => relu(y),
                Activation::Gelu => gelu(y),
            }
        }),
    }
}

/// Without pooling and activation.
fn layer<'a>(conv: &Conv2d, norm: &'a BatchNorm, params: ConvParams) -> Layer<'a> {
    let (weight, bias) = (conv.weight.val(), conv.bias.as_ref().map(Param::val));
    Layer { weight, bias, params, norm, activation: Activation::Identity, pooled: false }
}

/// `f` takes and returns `[n, channels, h, w]`.
fn on_burns_layers(x: FeatureMap, f: impl FnOnce(Tensor<4>) -> Tensor<4>) -> FeatureMap {
    match x.0 {
        Layout::ChannelsFirst(x) => FeatureMap(Layout::ChannelsFirst(f(x))),
        Layout::ChannelsLast(x, context) => FeatureMap::channels_last(f(x.permute([0, 3, 1, 2])), context),
    }
}

/// Returns the parameters of a convolution that the loops of this crate can do; `None` for any other.
fn params(conv: &Conv2d) -> Option<ConvParams> {
    let [kernel, kernel_width] = conv.kernel_size;
    let [stride, stride_across] = conv.stride;
    let padding = match conv.padding {
        PaddingConfig2d::Valid => 0,
        PaddingConfig2d::Same if stride == 1 && kernel % 2 == 1 => kernel / 2,
        PaddingConfig2d::Explicit(top, left, bottom, right) if [left, bottom, right] == [top; 3] => top,
        _ => return None,
    };
    let supported = kernel == kernel_width
        && stride == stride_across
        && conv.groups == 1
        && conv.dilation == [1, 1]
        && supports(&conv.weight.val());
    supported.then_some(ConvParams { stride, padding })
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::conv::Conv2dConfig;
    use burn::tensor::Device;

    #[test]
    fn only_the_convolutions_of_the_loops_are_done_by_them() {
        let config = || Conv2dConfig::new([4, 8], [3, 3]);
        let found = |config: Conv2dConfig| {
            params(&config.init(&Device::flex())).map(|params| (params.stride, params.padding))
        };
        let explicit = PaddingConfig2d::Explicit;
        assert_eq!(found(config()), Some((1, 0)));
        assert_eq!(found(config().with_stride([2, 2]).with_padding(explicit(1, 1, 1, 1))), Some((2, 1)));
        assert_eq!(found(config().with_padding(PaddingConfig2d::Same)), Some((1, 1)));
        assert_eq!(found(config().with_stride([2, 2]).with_padding(PaddingConfig2d::Same)), None);
        assert_eq!(found(config().with_padding(explicit(1, 1, 1, 0))), None);
        assert_eq!(found(config().with_stride([1, 2])), None);
        assert_eq!(found(config().with_groups(2)), None);
        assert_eq!(found(config().with_dilation([2, 2])), None);
        assert_eq!(found(Conv2dConfig::new([4, 8], [3, 1])), None);
    }
}
