//! The arithmetic of a network, counted from its settings. A multiplication and an addition are two operations, and batch
//! norms, activations and pooling are left out: they are about a hundredth.

use crate::architecture::{self, ConvShape};
use crate::fast_net::FastNetConfig;
use crate::resnet::ResNetConfig;
use crate::stem;

/// Height and width.
type Size = (usize, usize);

/// Operations of a linear layer.
pub(crate) fn linear(values_in: usize, values_out: usize) -> u128 {
    2u128.saturating_mul(values_in as u128).saturating_mul(values_out as u128)
}

/// Operations of a convolution that makes an image of `size`.
fn convolution([channels_in, channels_out]: [usize; 2], kernel: usize, size: Size) -> u128 {
    let values = (size.0 as u128).saturating_mul(size.1 as u128);
    linear(channels_in, channels_out).saturating_mul((kernel as u128).pow(2)).saturating_mul(values)
}

/// The size after a convolution, or a pooling, that pads.
fn strided(size: Size, stride: usize) -> Size {
    (size.0.div_ceil(stride), size.1.div_ceil(stride))
}

impl ConvShape {
    /// The size of what it makes, and its operations.
    fn flop(&self, size: Size) -> (Size, u128) {
        let size = strided(size, self.stride);
        (size, convolution(self.channels, self.kernel, size))
    }
}

/// Operations of a forward pass of a ResNet.
pub(crate) fn resnet(config: &ResNetConfig, image: Size) -> u128 {
    let stem = architecture::stem(config.stem, config.in_channels, config.width);
    let (mut size, mut total) = stem.flop(image);
    if config.stem.is_large() {
        size = strided(size, 2);
    }
    for block in architecture::layers(config.depth, config.width).iter().flatten() {
        let shortcut = block.downsample.map_or(0, |shape| shape.flop(size).1);
        total = total.saturating_add(shortcut);
        for shape in &block.residual {
            let flop;
            (size, flop) = shape.flop(size);
            total = total.saturating_add(flop);
        }
    }
    total
}

/// Operations of a forward pass of a network for small images.
pub(crate) fn fast_net(config: &FastNetConfig, (height, width): Size) -> u128 {
    let mut size = (height.saturating_sub(1), width.saturating_sub(1));
    let stem = [config.in_channels, stem::channels(config.in_channels)];
    let mut total = convolution(stem, 2, size);
    for [channels_in, channels_out] in config.groups() {
        let first = convolution([channels_in, channels_out], 3, size);
        size = (size.0 / 2, size.1 / 2);
        let inner = convolution([channels_out; 2], 3, size);
        let inner = inner.saturating_mul(if config.residual { 2 } else { 1 });
        total = total.saturating_add(first).saturating_add(inner);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::ResNetDepth;
    use crate::variant::Stem;
    use crate::{EncoderConfig, MclModelConfig};

    /// PyTorch's layers with hooks that count: torchvision's ResNets, and convolutions in the shape of airbench.
    #[test]
    fn operations_are_those_that_pytorchs_layers_do() {
        let resnet = ResNetConfig::new;
        let imagenet = |depth| EncoderConfig::from(resnet(depth).with_stem(Stem::ImageNet));
        let [r18, r34, r50] = [ResNetDepth::ResNet18, ResNetDepth::ResNet34, ResNetDepth::ResNet50];
        let fast = FastNetConfig::new();
        let airbench96 = fast.clone().with_widths([128, 384, 512]).with_residual(true);
        let cases: [(EncoderConfig, Size, u128); 12] = [
            (resnet(r18).into(), (32, 32), 1_110_835_200),
            (resnet(r18).into(), (33, 30), 1_200_305_408),
            (imagenet(r18), (224, 200), 3_355_942_912),
            (resnet(r34).into(), (32, 32), 2_318_794_752),
            (resnet(r34).into(), (33, 30), 2_515_318_016),
            (imagenet(r34), (224, 200), 6_774_562_816),
            (resnet(r50).into(), (32, 32), 2_595_618_816),
            (imagenet(r50), (224, 200), 7_554_441_216),
            (fast.clone().into(), (32, 32), 236_289_600),
            (fast.clone().into(), (33, 30), 255_043_584),
            (airbench96.clone().into(), (32, 32), 903_924_288),
            (airbench96.into(), (33, 30), 990_849_024),
        ];
        for (config, size, expected) in cases {
            assert_eq!(config.flop(size), expected, "{config} {size:?}");
        }
        let model = MclModelConfig::new(fast).with_hidden(512).with_projection_dim(128).with_classifier(40);
        let heads = 2 * (256 * 512 + 512 * 128 + 256 * 40);
        assert_eq!(model.flop((32, 32)), 236_289_600 + heads);
    }

    #[test]
    fn what_cannot_be_built_has_a_number_too() {
        let large = ResNetConfig::new(ResNetDepth::ResNet18).with_width(usize::MAX);
        assert_eq!(EncoderConfig::from(large).flop((usize::MAX, usize::MAX)), u128::MAX);
        assert_eq!(EncoderConfig::from(FastNetConfig::new()).flop((0, 0)), 0);
    }
}
