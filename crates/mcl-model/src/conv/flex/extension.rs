//! The convolution as an operation of the flex backend, with its gradients.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::TensorData;

use super::convolve;
use super::geometry::Geometry;

/// Operations on activations `[n, h, w, channels]`.
#[backend_extension(Flex, Autodiff)]
pub(super) trait ChannelsLast: Backend {
    /// `[n, h, w, channels_in]`, `[channels_out, channels_in, k, k]` -> `[n, oh, ow, channels_out]`
    fn convolve(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self>;
}

type Flat = FloatTensor<Flex>;

/// Row-major values from the start of the buffer on.
fn dense(tensor: &Flat) -> Flat {
    tensor.to_contiguous()
}

fn values(tensor: &Flat) -> &[f32] {
    tensor.as_slice().expect("a dense f32 tensor")
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Flat {
    Flat::from_data(TensorData::new(values, shape))
}

fn geometry(input: &Flat, weight: &Flat, stride: usize, padding: usize) -> Geometry {
    Geometry::new(input.shape().dims(), weight.shape().dims(), stride, padding)
}

impl ChannelsLast for Flex {
    fn convolve(input: Flat, weight: Flat, stride: usize, padding: usize) -> Flat {
        let (input, weight) = (dense(&input), dense(&weight));
        let g = geometry(&input, &weight, stride, padding);
        tensor(convolve::forward(&g, values(&input), values(&weight)), g.shape_out())
    }
}

#[derive(Debug)]
struct Convolution;

impl Backward<Flex, 2> for Convolution {
    /// Input, weight, stride, padding.
    type State = (Flat, Flat, usize, usize);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [of_input, of_weight] = ops.parents;
        let d_output = dense(&grads.consume::<Flex>(&ops.node));
        let (input, weight, stride, padding) = ops.state;
        let g = geometry(&input, &weight, stride, padding);
        if let Some(node) = of_weight {
            let gradient = convolve::weight_gradient(&g, values(&input), values(&d_output));
            grads.register::<Flex>(node.id, tensor(gradient, weight.shape().dims::<4>()));
        }
        if let Some(node) = of_input {
            let gradient = convolve::data_gradient(&g, values(&d_output), values(&weight));
            grads.register::<Flex>(node.id, tensor(gradient, input.shape().dims::<4>()));
        }
    }
}

impl<C: CheckpointStrategy> ChannelsLast for Autodiff<Flex, C> {
    fn convolve(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
        padding: usize,
    ) -> FloatTensor<Self> {
        let (input, input_node) = input.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (input, weight) = (dense(&input), dense(&weight));
        let output = Flex::convolve(input.clone(), weight.clone(), stride, padding);
        match Convolution.prepare::<C>([input_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((input, weight, stride, padding), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }
}
