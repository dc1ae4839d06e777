//! A layer on flex's tensors: convolution, maximum pooling, batch norm, shortcut and activation, forward and
//! backward.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::TensorMetadata;

use super::activation::Activation;
use super::context::Context;
use super::correlation::{self, pack, packing};
use super::geometry::Geometry;
use super::max_pool::{MaxPool, Unpooled};
use super::normalize::Affine;
use super::normalize_gradient::{NormalizedGradient, OutputGradient, mask_by_relu};
use super::packed::{self, Packed};
use super::pool::Pool;
use super::rows::{InMemory, Rows};
use super::statistics::{Moments, Statistics};
use super::tensors::{FlexTensor, dense, recycle, tensor, values, vector};
use super::weight_gradient::weight_gradient;

/// Stride and padding of a convolution, the same on both axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConvParams {
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

/// What follows a convolution besides the normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Epilogue {
    /// Whether the maximum over 2 x 2 pixels is taken before the normalisation. The output of the convolution
    /// must be at least 2 x 2, and there must be no shortcut.
    pub(crate) pooled: bool,
    /// Added to the variance.
    pub(crate) epsilon: f64,
    pub(crate) activation: Activation,
}

/// A convolution alone. It holds what the gradients need.
#[derive(Debug, Clone)]
pub(super) struct Convolution {
    context: Context,
    g: Geometry,
    /// `[n, h, w, channels_in]`
    input: FlexTensor,
    /// `[channels_out, channels_in, k, k]`
    weight: FlexTensor,
}

/// The values of a convolution's output, pooled or not.
struct Convolved<R> {
    values: Vec<f32>,
    shape: [usize; 4],
    /// Of the maxima, where there is a pooling.
    positions: Option<Vec<u8>>,
    /// What was computed of each group of images.
    finished: Vec<R>,
}

impl Convolution {
    pub(super) fn new(input: FlexTensor, weight: FlexTensor, params: ConvParams, context: Context) -> Self {
        let (input, weight) = (dense(input), dense(weight));
        let g = Geometry::new(input.shape().dims(), weight.shape().dims(), params.stride, params.padding);
        Self { context, g, input, weight }
    }

    pub(super) fn forward(&self) -> FlexTensor {
        let Convolved { values, shape, .. } = self.run(self.pack(), false, |_, _| ());
        tensor(values, shape)
    }

    fn pack(&self) -> Arc<Packed> {
        Arc::new(pack(&self.context, &self.g, values(&self.weight)))
    }

    /// `finish` sees each group of images while it is in cache (see [`correlation::forward`]).
    fn run<R: Send>(
        &self,
        packed: Arc<Packed>,
        pooled: bool,
        finish: impl Fn(Range<usize>, &mut [f32]) -> R + Sync,
    ) -> Convolved<R> {
        let Self { context, g, input, .. } = self;
        let [images, height, width, channels] = g.shape_out();
        if pooled {
            let (values, positions, finished) =
                correlation::forward_pooled(context, g, values(input), packed, finish);
            let shape = [images, height / 2, width / 2, channels];
            Convolved { values, shape, positions: Some(positions), finished }
        } else {
            let (values, finished) = correlation::forward(context, g, values(input), packed, finish);
            Convolved { values, shape: g.shape_out(), positions: None, finished }
        }
    }

    /// With pooling, batch norm by the given statistics, shortcut and activation.
    pub(super) fn forward_affine(
        self,
        statistics: [FlexTensor; 2],
        [gamma, beta]: [FlexTensor; 2],
        shortcut: Option<FlexTensor>,
        epilogue: Epilogue,
    ) -> FlexTensor {
        let [mean, variance] = statistics.map(|channels| values(&dense(channels)).to_vec());
        let statistics = Statistics { mean, variance };
        let (gamma, beta) = (dense(gamma), dense(beta));
        let arch = self.context.arch;
        let affine = Affine::new(arch, &statistics, values(&gamma), values(&beta), epilogue.epsilon);
        self.forward_by(&affine, shortcut, epilogue)
    }

    /// With the bias and GELU, in place.
    pub(super) fn forward_gelu(self, bias: FlexTensor) -> FlexTensor {
        let Biased { affine, epilogue, .. } = Biased::new(self.context.arch, &dense(bias));
        self.forward_by(&affine, None, epilogue)
    }

    fn forward_by(self, affine: &Affine, shortcut: Option<FlexTensor>, epilogue: Epilogue) -> FlexTensor {
        let pool = &self.context.pool;
        let shortcut = shortcut.map(dense);
        let added = shortcut.as_ref().map(values);
        let finish = |part, group: &mut [f32]| {
            let shortcut = added.map(|shortcut: &[f32]| &shortcut[part]);
            affine.apply_in_place(group, shortcut, epilogue.activation);
        };
        let packing = packing(&self.context, &self.g);
        let packed =
            packed::once(&self.weight, packing, || pack(&self.context, &self.g, values(&self.weight)));
        let Convolved { values, shape, .. } = self.run(packed, epilogue.pooled, finish);
        std::iter::once(self.input).chain(shortcut).for_each(|tensor| recycle(pool, tensor));
        tensor(values, shape)
    }

    /// Gradients of input and weight, those that are wanted.
    pub(super) fn backward(self, d_output: FlexTensor, wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let d_output = dense(d_output);
        let gradients = self.gradients(&InMemory(values(&d_output)), wanted);
        let pool = &self.context.pool;
        [self.input, d_output].into_iter().for_each(|tensor| recycle(pool, tensor));
        gradients
    }

    fn gradients(&self, d_output: &impl Rows, [of_input, of_weight]: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let Self { context, g, input, weight } = self;
        let d_input = of_input.then(|| correlation::input_gradient(context, g, values(weight), d_output));
        let d_weight = of_weight.then(|| weight_gradient(context, g, values(input), d_output));
        [
            d_input.map(|values| tensor(values, input.shape().dims::<4>())),
            d_weight.map(|values| tensor(values, weight.shape().dims::<4>())),
        ]
    }
}

/// A bias and GELU, as a batch norm that leaves the values alone.
struct Biased {
    statistics: Statistics,
    affine: Affine,
    gamma: Vec<f32>,
    epilogue: Epilogue,
}

impl Biased {
    fn new(arch: pulp::Arch, bias: &FlexTensor) -> Self {
        let bias = values(bias);
        let (zeros, gamma) = (vec![0.0; bias.len()], vec![1.0; bias.len()]);
        let statistics = Statistics { mean: zeros, variance: gamma.clone() };
        let epilogue = Epilogue { pooled: false, epsilon: 0.0, activation: Activation::Gelu };
        let affine = Affine::new(arch, &statistics, &gamma, bias, epilogue.epsilon);
        Self { statistics, affine, gamma, epilogue }
    }
}

/// A convolution with pooling, batch norm, shortcut and activation. It holds what the gradients need.
#[derive(Debug, Clone)]
pub(super) struct NormalizedConvolution {
    convolution: Convolution,
    gamma: FlexTensor,
    beta: FlexTensor,
    epilogue: Epilogue,
    convolved: FlexTensor,
    positions: Option<Vec<u8>>,
    statistics: Statistics,
    /// Whether the statistics are those of the batch, through which there are gradients.
    of_batch: bool,
    /// Where there is a shortcut, the convolution alone does not tell where ReLU gave zero: the output does.
    output: Option<FlexTensor>,
}

impl NormalizedConvolution {
    /// By the statistics of the batch. Returns the output too.
    ///
    /// A shortcut is taken with ReLU or without an activation.
    pub(super) fn new(
        convolution: Convolution,
        [gamma, beta]: [FlexTensor; 2],
        shortcut: Option<FlexTensor>,
        epilogue: Epilogue,
    ) -> (Self, FlexTensor) {
        let (gamma, beta) = (dense(gamma), dense(beta));
        let Convolution { context: Context { arch, pool, .. }, g, .. } = &convolution;
        let moments = |_, group: &mut [f32]| Moments::of(*arch, group, g.channels_out);
        let Convolved { values: convolved, shape, positions, finished: moments } =
            convolution.run(convolution.pack(), epilogue.pooled, moments);
        let statistics = Statistics::merge(&moments, g.channels_out);
        let affine = Affine::new(*arch, &statistics, values(&gamma), values(&beta), epilogue.epsilon);
        let shortcut = shortcut.map(dense);
        let output = affine.apply(pool, &convolved, shortcut.as_ref().map(values), epilogue.activation);
        let (output, convolved) = (tensor(output, shape), tensor(convolved, shape));
        let kept = (shortcut.is_some() && epilogue.activation == Activation::Relu).then(|| output.clone());
        let layer = Self {
            convolution,
            gamma,
            beta,
            epilogue,
            convolved,
            positions,
            statistics,
            of_batch: true,
            output: kept,
        };
        (layer, output)
    }

    /// With a bias and GELU instead of a batch norm. Returns the output too.
    pub(super) fn gelu(convolution: Convolution, bias: FlexTensor) -> (Self, FlexTensor) {
        let bias = dense(bias);
        let Context { arch, pool, .. } = &convolution.context;
        let Biased { statistics, affine, gamma, epilogue } = Biased::new(*arch, &bias);
        let Convolved { values: convolved, shape, .. } =
            convolution.run(convolution.pack(), false, |_, _| ());
        let output = tensor(affine.apply(pool, &convolved, None, epilogue.activation), shape);
        let layer = Self {
            convolution,
            gamma: vector(gamma),
            beta: bias,
            epilogue,
            convolved: tensor(convolved, shape),
            positions: None,
            statistics,
            of_batch: false,
            output: None,
        };
        (layer, output)
    }

    pub(super) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.convolution.context.pool
    }

    /// Gradients of input and weight where wanted, of gamma and of beta, and that of the shortcut.
    pub(super) fn backward(
        self,
        d_output: FlexTensor,
        wanted: [bool; 2],
    ) -> ([Option<FlexTensor>; 4], FlexTensor) {
        let Self { convolution, gamma, beta, epilogue, convolved, positions, statistics, .. } = self;
        let Context { arch, pool, .. } = &convolution.context;
        let mut d_output = dense(d_output);
        if let Some(output) = &self.output {
            mask_by_relu(*arch, d_output.storage_mut(), values(output));
        }
        let affine = Affine::new(*arch, &statistics, values(&gamma), values(&beta), epilogue.epsilon);
        let d_z = match epilogue.activation {
            Activation::Gelu => OutputGradient::OfGelu(d_output.storage_mut()),
            Activation::Relu => OutputGradient::Plain { d_z: values(&d_output), relu: self.output.is_none() },
            Activation::Identity => OutputGradient::Plain { d_z: values(&d_output), relu: false },
        };
        let gradient =
            NormalizedGradient::new(&affine, &statistics, epilogue.epsilon, values(&convolved), d_z);
        let gradient = if self.of_batch { gradient } else { gradient.with_given_statistics() };
        let [d_input, d_weight] = if let Some(positions) = &positions {
            let pool = MaxPool::new(convolution.g.size_out, convolution.g.channels_out);
            let unpooled = Unpooled { arch: *arch, pool, positions, gradient: &gradient };
            convolution.gradients(&unpooled, wanted)
        } else {
            convolution.gradients(&gradient, wanted)
        };
        let (d_gamma, d_beta) = (vector(gradient.d_gamma), vector(gradient.d_beta));
        let done = [convolution.input, convolved].into_iter().chain(self.output);
        done.for_each(|tensor| recycle(pool, tensor));
        ([d_input, d_weight, Some(d_gamma), Some(d_beta)], d_output)
    }
}
