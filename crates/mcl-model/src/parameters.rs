//! Every weight of the network under the name that PyTorch gives it: torchvision's names for the encoder,
//! under `enc.` in a whole model, and `projector.0`, `projector.2` for the two linear layers.
//!
//! The list is written out rather than derived from the field names: it is a file format, and must not change
//! when a field is renamed.

use burn::module::{Param, RunningState};
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear};
use burn::tensor::{Tensor, TensorData};

use crate::block::{Block, Downsample};
use crate::head::ProjectionHead;
use crate::model::MclModel;
use crate::resnet::ResNet;

/// One weight of the network, to be read or replaced.
pub(crate) enum Weight<'a> {
    /// `[out, in, k, k]`, in PyTorch as here.
    Conv(&'a mut Param<Tensor<4>>),
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
            Self::Conv(weight) => weight.lazy_shape().to_vec(),
            Self::Linear(weight) => weight.lazy_shape().iter().rev().copied().collect(),
            Self::LinearBias { bias: vector, .. } | Self::Norm(vector) => vector.lazy_shape().to_vec(),
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
    list
}

/// The weights of an encoder; names begin with `prefix`.
pub(crate) fn encoder_weights<'a>(prefix: &str, encoder: &'a mut ResNet) -> Vec<Named<'a>> {
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

/// Gives a parameter new values; its identity, device and whether it is trained stay.
pub(crate) fn replace<const D: usize>(param: &mut Param<Tensor<D>>, values: TensorData) {
    let tensor = Tensor::from_data(values, &param.lazy_device());
    *param = param.clone().transform_for_load(tensor, param.id);
}

struct List<'a>(Vec<Named<'a>>);

impl<'a> List<'a> {
    fn push(&mut self, module: &str, name: &str, weight: Weight<'a>) {
        self.0.push(Named { name: format!("{module}.{name}"), weight });
    }

    fn conv(&mut self, name: &str, conv: &'a mut Conv2d) {
        self.push(name, "weight", Weight::Conv(&mut conv.weight));
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
