//! The layers as operations of the flex backend, with and without autodiff.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::{ActivationOps, FloatTensorOps};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, ExtensionType, Flex, TensorMetadata, backend_extension,
};
use burn::tensor::Shape;

use super::activation::Activation;
use super::context::Context;
use super::maxima::{GlobalMaximum, Pooling};
use super::normalized::{ConvParams, Convolution, Epilogue, NormalizedConvolution};
use super::tensors::{FlexTensor, recycle, vector};

/// What is added before the activation.
#[derive(ExtensionType)]
pub(crate) enum Shortcut<B: Backend> {
    Add(FloatTensor<B>),
    Nothing,
}

/// Operations on activations `[n, h, w, channels]` with weights `[channels_out, channels_in, k, k]`.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait ChannelsLast: Backend {
    fn convolve(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        params: ConvParams,
        context: Context,
    ) -> FloatTensor<Self>;

    /// Convolution, bias, GELU.
    fn convolve_gelu(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        params: ConvParams,
        context: Context,
    ) -> FloatTensor<Self>;

    /// Maximum over 2 x 2 pixels with stride 2, of images of at least that size.
    fn pool(input: FloatTensor<Self>, context: Context) -> FloatTensor<Self>;

    /// Maximum over the positions: `[n, channels]`.
    fn maximum(input: FloatTensor<Self>, context: Context) -> FloatTensor<Self>;

    /// Convolution, pooling, batch norm with the statistics of the batch, shortcut, activation. Returns the
    /// activations, and the mean and the biased variance of what is normalised, which carry no gradient.
    #[allow(clippy::too_many_arguments)]
    fn convolve_normalize(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        #[extension_type] shortcut: Shortcut<Self>,
        params: ConvParams,
        epilogue: Epilogue,
        context: Context,
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
        params: ConvParams,
        epilogue: Epilogue,
        context: Context,
    ) -> FloatTensor<Self>;
}

impl<B: Backend> Shortcut<B> {
    fn tensor(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Add(tensor) => Some(tensor),
            Self::Nothing => None,
        }
    }
}

impl ChannelsLast for Flex {
    fn convolve(input: FlexTensor, weight: FlexTensor, params: ConvParams, context: Context) -> FlexTensor {
        Convolution::new(input, weight, params, context).forward()
    }

    fn convolve_gelu(
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        params: ConvParams,
        context: Context,
    ) -> FlexTensor {
        Convolution::new(input, weight, params, context).forward_gelu(bias)
    }

    fn pool(input: FlexTensor, context: Context) -> FlexTensor {
        Pooling::new(input, context).1
    }

    fn maximum(input: FlexTensor, context: Context) -> FlexTensor {
        GlobalMaximum::new(input, context).1
    }

    fn convolve_normalize(
        input: FlexTensor,
        weight: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        shortcut: Shortcut<Self>,
        params: ConvParams,
        epilogue: Epilogue,
        context: Context,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let convolution = Convolution::new(input, weight, params, context);
        let (layer, output) =
            NormalizedConvolution::new(convolution, [gamma, beta], shortcut.tensor(), epilogue);
        let statistics = layer.statistics().clone();
        (output, vector(statistics.mean), vector(statistics.variance))
    }

    fn convolve_affine(
        input: FlexTensor,
        weight: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        shortcut: Shortcut<Self>,
        params: ConvParams,
        epilogue: Epilogue,
        context: Context,
    ) -> FlexTensor {
        let convolution = Convolution::new(input, weight, params, context);
        convolution.forward_affine([mean, variance], [gamma, beta], shortcut.tensor(), epilogue)
    }
}

impl<C: CheckpointStrategy> ChannelsLast for Autodiff<Flex, C> {
    fn convolve(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        params: ConvParams,
        context: Context,
    ) -> FloatTensor<Self> {
        let (input, input_node) = input.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let convolution = Convolution::new(input, weight, params, context);
        let output = convolution.forward();
        match Convolve.prepare::<C>([input_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(convolution, output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }

    fn convolve_gelu(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        params: ConvParams,
        context: Context,
    ) -> FloatTensor<Self> {
        let (input, input_node) = input.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let convolution = Convolution::new(input, weight, params, context);
        match ConvolveGelu.prepare::<C>([input_node, weight_node, bias_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (layer, output) = NormalizedConvolution::gelu(convolution, bias);
                prep.finish(layer, output)
            }
            // Nothing is kept: the activation is applied in place.
            OpsKind::UnTracked(prep) => prep.finish(convolution.forward_gelu(bias)),
        }
    }

    fn pool(input: FloatTensor<Self>, context: Context) -> FloatTensor<Self> {
        let (input, node) = input.into_parts();
        let (pooling, output) = Pooling::new(input, context);
        match Pool.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(pooling, output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }

    fn maximum(input: FloatTensor<Self>, context: Context) -> FloatTensor<Self> {
        let (input, node) = input.into_parts();
        let (maximum, output) = GlobalMaximum::new(input, context);
        match Maximum.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(maximum, output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }

    fn convolve_normalize(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        shortcut: Shortcut<Self>,
        params: ConvParams,
        epilogue: Epilogue,
        context: Context,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (input, input_node) = input.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (gamma, gamma_node) = gamma.into_parts();
        let (beta, beta_node) = beta.into_parts();
        let (shortcut, shortcut_node) = shortcut.tensor().map(FloatTensor::<Self>::into_parts).unzip();

        let convolution = Convolution::new(input, weight, params, context);
        let (layer, output) = NormalizedConvolution::new(convolution, [gamma, beta], shortcut, epilogue);
        let statistics = layer.statistics().clone();
        let output = if let Some(shortcut_node) = shortcut_node {
            let nodes = [input_node, weight_node, gamma_node, beta_node, shortcut_node];
            match ConvolveNormalizeAdd.prepare::<C>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(prep) => prep.finish(layer, output),
                OpsKind::UnTracked(prep) => prep.finish(output),
            }
        } else {
            let nodes = [input_node, weight_node, gamma_node, beta_node];
            match ConvolveNormalize.prepare::<C>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(prep) => prep.finish(layer, output),
                OpsKind::UnTracked(prep) => prep.finish(output),
            }
        };
        let constant = |values| Self::from_inner(vector(values));
        (output, constant(statistics.mean), constant(statistics.variance))
    }

    /// With gradients through every part, for a batch norm that is frozen while others train: composed,
    /// rather than fast.
    fn convolve_affine(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        shortcut: Shortcut<Self>,
        params: ConvParams,
        epilogue: Epilogue,
        context: Context,
    ) -> FloatTensor<Self> {
        let mut convolved = Self::convolve(input, weight, params, context.clone());
        if epilogue.pooled {
            convolved = Self::pool(convolved, context);
        }
        let channels = gamma.shape().num_elements();
        let [gamma, beta, mean, variance] = [gamma, beta, mean, variance]
            .map(|tensor| Self::float_reshape(tensor, Shape::new([1, 1, 1, channels])));
        let deviation = Self::float_sqrt(Self::float_add_scalar(variance, epilogue.epsilon.into()));
        let scaled = Self::float_mul(Self::float_sub(convolved, mean), Self::float_div(gamma, deviation));
        let mut output = Self::float_add(scaled, beta);
        if let Shortcut::Add(shortcut) = shortcut {
            output = Self::float_add(output, shortcut);
        }
        match epilogue.activation {
            Activation::Identity => output,
            Activation::Relu => Self::relu(output),
            Activation::Gelu => Self::gelu(output),
        }
    }
}

/// Backward of [`ChannelsLast::convolve`]: parents are input and weight.
#[derive(Debug)]
struct Convolve;

impl Backward<Flex, 2> for Convolve {
    type State = Convolution;

    fn backward(self, ops: Ops<Convolution, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_output = grads.consume::<Flex>(&ops.node);
        let parents = ops.parents.map(|node| node.map(|node| node.id));
        let gradients = ops.state.backward(d_output, parents.map(|node| node.is_some()));
        register(grads, parents.into_iter().zip(gradients));
    }
}

/// Backward of [`ChannelsLast::convolve_gelu`]: parents are input, weight and bias.
#[derive(Debug)]
struct ConvolveGelu;

impl Backward<Flex, 3> for ConvolveGelu {
    type State = NormalizedConvolution;

    fn backward(self, ops: Ops<NormalizedConvolution, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_output = grads.consume::<Flex>(&ops.node);
        let parents = ops.parents.map(|node| node.map(|node| node.id));
        let wanted = [parents[0].is_some(), parents[1].is_some()];
        let pool = ops.state.pool().clone();
        let ([d_input, d_weight, _, d_bias], d_output) = ops.state.backward(d_output, wanted);
        register(grads, parents.into_iter().zip([d_input, d_weight, d_bias]));
        recycle(&pool, d_output);
    }
}

/// Backward of [`ChannelsLast::pool`].
#[derive(Debug)]
struct Pool;

impl Backward<Flex, 1> for Pool {
    type State = Pooling;

    fn backward(self, ops: Ops<Pooling, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_output = grads.consume::<Flex>(&ops.node);
        let parents = ops.parents.map(|node| node.map(|node| node.id));
        register(grads, parents.into_iter().zip([Some(ops.state.backward(d_output))]));
    }
}

/// Backward of [`ChannelsLast::maximum`].
#[derive(Debug)]
struct Maximum;

impl Backward<Flex, 1> for Maximum {
    type State = GlobalMaximum;

    fn backward(self, ops: Ops<GlobalMaximum, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_output = grads.consume::<Flex>(&ops.node);
        let parents = ops.parents.map(|node| node.map(|node| node.id));
        register(grads, parents.into_iter().zip([Some(ops.state.backward(d_output))]));
    }
}

/// Backward of [`ChannelsLast::convolve_normalize`]: parents are input, weight, gamma and beta.
#[derive(Debug)]
struct ConvolveNormalize;

impl Backward<Flex, 4> for ConvolveNormalize {
    type State = NormalizedConvolution;

    fn backward(self, ops: Ops<NormalizedConvolution, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_output = grads.consume::<Flex>(&ops.node);
        let parents = ops.parents.map(|node| node.map(|node| node.id));
        let wanted = [parents[0].is_some(), parents[1].is_some()];
        let pool = ops.state.pool().clone();
        let (gradients, d_output) = ops.state.backward(d_output, wanted);
        register(grads, parents.into_iter().zip(gradients));
        recycle(&pool, d_output);
    }
}

/// The same with the shortcut as fifth parent.
#[derive(Debug)]
struct ConvolveNormalizeAdd;

impl Backward<Flex, 5> for ConvolveNormalizeAdd {
    type State = NormalizedConvolution;

    fn backward(self, ops: Ops<NormalizedConvolution, 5>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_output = grads.consume::<Flex>(&ops.node);
        let parents = ops.parents.map(|node| node.map(|node| node.id));
        let wanted = [parents[0].is_some(), parents[1].is_some()];
        let (gradients, d_shortcut) = ops.state.backward(d_output, wanted);
        register(grads, parents.into_iter().zip(gradients.into_iter().chain([Some(d_shortcut)])));
    }
}

fn register(grads: &mut Gradients, gradients: impl Iterator<Item = (Option<NodeId>, Option<FlexTensor>)>) {
    for (node, gradient) in gradients {
        if let (Some(node), Some(gradient)) = (node, gradient) {
            grads.register::<Flex>(node, gradient);
        }
    }
}
