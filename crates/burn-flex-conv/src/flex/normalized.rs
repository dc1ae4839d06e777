//! A layer on flex's tensors: convolution, batch norm, shortcut and ReLU, forward and backward.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::TensorMetadata;

use super::context::Context;
use super::correlation::{self, pack};
use super::geometry::Geometry;
use super::lanes::lanes;
use super::normalize::Affine;
use super::normalize_gradient::{NormalizedGradient, mask_by_relu};
use super::packed::{self, Packing};
use super::pool::Pool;
use super::rows::{InMemory, Rows};
use super::statistics::{Moments, Statistics};
use super::tensors::{FlexTensor, dense, recycle, tensor, values, vector};
use super::tiling;
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
    /// Added to the variance.
    pub(crate) epsilon: f64,
    pub(crate) relu: bool,
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

impl Convolution {
    pub(super) fn new(input: FlexTensor, weight: FlexTensor, params: ConvParams, context: Context) -> Self {
        let (input, weight) = (dense(input), dense(weight));
        let g = Geometry::new(input.shape().dims(), weight.shape().dims(), params.stride, params.padding);
        Self { context, g, input, weight }
    }

    pub(super) fn forward(&self) -> FlexTensor {
        let (output, _) = self.run(self.pack(), |_, _| ());
        tensor(output, self.g.shape_out())
    }

    fn pack(&self) -> Arc<Vec<f32>> {
        Arc::new(pack(self.context.arch, &self.g, values(&self.weight)))
    }

    /// Returns the values of the output, and the results of `finish` (see [`correlation::forward`]).
    fn run<R: Send>(
        &self,
        packed: Arc<Vec<f32>>,
        finish: impl Fn(Range<usize>, &mut [f32]) -> R + Sync,
    ) -> (Vec<f32>, Vec<R>) {
        correlation::forward(&self.context, &self.g, values(&self.input), packed, finish)
    }

    /// With batch norm by the given statistics, shortcut and ReLU.
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
        let (arch, pool) = (self.context.arch, &self.context.pool);
        let affine = Affine::new(arch, &statistics, values(&gamma), values(&beta), epilogue.epsilon);
        let shortcut = shortcut.map(dense);
        let added = shortcut.as_ref().map(values);
        let finish = |part, group: &mut [f32]| {
            affine.apply_in_place(group, added.map(|shortcut: &[f32]| &shortcut[part]), epilogue.relu);
        };
        let packing = Packing { lanes: lanes(arch), winograd: tiling::applies(&self.g) };
        let packed = packed::once(&self.weight, packing, || pack(arch, &self.g, values(&self.weight)));
        let (output, _) = self.run(packed, finish);
        let output = tensor(output, self.g.shape_out());
        std::iter::once(self.input).chain(shortcut).for_each(|tensor| recycle(pool, tensor));
        output
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
        let d_weight = of_weight.then(|| weight_gradient(context.arch, g, values(input), d_output));
        [
            d_input.map(|values| tensor(values, input.shape().dims::<4>())),
            d_weight.map(|values| tensor(values, weight.shape().dims::<4>())),
        ]
    }
}

/// A convolution with batch norm by the statistics of the batch, shortcut and ReLU. It holds what the
/// gradients need.
#[derive(Debug, Clone)]
pub(super) struct NormalizedConvolution {
    convolution: Convolution,
    gamma: FlexTensor,
    beta: FlexTensor,
    epilogue: Epilogue,
    convolved: FlexTensor,
    statistics: Statistics,
    /// Where there is a shortcut, the convolution alone does not tell where ReLU gave zero: the output does.
    output: Option<FlexTensor>,
}

impl NormalizedConvolution {
    /// Returns the output too.
    pub(super) fn new(
        convolution: Convolution,
        [gamma, beta]: [FlexTensor; 2],
        shortcut: Option<FlexTensor>,
        epilogue: Epilogue,
    ) -> (Self, FlexTensor) {
        let (gamma, beta) = (dense(gamma), dense(beta));
        let Convolution { context: Context { arch, pool }, g, .. } = &convolution;
        let moments = |_, group: &mut [f32]| Moments::of(*arch, group, g.channels_out);
        let (convolved, moments) = convolution.run(convolution.pack(), moments);
        let statistics = Statistics::merge(&moments, g.channels_out);
        let affine = Affine::new(*arch, &statistics, values(&gamma), values(&beta), epilogue.epsilon);
        let shortcut = shortcut.map(dense);
        let output = affine.apply(pool, &convolved, shortcut.as_ref().map(values), epilogue.relu);
        let output = tensor(output, g.shape_out());
        let convolved = tensor(convolved, g.shape_out());
        let kept = (shortcut.is_some() && epilogue.relu).then(|| output.clone());
        (Self { convolution, gamma, beta, epilogue, convolved, statistics, output: kept }, output)
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
        let Self { convolution, gamma, beta, epilogue, convolved, statistics, output } = self;
        let (arch, pool) = (convolution.context.arch, &convolution.context.pool);
        let mut d_output = dense(d_output);
        if let Some(output) = &output {
            mask_by_relu(arch, d_output.storage_mut(), values(output));
        }
        let affine = Affine::new(arch, &statistics, values(&gamma), values(&beta), epilogue.epsilon);
        let relu = epilogue.relu && output.is_none();
        let (y, d_z) = (values(&convolved), values(&d_output));
        let gradient = NormalizedGradient::new(&affine, &statistics, epilogue.epsilon, y, d_z, relu);
        let [d_input, d_weight] = convolution.gradients(&gradient, wanted);
        let (d_gamma, d_beta) = (vector(gradient.d_gamma), vector(gradient.d_beta));
        let done = [convolution.input, convolved].into_iter().chain(output);
        done.for_each(|tensor| recycle(pool, tensor));
        ([d_input, d_weight, Some(d_gamma), Some(d_beta)], d_output)
    }
}
