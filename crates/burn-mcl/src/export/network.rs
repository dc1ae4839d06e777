//! The network as nodes: encoder, projection head and classifier. Their constants have PyTorch's names.
//!
//! Which blocks a ResNet or a FastNet has follows from the names of its weights.

use std::collections::BTreeMap;

use mcl_model::{EncoderConfig, MclModel, PytorchWeight, Stem};

use super::error::ExportError;
use super::graph::{Graph, Value, float, int, ints};

/// What Burn's and PyTorch's batch norms add to a variance.
const EPSILON: f32 = 1e-5;

/// The weights of a network by name.
pub(super) struct Weights(BTreeMap<String, PytorchWeight>);

impl Weights {
    pub(super) fn of(model: &MclModel) -> Self {
        Self(model.pytorch_weights().into_iter().map(|weight| (weight.name.clone(), weight)).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn get(&self, name: &str) -> Result<&PytorchWeight, ExportError> {
        self.0.get(name).ok_or_else(|| ExportError::MissingWeight { name: name.into() })
    }

    /// Places a weight in the graph.
    fn place(&self, graph: &mut Graph, name: &str) -> Result<Value, ExportError> {
        let PytorchWeight { shape, values, .. } = self.get(name)?;
        Ok(graph.f32s(name, shape, values))
    }
}

/// `[n, 3, h, w] -> [n, feature_dim]`
pub(super) fn encoder(
    graph: &mut Graph,
    weights: &Weights,
    config: &EncoderConfig,
    images: &Value,
) -> Result<Value, ExportError> {
    let (map, pool) = match config {
        EncoderConfig::ResNet(config) => (resnet(graph, weights, config.stem, images)?, "GlobalAveragePool"),
        EncoderConfig::FastNet(_) => (fast_net(graph, weights, images)?, "GlobalMaxPool"),
        other => {
            return Err(ExportError::Unsupported { setting: "network", value: format!("{other:?}") });
        }
    };
    graph.scope("enc");
    let features = graph.node(pool, &[&map], vec![]);
    Ok(graph.node("Flatten", &[&features], vec![int("axis", 1)]))
}

/// `[n, feature_dim] -> [n, projection_dim]`
pub(super) fn projections(
    graph: &mut Graph,
    weights: &Weights,
    features: &Value,
) -> Result<Value, ExportError> {
    let hidden = linear(graph, weights, "projector.0", features)?;
    let hidden = graph.node("Relu", &[&hidden], vec![]);
    linear(graph, weights, "projector.2", &hidden)
}

/// `[n, feature_dim] -> [n, classes]`
pub(super) fn logits(graph: &mut Graph, weights: &Weights, features: &Value) -> Result<Value, ExportError> {
    linear(graph, weights, "classifier", features)
}

fn resnet(graph: &mut Graph, weights: &Weights, stem: Stem, images: &Value) -> Result<Value, ExportError> {
    let (stride, pooled) = match stem {
        Stem::Cifar => (1, false),
        Stem::ImageNet | Stem::Torchvision => (2, true),
        other => return Err(ExportError::Unsupported { setting: "stem", value: format!("{other:?}") }),
    };
    let images = if stem == Stem::Torchvision { &standardize(graph, images) } else { images };
    let x = conv_norm(graph, weights, ["enc.conv1", "enc.bn1"], images, stride)?;
    let mut x = graph.node("Relu", &[&x], vec![]);
    if pooled {
        x = max_pool(graph, &x, 3, 1);
    }
    for layer in 1..=4 {
        for block in 0.. {
            let name = format!("enc.layer{layer}.{block}");
            if !weights.has(&format!("{name}.conv1.weight")) {
                break;
            }
            let stride = if layer > 1 && block == 0 { 2 } else { 1 };
            x = residual_block(graph, weights, &name, &x, stride)?;
        }
    }
    Ok(x)
}

/// Images whose channels have mean 0 and deviation 1 over ImageNet.
fn standardize(graph: &mut Graph, images: &Value) -> Value {
    graph.scope("standardize");
    let mean = graph.f32s("image_mean", &[1, 3, 1, 1], &Stem::MEAN);
    let deviation = graph.f32s("image_deviation", &[1, 3, 1, 1], &Stem::STANDARD_DEVIATION);
    let centred = graph.node("Sub", &[images, &mean], vec![]);
    graph.node("Div", &[&centred, &deviation], vec![])
}

/// Two 3x3 convolutions, or a bottleneck of three, which has its stride on the second.
fn residual_block(
    graph: &mut Graph,
    weights: &Weights,
    name: &str,
    input: &Value,
    stride: i64,
) -> Result<Value, ExportError> {
    let of = |part: &str| format!("{name}.{part}");
    let strides = if weights.has(&of("conv3.weight")) { vec![1, stride, 1] } else { vec![stride, 1] };
    let mut x = input.clone();
    for (number, stride) in (1..).zip(strides) {
        if number > 1 {
            x = graph.node("Relu", &[&x], vec![]);
        }
        let (conv, norm) = (of(&format!("conv{number}")), of(&format!("bn{number}")));
        x = conv_norm(graph, weights, [&conv, &norm], &x, stride)?;
    }
    let mut shortcut = input.clone();
    if weights.has(&of("downsample.0.weight")) {
        let (conv, norm) = (of("downsample.0"), of("downsample.1"));
        shortcut = conv_norm(graph, weights, [&conv, &norm], input, stride)?;
    }
    graph.scope(name);
    let sum = graph.node("Add", &[&x, &shortcut], vec![]);
    Ok(graph.node("Relu", &[&sum], vec![]))
}

fn fast_net(graph: &mut Graph, weights: &Weights, images: &Value) -> Result<Value, ExportError> {
    let x = conv(graph, weights, "enc.stem", images, 1, 0)?;
    let mut x = gelu(graph, &x);
    for group in 0..3 {
        let of = |part: &str| format!("enc.groups.{group}.{part}");
        x = conv(graph, weights, &of("conv1"), &x, 1, 1)?;
        x = max_pool(graph, &x, 2, 0);
        x = norm(graph, weights, &of("norm1"), &x)?;
        x = gelu(graph, &x);
        let mut y = conv_norm(graph, weights, [&of("conv2"), &of("norm2")], &x, 1)?;
        if weights.has(&of("conv3.weight")) {
            y = gelu(graph, &y);
            y = conv_norm(graph, weights, [&of("conv3"), &of("norm3")], &y, 1)?;
            y = graph.node("Add", &[&y, &x], vec![]);
        }
        x = gelu(graph, &y);
    }
    Ok(x)
}

/// A convolution with padding that keeps the size at stride 1, and a batch norm.
fn conv_norm(
    graph: &mut Graph,
    weights: &Weights,
    [conv, norm]: [&str; 2],
    x: &Value,
    stride: i64,
) -> Result<Value, ExportError> {
    let padding = weights.get(&format!("{conv}.weight"))?.shape[2] as i64 / 2;
    let x = self::conv(graph, weights, conv, x, stride, padding)?;
    self::norm(graph, weights, norm, &x)
}

fn conv(
    graph: &mut Graph,
    weights: &Weights,
    name: &str,
    x: &Value,
    stride: i64,
    padding: i64,
) -> Result<Value, ExportError> {
    graph.scope(name);
    let (filters, bias) = (format!("{name}.weight"), format!("{name}.bias"));
    let kernel: Vec<i64> = weights.get(&filters)?.shape[2..].iter().map(|&n| n as i64).collect();
    let attributes =
        vec![ints("kernel_shape", &kernel), ints("pads", &[padding; 4]), ints("strides", &[stride; 2])];
    let filters = weights.place(graph, &filters)?;
    if weights.has(&bias) {
        let bias = weights.place(graph, &bias)?;
        return Ok(graph.node("Conv", &[x, &filters, &bias], attributes));
    }
    Ok(graph.node("Conv", &[x, &filters], attributes))
}

/// A batch norm with its running statistics.
fn norm(graph: &mut Graph, weights: &Weights, name: &str, x: &Value) -> Result<Value, ExportError> {
    graph.scope(name);
    let mut place = |part: &str| weights.place(graph, &format!("{name}.{part}"));
    let (scale, shift) = (place("weight")?, place("bias")?);
    let (mean, variance) = (place("running_mean")?, place("running_var")?);
    let inputs = [x, &scale, &shift, &mean, &variance];
    Ok(graph.node("BatchNormalization", &inputs, vec![float("epsilon", EPSILON)]))
}

/// The maximum over windows, with stride 2 and sizes rounded down.
fn max_pool(graph: &mut Graph, x: &Value, kernel: i64, padding: i64) -> Value {
    let attributes =
        vec![ints("kernel_shape", &[kernel; 2]), ints("pads", &[padding; 4]), ints("strides", &[2; 2])];
    graph.node("MaxPool", &[x], attributes)
}

/// `x (1 + erf(x / sqrt 2)) / 2`: operator set 17 has no GELU, and runtimes know these nodes for one.
fn gelu(graph: &mut Graph, x: &Value) -> Value {
    let root = graph.f32s("sqrt_2", &[], &[std::f32::consts::SQRT_2]);
    let (one, half) = (graph.f32s("one", &[], &[1.0]), graph.f32s("half", &[], &[0.5]));
    let scaled = graph.node("Div", &[x, &root], vec![]);
    let erf = graph.node("Erf", &[&scaled], vec![]);
    let sum = graph.node("Add", &[&erf, &one], vec![]);
    let product = graph.node("Mul", &[x, &sum], vec![]);
    graph.node("Mul", &[&product, &half], vec![])
}

fn linear(graph: &mut Graph, weights: &Weights, name: &str, x: &Value) -> Result<Value, ExportError> {
    graph.scope(name);
    let bias = format!("{name}.bias");
    let weight = weights.place(graph, &format!("{name}.weight"))?;
    let transposed = vec![int("transB", 1)];
    if weights.has(&bias) {
        let bias = weights.place(graph, &bias)?;
        return Ok(graph.node("Gemm", &[x, &weight, &bias], transposed));
    }
    Ok(graph.node("Gemm", &[x, &weight], transposed))
}
