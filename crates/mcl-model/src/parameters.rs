//! Every weight of the network under the name that PyTorch gives it: the encoder under `enc.` in a whole model,
//! `projector.0` and `projector.2` for the two linear layers of the head, and `classifier` where there is one.
//!
//! A ResNet has torchvision's names. A FastNet has these, each `conv` with `weight` and each `norm` with `weight`, `bias`,
//! `running_mean` and `running_var`:
//!
//! ```text
//! stem.weight  stem.bias
//! groups.0.conv1  groups.0.norm1  groups.0.conv2  groups.0.norm2  (groups.0.conv3  groups.0.norm3 with `residual`)
//! groups.1. ..    groups.2. ..
//! ```
//!
//! The list is written out rather than derived from the field names: it is a file format, and must not change
//! when a field is renamed.

use burn::module::{Param, RunningState};
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear};
use burn::tensor::Tensor;

use crate::block::{Block, Downsample};
use crate::encoder::Encoder;
use crate::fast_net::FastNet;
use crate::head::ProjectionHead;
use crate::model::MclModel;
use crate::resnet::ResNet;

/// How the filters of a new convolution are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterInit {
    /// From `N(0, 2 / fan_out)`: Kaiming, fan-out, for ReLU.
    Kaiming,
    /// The first pass one channel on each; the others are from `U(-1, 1) / sqrt(fan_in)`.
    Dirac,
    /// Not at all: they begin with values of their own.
    Given,
}

/// One weight of the network, to be read or replaced.
pub(crate) enum Weight<'a> {
    /// `[out, in, k, k]`, in PyTorch as here.
    Conv { filters: &'a mut Param<Tensor<4>>, init: FilterInit },
    /// Bias of a convolution. Begins with 0.
    ConvBias(&'a mut Param<Tensor<1>>),
    /// `[in, out]`; PyTorch stores the transpose, `[out, in]`.
    Linear(&'a mut Param<Tensor<2>>),
    /// Bias of a linear layer with `fan_in` inputs.
    LinearBias { bias: &'a mut Param<Tensor<1>>, fan_in: usize },
    /// Scale (gamma) or shift (beta) of a batch norm.
    Norm(&'a mut Param<Tensor<1>>),
    /// Running mean or variance of a batch norm.
    Running(&'a mut RunningState<Tensor<1>>),
}

impl Weight<'_> {
    /// The shape that PyTorch gives it. Initialises nothing.
    pub(crate) fn pytorch_shape(&self) -> Vec<usize> {
        match self {
            Self::Conv { filters, .. } => filters.lazy_shape().to_vec(),
            Self::Linear(weight) => weight.lazy_shape().iter().rev().copied().collect(),
            Self::ConvBias(vector) | Self::LinearBias { bias: vector, .. } | Self::Norm(vector) => {
                vector.lazy_shape().to_vec()
            }
            Self::Running(state) => state.value().dims().to_vec(),
        }
    }
}

/// A weight and its name.
pub(crate) struct Named<'a> {
    pub(crate) name: String,
    pub(crate) weight: Weight<'a>,
}

/// All weights of a model, in the order of PyTorch's `state_dict`.
pub(crate) fn named_weights(model: &mut MclModel) -> Vec<Named<'_>> {
    let mut list = encoder_weights("enc.", &mut model.encoder);
    list.extend(head_weights("projector.", &mut model.projector));
    if let Some(classifier) = &mut model.classifier {
        let mut own = List(Vec::new());
        own.linear("classifier", classifier);
        list.extend(own.0);
    }
    list
}

/// The weights of an encoder; names begin with `prefix`.
pub(crate) fn encoder_weights<'a>(prefix: &str, encoder: &'a mut Encoder) -> Vec<Named<'a>> {
    match encoder {
        Encoder::ResNet(encoder) => resnet_weights(prefix, encoder),
        Encoder::FastNet(encoder) => fast_net_weights(prefix, encoder),
    }
}

/// The weights of a network for small images; names begin with `prefix`.
pub(crate) fn fast_net_weights<'a>(prefix: &str, encoder: &'a mut FastNet) -> Vec<Named<'a>> {
    let mut list = List(Vec::new());
    let stem = format!("{prefix}stem");
    list.filters(&stem, &mut encoder.stem.weight, FilterInit::Given);
    if let Some(bias) = &mut encoder.stem.bias {
        list.push(&stem, "bias", Weight::ConvBias(bias));
    }
    for (index, group) in encoder.groups.iter_mut().enumerate() {
        let layers = [
            Some((&mut group.conv1, &mut group.norm1)),
            Some((&mut group.conv2, &mut group.norm2)),
            group.conv3.as_mut().zip(group.norm3.as_mut()),
        ];
        for (number, (conv, norm)) in (1..).zip(layers.into_iter().flatten()) {
            let name = format!("{prefix}groups.{index}");
            list.filters(&format!("{name}.conv{number}"), &mut conv.weight, FilterInit::Dirac);
            list.norm(&format!("{name}.norm{number}"), norm);
        }
    }
    list.0
}

/// The weights of a ResNet; names begin with `prefix`.
pub(crate) fn resnet_weights<'a>(prefix: &str, encoder: &'a mut ResNet) -> Vec<Named<'a>> {
    let mut list = List(Vec::new());
    list.conv(&format!("{prefix}conv1"), &mut encoder.conv1);
    list.norm(&format!("{prefix}bn1"), &mut encoder.bn1);
    let layers = [&mut encoder.layer1, &mut encoder.layer2, &mut encoder.layer3, &mut encoder.layer4];
    for (layer, blocks) in layers.into_iter().enumerate() {
        for (index, block) in blocks.iter_mut().enumerate() {
            list.block(&format!("{prefix}layer{}.{index}", layer + 1), block);
        }
    }
    list.0
}

/// The weights of a projection head; names begin with `prefix`. `1` is the ReLU.
pub(crate) fn head_weights<'a>(prefix: &str, head: &'a mut ProjectionHead) -> Vec<Named<'a>> {
    let mut list = List(Vec::new());
    list.linear(&format!("{prefix}0"), &mut head.linear1);
    list.linear(&format!("{prefix}2"), &mut head.linear2);
    list.0
}

struct List<'a>(Vec<Named<'a>>);

impl<'a> List<'a> {
    fn push(&mut self, module: &str, name: &str, weight: Weight<'a>) {
        self.0.push(Named { name: format!("{module}.{name}"), weight });
    }

    fn conv(&mut self, name: &str, conv: &'a mut Conv2d) {
        self.filters(name, &mut conv.weight, FilterInit::Kaiming);
    }

    fn filters(&mut self, name: &str, filters: &'a mut Param<Tensor<4>>, init: FilterInit) {
        self.push(name, "weight", Weight::Conv { filters, init });
    }

    fn norm(&mut self, name: &str, norm: &'a mut BatchNorm) {
        self.push(name, "weight", Weight::Norm(&mut norm.gamma));
        self.push(name, "bias", Weight::Norm(&mut norm.beta));
        self.push(name, "running_mean", Weight::Running(&mut norm.running_mean));
        self.push(name, "running_var", Weight::Running(&mut norm.running_var));
    }

    fn linear(&mut self, name: &str, linear: &'a mut Linear) {
        let [fan_in, _] = linear.weight.lazy_shape().dims();
        self.push(name, "weight", Weight::Linear(&mut linear.weight));
        if let Some(bias) = &mut linear.bias {
            self.push(name, "bias", Weight::LinearBias { bias, fan_in });
        }
    }

    fn block(&mut self, name: &str, block: &'a mut Block) {
        match block {
            Block::Basic(block) => {
                self.conv_norm(name, 1, &mut block.conv1, &mut block.bn1);
                self.conv_norm(name, 2, &mut block.conv2, &mut block.bn2);
                self.downsample(name, block.downsample.as_mut());
            }
            Block::Bottleneck(block) => {
                self.conv_norm(name, 1, &mut block.conv1, &mut block.bn1);
                self.conv_norm(name, 2, &mut block.conv2, &mut block.bn2);
                self.conv_norm(name, 3, &mut block.conv3, &mut block.bn3);
                self.downsample(name, block.downsample.as_mut());
            }
        }
    }

    fn conv_norm(&mut self, block: &str, index: usize, conv: &'a mut Conv2d, norm: &'a mut BatchNorm) {
        self.conv(&format!("{block}.conv{index}"), conv);
        self.norm(&format!("{block}.bn{index}"), norm);
    }

    fn downsample(&mut self, block: &str, downsample: Option<&'a mut Downsample>) {
        if let Some(downsample) = downsample {
            self.conv(&format!("{block}.downsample.0"), &mut downsample.conv);
            self.norm(&format!("{block}.downsample.1"), &mut downsample.bn);
        }
    }
}
