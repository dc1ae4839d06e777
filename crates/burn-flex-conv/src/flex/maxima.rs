//! Maximum pooling and the maximum over the positions, on flex's tensors.

use burn::backend::TensorMetadata;

use super::context::Context;
use super::max_pool::{MaxPool, maximum, maximum_gradient};
use super::tensors::{FlexTensor, dense, recycle, tensor, values};

/// Maximum pooling over 2 x 2 pixels. It holds what the gradient needs.
#[derive(Debug, Clone)]
pub(super) struct Pooling {
    context: Context,
    pool: MaxPool,
    shape: [usize; 4],
    positions: Vec<u8>,
}

impl Pooling {
    /// Returns the output too. The images, `[n, h, w, channels]`, have at least 2 x 2 pixels.
    pub(super) fn new(input: FlexTensor, context: Context) -> (Self, FlexTensor) {
        let input = dense(input);
        let shape @ [images, height, width, channels] = input.shape().dims();
        let pool = MaxPool::new([height, width], channels);
        let (output, positions) = pool.forward(&context, values(&input));
        recycle(&context.pool, input);
        let [height, width] = pool.size_out();
        (Self { context, pool, shape, positions }, tensor(output, [images, height, width, channels]))
    }

    pub(super) fn backward(self, d_output: FlexTensor) -> FlexTensor {
        let d_output = dense(d_output);
        let d_input = self.pool.backward(&self.context, &self.positions, values(&d_output));
        recycle(&self.context.pool, d_output);
        tensor(d_input, self.shape)
    }
}

/// The maximum over the positions. It holds what the gradient needs.
#[derive(Debug, Clone)]
pub(super) struct GlobalMaximum {
    context: Context,
    shape: [usize; 4],
    at: Vec<u32>,
}

impl GlobalMaximum {
    /// `[n, h, w, channels] -> [n, channels]`, returned too.
    ///
    /// # Panics
    ///
    /// When there are no positions.
    pub(super) fn new(input: FlexTensor, context: Context) -> (Self, FlexTensor) {
        let input = dense(input);
        let shape @ [images, height, width, channels] = input.shape().dims();
        assert!(height * width > 0, "maximum over the positions: the images are empty");
        let (output, at) = maximum(context.arch, values(&input), height * width, channels);
        recycle(&context.pool, input);
        (Self { context, shape, at }, tensor(output, [images, channels]))
    }

    pub(super) fn backward(self, d_output: FlexTensor) -> FlexTensor {
        let d_output = dense(d_output);
        let [_, height, width, channels] = self.shape;
        let gradient = maximum_gradient(&self.context, values(&d_output), &self.at, height * width, channels);
        tensor(gradient, self.shape)
    }
}
