//! The public layers against the same network of burn-nn's own layers: outputs, gradients, running
//! statistics.

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::activation::{gelu, relu};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use burn_flex_conv::{
    FeatureMap, conv, conv_gelu, conv_norm, conv_norm_add, conv_norm_add_relu, conv_norm_gelu,
    conv_norm_relu, conv_pool_norm_gelu,
};

/// Relative to the largest value.
const TOLERANCE: f64 = 3e-5;

/// Each function once; every second convolution has a bias.
#[derive(Module, Debug)]
struct Net {
    stem: Layer,
    pool: MaxPool2d,
    narrow: Layer,
    wide: Layer,
    shortcut: Layer,
    linear: Layer,
    grouped: Layer,
    last: Conv2d,
}

#[derive(Module, Debug)]
struct Layer {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Layer {
    fn new(config: &Conv2dConfig, seed: f32, device: &Device) -> Self {
        let mut layer = Self {
            conv: conv_of(config, seed, device),
            norm: BatchNormConfig::new(config.channels[1]).init(device),
        };
        let channels = [config.channels[1]];
        layer.norm.gamma = Param::from_tensor(values(channels, seed + 0.1, device) * 0.3 + 1.0);
        layer.norm.beta = Param::from_tensor(values(channels, seed + 0.2, device));
        layer.norm.running_mean.update(values(channels, seed + 0.3, device));
        layer.norm.running_var.update(values(channels, seed + 0.4, device).abs() + 0.5);
        layer
    }
}

fn conv_of(config: &Conv2dConfig, seed: f32, device: &Device) -> Conv2d {
    let mut conv = config.init(device);
    conv.weight = Param::from_tensor(values(conv.weight.dims(), seed, device) * 0.2);
    conv.bias = conv.bias.map(|bias| Param::from_tensor(values(bias.dims(), seed + 0.5, device)));
    conv
}

/// Different values everywhere, in [-1, 1], the same on each call.
fn values<const D: usize>(shape: [usize; D], seed: f32, device: &Device) -> Tensor<D> {
    let values: Vec<f32> =
        (0..shape.iter().product()).map(|i: usize| (i as f32 * 1.7 + seed * 31.0).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

impl Net {
    fn new(device: &Device) -> Self {
        let config = |channels, kernel: usize| {
            let pad = kernel / 2;
            Conv2dConfig::new(channels, [kernel; 2])
                .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        };
        let layer = |config: Conv2dConfig, seed| Layer::new(&config, seed, device);
        Self {
            stem: layer(config([3, 32], 5).with_stride([2, 2]), 1.0),
            pool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(),
            narrow: layer(config([32, 32], 3).with_bias(false), 2.0),
            wide: layer(config([32, 48], 3), 3.0),
            shortcut: layer(config([32, 48], 1).with_bias(false), 4.0),
            linear: layer(config([48, 48], 1), 5.0),
            grouped: layer(config([48, 48], 3).with_groups(3), 6.0),
            last: conv_of(&config([48, 5], 3), 7.0, device),
        }
    }

    fn fast(&self, images: Tensor<4>) -> Tensor<2> {
        let x =
            conv_norm_relu(FeatureMap::new(images), &self.stem.conv, &self.stem.norm).max_pool(&self.pool);
        let y = conv_norm(x.clone(), &self.narrow.conv, &self.narrow.norm).map(gelu);
        let shortcut = conv_norm(x, &self.shortcut.conv, &self.shortcut.norm);
        let x = conv_norm_add_relu(y, &self.wide.conv, &self.wide.norm, shortcut);
        let x = conv_norm_add(x.clone(), &self.linear.conv, &self.linear.norm, x);
        let x = conv_norm_add_relu(x.clone(), &self.grouped.conv, &self.grouped.norm, x);
        conv(x, &self.last).mean()
    }

    fn burns(&self, images: Tensor<4>) -> Tensor<2> {
        let run = |layer: &Layer, x| layer.norm.forward(layer.conv.forward(x));
        let x = self.pool.forward(relu(run(&self.stem, images)));
        let y = gelu(run(&self.narrow, x.clone()));
        let x = relu(run(&self.wide, y) + run(&self.shortcut, x));
        let x = run(&self.linear, x.clone()) + x;
        let x = relu(run(&self.grouped, x.clone()) + x);
        self.last.forward(x).flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2)
    }
}

/// The output, all gradients by the path of the parameter, and the running statistics after the step.
fn step(fast: bool, device: &Device) -> Vec<(String, TensorData)> {
    let net = Net::new(device);
    let images = values([5, 3, 25, 21], 0.0, device);
    let output = if fast { net.fast(images) } else { net.burns(images) };
    let grads = (output.clone() * values(output.dims(), 9.0, device)).sum().backward();
    let mut found = Found { grads, path: Vec::new(), values: vec![("output".into(), output.into_data())] };
    net.visit(&mut found);
    for layer in [&net.stem, &net.narrow, &net.wide, &net.shortcut, &net.linear, &net.grouped] {
        for state in [&layer.norm.running_mean, &layer.norm.running_var] {
            found.values.push(("running statistic".into(), state.value_sync().into_data()));
        }
    }
    found.values
}

struct Found {
    grads: Gradients,
    path: Vec<String>,
    values: Vec<(String, TensorData)>,
}

impl ModuleVisitor for Found {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = param.val().grad(&self.grads) {
            self.values.push((self.path.join("."), grad.into_data()));
        }
    }
}

#[track_caller]
fn assert_close(name: &str, found: &TensorData, expected: &TensorData) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    // Gradients that batch norm cancels are rounding in burn-nn's layers: 1e-4 is the scale of all others
    // here.
    let largest = expected.iter::<f64>().map(f64::abs).fold(0.1, f64::max);
    for (found, expected) in found.iter::<f64>().zip(expected.iter::<f64>()) {
        let error = (found - expected).abs();
        assert!(error <= TOLERANCE * largest, "{name}: {found}, expected {expected}, largest {largest}");
    }
}

#[test]
fn a_training_step_is_burns() {
    let device = Device::flex().autodiff();
    let (found, expected) = (step(true, &device), step(false, &device));
    assert_eq!(found.len(), expected.len());
    // The output; six layers of weight, gamma, beta and two statistics; four biases of them; the last weight
    // and bias.
    assert_eq!(found.len(), 1 + 6 * 5 + 4 + 2);
    for ((name, found), (same_name, expected)) in found.iter().zip(&expected) {
        assert_eq!(name, same_name);
        assert_close(name, found, expected);
    }
}

#[test]
fn evaluation_is_burns() {
    let device = Device::flex();
    let trained = Net::new(&device.clone().autodiff());
    for net in [Net::new(&device), trained.valid()] {
        let images = || values([5, 3, 25, 21], 0.0, &device);
        assert_close("output", &net.fast(images()).into_data(), &net.burns(images()).into_data());
    }
}

#[test]
fn other_precisions_run_burns_layers() {
    let device = Device::flex();
    let images = values([2, 3, 25, 21], 0.0, &device).cast(DType::F64);
    let cast = |conv: Conv2d| Conv2d {
        weight: Param::from_tensor(conv.weight.val().cast(DType::F64)),
        bias: None,
        ..conv
    };
    let layer = cast(Net::new(&device).stem.conv);
    let found = conv(FeatureMap::new(images.clone()), &layer).into_tensor();
    assert_eq!(found.dtype(), DType::F64);
    assert_eq!(found.into_data(), layer.forward(images).into_data());
}

#[test]
fn memory_is_released_without_a_trace() {
    let device = Device::flex().autodiff();
    let first = step(true, &device);
    burn_flex_conv::release_memory();
    assert_eq!(first, step(true, &device));
}

#[test]
fn threads_do_not_change_a_bit() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| step(true, &Device::flex().autodiff()))
    };
    assert_eq!(on(1), on(3));
}

/// A network for small images, with a frozen stem.
#[derive(Module, Debug)]
struct SmallNet {
    stem: Conv2d,
    first: Layer,
    second: Layer,
    halving: MaxPool2d,
    third: Layer,
    pool: MaxPool2d,
}

impl SmallNet {
    fn new(device: &Device) -> Self {
        let config = |channels: [usize; 2]| {
            Conv2dConfig::new(channels, [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .with_bias(false)
        };
        let layer = |channels, seed| {
            let layer = Layer::new(&config(channels), seed, device);
            let gamma = layer.norm.gamma.clone().set_require_grad(false);
            Layer { norm: BatchNorm { gamma, ..layer.norm }, ..layer }
        };
        let stem = conv_of(&Conv2dConfig::new([3, 24], [2, 2]), 1.0, device);
        Self {
            stem: Conv2d { weight: stem.weight.clone().set_require_grad(false), ..stem },
            first: layer([24, 32], 2.0),
            second: layer([32, 32], 3.0),
            halving: MaxPool2dConfig::new([2, 2]).init(),
            third: layer([32, 48], 4.0),
            pool: MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).init(),
        }
    }

    fn fast(&self, images: Tensor<4>) -> Tensor<2> {
        let x = conv_gelu(FeatureMap::new(images), &self.stem);
        let x = conv_pool_norm_gelu(x, &self.first.conv, &self.halving, &self.first.norm);
        let x = conv_norm_gelu(x, &self.second.conv, &self.second.norm).max_pool(&self.halving);
        conv_pool_norm_gelu(x, &self.third.conv, &self.pool, &self.third.norm).max()
    }

    fn burns(&self, images: Tensor<4>) -> Tensor<2> {
        let x = gelu(self.stem.forward(images));
        let x = gelu(self.first.norm.forward(self.halving.forward(self.first.conv.forward(x))));
        let x = self.halving.forward(gelu(self.second.norm.forward(self.second.conv.forward(x))));
        let x = gelu(self.third.norm.forward(self.pool.forward(self.third.conv.forward(x))));
        x.flatten::<3>(2, 3).max_dim(2).squeeze_dim(2)
    }
}

#[test]
fn a_network_for_small_images_is_burns() {
    let device = Device::flex().autodiff();
    let step = |fast: bool| {
        let net = SmallNet::new(&device);
        let images = values([5, 3, 32, 32], 0.0, &device);
        let output = if fast { net.fast(images) } else { net.burns(images) };
        let grads = (output.clone() * values(output.dims(), 9.0, &device)).sum().backward();
        let mut found =
            Found { grads, path: Vec::new(), values: vec![("output".into(), output.into_data())] };
        net.visit(&mut found);
        for layer in [&net.first, &net.second, &net.third] {
            for state in [&layer.norm.running_mean, &layer.norm.running_var] {
                found.values.push(("running statistic".into(), state.value_sync().into_data()));
            }
        }
        found.values
    };
    let (found, expected) = (step(true), step(false));
    // The output; the bias of the stem; three layers of weight, beta and two statistics.
    assert_eq!((found.len(), expected.len()), (2 + 3 * 4, 2 + 3 * 4));
    for ((name, found), (same_name, expected)) in found.iter().zip(&expected) {
        assert_eq!(name, same_name);
        assert_close(name, found, expected);
    }
    let plain = Device::flex();
    let net = SmallNet::new(&plain);
    let images = || values([5, 3, 32, 32], 0.0, &plain);
    assert_close("output", &net.fast(images()).into_data(), &net.burns(images()).into_data());
}
