//! The operations of this directory as operations of the flex backend, with their gradients.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::{ActivationOps, FloatTensorOps};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, ExtensionType, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, TensorData};

use super::convolve::{self, Given};
use super::geometry::Geometry;
use super::normalize::{Affine, Moments, NormalizedGradient, Statistics, cut};

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

/// What is added before ReLU.
#[derive(ExtensionType)]
pub(crate) enum Shortcut<B: Backend> {
    Add(FloatTensor<B>),
    Nothing,
}

/// Operations on activations `[n, h, w, channels]`.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait ChannelsLast: Backend {
    /// `[n, h, w, channels_in]`, `[channels_out, channels_in, k, k]` -> `[n, oh, ow, channels_out]`
    fn convolve(input: FloatTensor<Self>, weight: FloatTensor<Self>, steps: Steps) -> FloatTensor<Self>;

    /// Convolution, batch norm with the statistics of the batch, shortcut, ReLU. Returns the activations, and the mean and
    /// the biased variance of the convolution's output, which carry no gradient.
    fn convolve_normalize(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        #[extension_type] shortcut: Shortcut<Self>,
        steps: Steps,
        after: After,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// The same with given statistics.
    #[allow(clippy::too_many_arguments)]
    fn convolve_affine(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        #[extension_type] shortcut: Shortcut<Self>,
        steps: Steps,
        after: After,
    ) -> FloatTensor<Self>;
}

type Flat = FloatTensor<Flex>;

/// Row-major, and the whole of its buffer.
fn dense(tensor: &Flat) -> Flat {
    tensor.to_contiguous()
}

fn values(tensor: &Flat) -> &[f32] {
    tensor.as_slice().expect("a dense f32 tensor")
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Flat {
    Flat::from_data(TensorData::new(values, shape))
}

fn vector(values: Vec<f32>) -> Flat {
    let len = values.len();
    tensor(values, [len])
}

fn geometry(input: &Flat, weight: &Flat, steps: Steps) -> Geometry {
    Geometry::new(input.shape().dims(), weight.shape().dims(), steps.stride, steps.padding)
}

impl ChannelsLast for Flex {
    fn convolve(input: Flat, weight: Flat, steps: Steps) -> Flat {
        let (input, weight) = (dense(&input), dense(&weight));
        let g = geometry(&input, &weight, steps);
        let (output, _) = convolve::forward(&g, values(&input), values(&weight), |_, _| ());
        tensor(output, g.shape_out())
    }

    fn convolve_normalize(
        input: Flat,
        weight: Flat,
        gamma: Flat,
        beta: Flat,
        shortcut: Shortcut<Self>,
        steps: Steps,
        after: After,
    ) -> (Flat, Flat, Flat) {
        let forward = Forward::new(&input, &weight, &gamma, &beta, shortcut.dense().as_ref(), steps, after);
        (forward.output, vector(forward.statistics.mean), vector(forward.statistics.variance))
    }

    fn convolve_affine(
        input: Flat,
        weight: Flat,
        gamma: Flat,
        beta: Flat,
        mean: Flat,
        variance: Flat,
        shortcut: Shortcut<Self>,
        steps: Steps,
        after: After,
    ) -> Flat {
        let [input, weight, gamma, beta] = [&input, &weight, &gamma, &beta].map(dense);
        let statistics =
            Statistics { mean: values(&dense(&mean)).to_vec(), variance: values(&dense(&variance)).to_vec() };
        let affine = Affine::new(&statistics, values(&gamma), values(&beta), after.epsilon);
        let g = geometry(&input, &weight, steps);
        let shortcut = shortcut.dense();
        let shortcut = shortcut.as_ref().map(values);
        let (output, _) = convolve::forward(&g, values(&input), values(&weight), |part, group| {
            affine.apply_in_place(group, shortcut.map(|shortcut| &shortcut[part]), after.relu);
        });
        tensor(output, g.shape_out())
    }
}

impl Shortcut<Flex> {
    fn dense(&self) -> Option<Flat> {
        match self {
            Self::Add(tensor) => Some(dense(tensor)),
            Self::Nothing => None,
        }
    }
}

/// Forward pass in training: what it returns and what its gradient needs.
#[derive(Debug, Clone)]
struct Forward {
    g: Geometry,
    after: After,
    input: Flat,
    weight: Flat,
    gamma: Flat,
    beta: Flat,
    convolved: Flat,
    statistics: Statistics,
    output: Flat,
}

impl Forward {
    fn new(
        input: &Flat,
        weight: &Flat,
        gamma: &Flat,
        beta: &Flat,
        shortcut: Option<&Flat>,
        steps: Steps,
        after: After,
    ) -> Self {
        let [input, weight, gamma, beta] = [input, weight, gamma, beta].map(dense);
        let g = geometry(&input, &weight, steps);
        let channels = g.channels_out;
        let moments = |_, group: &mut [f32]| Moments::of(group, channels);
        let (convolved, moments) = convolve::forward(&g, values(&input), values(&weight), moments);
        let statistics = Statistics::merge(&moments, channels);
        let affine = Affine::new(&statistics, values(&gamma), values(&beta), after.epsilon);
        let output = tensor(affine.apply(&convolved, shortcut.map(values), after.relu), g.shape_out());
        let convolved = tensor(convolved, g.shape_out());
        Self { g, after, input, weight, gamma, beta, convolved, statistics, output }
    }

    /// Gradients of input and weight where asked for, of gamma, of beta, and of the shortcut if there is one.
    fn backward(self, d_output: &Flat, shortcut: bool, wanted: [bool; 2]) -> ([Option<Flat>; 4], Flat) {
        let mut d_output = dense(d_output);
        // With a shortcut, the convolution's output alone does not tell where ReLU cut.
        if shortcut && self.after.relu {
            cut(d_output.storage_mut(), values(&self.output));
        }
        let relu = self.after.relu && !shortcut;
        let epsilon = self.after.epsilon;
        let affine = Affine::new(&self.statistics, values(&self.gamma), values(&self.beta), epsilon);
        let gradient = NormalizedGradient::new(
            &affine,
            &self.statistics,
            epsilon,
            values(&self.convolved),
            values(&d_output),
            relu,
        );
        let [of_input, of_weight] = wanted;
        let d_input = of_input.then(|| convolve::input_gradient(&self.g, values(&self.weight), &gradient));
        let d_weight = of_weight.then(|| convolve::weight_gradient(&self.g, values(&self.input), &gradient));
        let gradients = [
            d_input.map(|d_input| tensor(d_input, self.input.shape().dims::<4>())),
            d_weight.map(|d_weight| tensor(d_weight, self.weight.shape().dims::<4>())),
            Some(vector(gradient.d_gamma)),
            Some(vector(gradient.d_beta)),
        ];
        (gradients, d_output)
    }
}

#[derive(Debug)]
struct Convolve;

impl Backward<Flex, 2> for Convolve {
    /// Input, weight.
    type State = (Flat, Flat, Geometry);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_output = dense(&grads.consume::<Flex>(&ops.node));
        let (input, weight, g) = ops.state;
        let [of_input, of_weight] = ops.parents;
        let d_values = Given(values(&d_output));
        if let Some(node) = of_input {
            let d_input = convolve::input_gradient(&g, values(&weight), &d_values);
            grads.register::<Flex>(node.id, tensor(d_input, input.shape().dims::<4>()));
        }
        if let Some(node) = of_weight {
            let d_weight = convolve::weight_gradient(&g, values(&input), &d_values);
            grads.register::<Flex>(node.id, tensor(d_weight, weight.shape().dims::<4>()));
        }
    }
}

#[derive(Debug)]
struct ConvolveNormalize;

impl Backward<Flex, 4> for ConvolveNormalize {
    type State = Forward;

    fn backward(self, ops: Ops<Forward, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_output = grads.consume::<Flex>(&ops.node);
        let wanted = [ops.parents[0].is_some(), ops.parents[1].is_some()];
        let (gradients, _) = ops.state.backward(&d_output, false, wanted);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct ConvolveNormalizeAdd;

impl Backward<Flex, 5> for ConvolveNormalizeAdd {
    type State = Forward;

    fn backward(self, ops: Ops<Forward, 5>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_output = grads.consume::<Flex>(&ops.node);
        let wanted = [ops.parents[0].is_some(), ops.parents[1].is_some()];
        let (gradients, d_shortcut) = ops.state.backward(&d_output, true, wanted);
        for (node, gradient) in ops.parents.into_iter().zip(gradients.into_iter().chain([Some(d_shortcut)])) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

impl<C: CheckpointStrategy> ChannelsLast for Autodiff<Flex, C> {
    fn convolve(input: FloatTensor<Self>, weight: FloatTensor<Self>, steps: Steps) -> FloatTensor<Self> {
        let (input, input_node) = input.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (input, weight) = (dense(&input), dense(&weight));
        let g = geometry(&input, &weight, steps);
        let output = Flex::convolve(input.clone(), weight.clone(), steps);
        match Convolve.prepare::<C>([input_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((input, weight, g), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }

    fn convolve_normalize(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        shortcut: Shortcut<Self>,
        steps: Steps,
        after: After,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (input, input_node) = input.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (gamma, gamma_node) = gamma.into_parts();
        let (beta, beta_node) = beta.into_parts();
        let nodes = [input_node, weight_node, gamma_node, beta_node];
        let (output, statistics) = match shortcut {
            Shortcut::Nothing => {
                let forward = Forward::new(&input, &weight, &gamma, &beta, None, steps, after);
                let (output, statistics) = (forward.output.clone(), forward.statistics.clone());
                let output = match ConvolveNormalize.prepare::<C>(nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prep) => prep.finish(forward, output),
                    OpsKind::UnTracked(prep) => prep.finish(output),
                };
                (output, statistics)
            }
            Shortcut::Add(shortcut) => {
                let (shortcut, shortcut_node) = shortcut.into_parts();
                let shortcut = dense(&shortcut);
                let forward = Forward::new(&input, &weight, &gamma, &beta, Some(&shortcut), steps, after);
                let (output, statistics) = (forward.output.clone(), forward.statistics.clone());
                let [input_node, weight_node, gamma_node, beta_node] = nodes;
                let nodes = [input_node, weight_node, gamma_node, beta_node, shortcut_node];
                let output = match ConvolveNormalizeAdd.prepare::<C>(nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prep) => prep.finish(forward, output),
                    OpsKind::UnTracked(prep) => prep.finish(output),
                };
                (output, statistics)
            }
        };
        let constant = |values| <Self as burn::backend::AutodiffBackend>::from_inner(vector(values));
        (output, constant(statistics.mean), constant(statistics.variance))
    }

    /// With gradients through every part, for a batch norm that is frozen while others train: composed, rather than fast.
    fn convolve_affine(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        shortcut: Shortcut<Self>,
        steps: Steps,
        after: After,
    ) -> FloatTensor<Self> {
        let convolved = Self::convolve(input, weight, steps);
        let channels = gamma.shape().num_elements();
        let [gamma, beta, mean, variance] = [gamma, beta, mean, variance]
            .map(|tensor| Self::float_reshape(tensor, Shape::new([1, 1, 1, channels])));
        let deviation = Self::float_sqrt(Self::float_add_scalar(variance, after.epsilon.into()));
        let scaled = Self::float_mul(Self::float_sub(convolved, mean), Self::float_div(gamma, deviation));
        let mut output = Self::float_add(scaled, beta);
        if let Shortcut::Add(shortcut) = shortcut {
            output = Self::float_add(output, shortcut);
        }
        if after.relu { Self::relu(output) } else { output }
    }
}
