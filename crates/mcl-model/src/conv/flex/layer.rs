//! A layer of the network on flex's tensors: convolution, batch norm, shortcut and ReLU, forward and backward.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::TensorData;

use super::buffers;
use super::convolve::{self, Given};
use super::geometry::Geometry;
use super::normalize::Affine;
use super::normalize_gradient::{NormalizedGradient, cut};
use super::statistics::{Moments, Statistics};

/// A tensor of the flex backend.
pub(super) type Flat = FloatTensor<Flex>;

/// Stride and padding of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

/// What becomes of the output of a convolution besides the normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct After {
    pub(crate) epsilon: f64,
    pub(crate) relu: bool,
}

/// The same tensor, row-major and with nothing else in its buffer.
fn dense(tensor: Flat) -> Flat {
    let dense = tensor.to_contiguous();
    drop(tensor);
    dense
}

fn values(tensor: &Flat) -> &[f32] {
    tensor.as_slice().expect("a dense f32 tensor")
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Flat {
    Flat::from_data(TensorData::new(values, shape))
}

/// `[channels]`
pub(super) fn vector(values: Vec<f32>) -> Flat {
    let len = values.len();
    tensor(values, [len])
}

/// Keeps the memory of a tensor that no one else holds.
pub(super) fn recycle(tensor: Flat) {
    if tensor.is_unique()
        && let Ok(values) = tensor.into_data().try_into_vec()
    {
        buffers::give_back(values);
    }
}

/// A convolution alone. What it holds is what the gradients need.
#[derive(Debug, Clone)]
pub(super) struct Convolution {
    g: Geometry,
    /// `[n, h, w, channels_in]`
    input: Flat,
    /// `[channels_out, channels_in, k, k]`
    weight: Flat,
}

impl Convolution {
    pub(super) fn new(input: Flat, weight: Flat, steps: Steps) -> Self {
        let (input, weight) = (dense(input), dense(weight));
        let g = Geometry::new(input.shape().dims(), weight.shape().dims(), steps.stride, steps.padding);
        Self { g, input, weight }
    }

    pub(super) fn forward(&self) -> Flat {
        let (output, _) = convolve::forward(&self.g, values(&self.input), values(&self.weight), |_, _| ());
        tensor(output, self.g.shape_out())
    }

    /// With batch norm by the given statistics, shortcut and ReLU.
    pub(super) fn forward_affine(
        self,
        statistics: [Flat; 2],
        [gamma, beta]: [Flat; 2],
        shortcut: Option<Flat>,
        after: After,
    ) -> Flat {
        let [mean, variance] = statistics.map(|channels| values(&dense(channels)).to_vec());
        let statistics = Statistics { mean, variance };
        let affine = Affine::new(&statistics, values(&dense(gamma)), values(&dense(beta)), after.epsilon);
        let shortcut = shortcut.map(dense);
        let added = shortcut.as_ref().map(values);
        let finish = |part, group: &mut [f32]| {
            affine.apply_in_place(group, added.map(|shortcut: &[f32]| &shortcut[part]), after.relu);
        };
        let (output, _) = convolve::forward(&self.g, values(&self.input), values(&self.weight), finish);
        let output = tensor(output, self.g.shape_out());
        std::iter::once(self.input).chain(shortcut).for_each(recycle);
        output
    }

    /// Gradients of input and weight, those that are wanted.
    pub(super) fn backward(self, d_output: Flat, wanted: [bool; 2]) -> [Option<Flat>; 2] {
        let d_output = dense(d_output);
        let gradients = self.gradients(&Given(values(&d_output)), wanted);
        [self.input, d_output].into_iter().for_each(recycle);
        gradients
    }

    fn gradients(
        &self,
        d_output: &impl convolve::Rows,
        [of_input, of_weight]: [bool; 2],
    ) -> [Option<Flat>; 2] {
        let Self { g, input, weight } = self;
        let d_input = of_input.then(|| convolve::input_gradient(g, values(weight), d_output));
        let d_weight = of_weight.then(|| convolve::weight_gradient(g, values(input), d_output));
        [
            d_input.map(|values| tensor(values, input.shape().dims::<4>())),
            d_weight.map(|values| tensor(values, weight.shape().dims::<4>())),
        ]
    }
}

/// A convolution with batch norm by the statistics of the batch, shortcut and ReLU. What it holds is what the gradients need.
#[derive(Debug, Clone)]
pub(super) struct NormalizedConvolution {
    convolution: Convolution,
    gamma: Flat,
    beta: Flat,
    after: After,
    convolved: Flat,
    statistics: Statistics,
    /// Where there is a shortcut, the convolution alone does not tell where ReLU cut: the output does.
    output: Option<Flat>,
}

impl NormalizedConvolution {
    /// Returns the output too.
    pub(super) fn new(
        convolution: Convolution,
        [gamma, beta]: [Flat; 2],
        shortcut: Option<Flat>,
        after: After,
    ) -> (Self, Flat) {
        let (gamma, beta) = (dense(gamma), dense(beta));
        let Convolution { g, input, weight } = &convolution;
        let moments = |_, group: &mut [f32]| Moments::of(group, g.channels_out);
        let (convolved, moments) = convolve::forward(g, values(input), values(weight), moments);
        let statistics = Statistics::merge(&moments, g.channels_out);
        let affine = Affine::new(&statistics, values(&gamma), values(&beta), after.epsilon);
        let shortcut = shortcut.map(dense);
        let output =
            tensor(affine.apply(&convolved, shortcut.as_ref().map(values), after.relu), g.shape_out());
        let convolved = tensor(convolved, g.shape_out());
        let kept = (shortcut.is_some() && after.relu).then(|| output.clone());
        (Self { convolution, gamma, beta, after, convolved, statistics, output: kept }, output)
    }

    pub(super) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Gradients of input and weight where wanted, of gamma and of beta, and that of the shortcut.
    pub(super) fn backward(self, d_output: Flat, wanted: [bool; 2]) -> ([Option<Flat>; 4], Flat) {
        let Self { convolution, gamma, beta, after, convolved, statistics, output } = self;
        let mut d_output = dense(d_output);
        if let Some(output) = &output {
            cut(d_output.storage_mut(), values(output));
        }
        let affine = Affine::new(&statistics, values(&gamma), values(&beta), after.epsilon);
        let relu = after.relu && output.is_none();
        let (y, d_z) = (values(&convolved), values(&d_output));
        let gradient = NormalizedGradient::new(&affine, &statistics, after.epsilon, y, d_z, relu);
        let [d_input, d_weight] = convolution.gradients(&gradient, wanted);
        let (d_gamma, d_beta) = (vector(gradient.d_gamma), vector(gradient.d_beta));
        [convolution.input, convolved].into_iter().chain(output).for_each(recycle);
        ([d_input, d_weight, Some(d_gamma), Some(d_beta)], d_output)
    }
}
