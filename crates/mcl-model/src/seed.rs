//! Initial weights that depend on a seed alone.
//!
//! A device draws from a generator that all threads of the process share, and draws when a weight is first used: two
//! runs of the same program may differ. Here the weights are drawn on the host, in the order of the network, by a
//! ChaCha8 generator that belongs to the call.

use burn::module::Param;
use burn::tensor::{Shape, Tensor, TensorData};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::model::MclModel;
use crate::parameters::{Weight, named_weights};

/// Replaces what is random in a new model: convolutions by `N(0, 2 / fan_out)`, weights and biases of linear layers by
/// `U(-1, 1) / sqrt(fan_in)`. Batch norm starts as the identity and stays as it is.
pub(crate) fn draw_weights(model: &mut MclModel, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for named in named_weights(model) {
        match named.weight {
            Weight::Conv(weight) => {
                let [channels_out, _, height, width] = weight.lazy_shape().dims();
                let std = (2.0 / (channels_out * height * width) as f64).sqrt();
                fill(weight, || (std * rng.sample::<f64, _>(StandardNormal)) as f32);
            }
            Weight::Linear(weight) => {
                let [fan_in, _] = weight.lazy_shape().dims();
                fill(weight, || uniform(&mut rng, fan_in));
            }
            Weight::LinearBias { bias, fan_in } => fill(bias, || uniform(&mut rng, fan_in)),
            Weight::Norm(_) | Weight::Running(_) => {}
        }
    }
}

fn uniform(rng: &mut impl Rng, fan_in: usize) -> f32 {
    let bound = 1.0 / (fan_in as f64).sqrt();
    rng.random_range(-bound..bound) as f32
}

fn fill<const D: usize>(param: &mut Param<Tensor<D>>, mut draw: impl FnMut() -> f32) {
    let shape: Shape = param.lazy_shape();
    let values: Vec<f32> = (0..shape.num_elements()).map(|_| draw()).collect();
    replace(param, TensorData::new(values, shape));
}

/// Gives a parameter new values; its identity, device and whether it is trained stay.
pub(crate) fn replace<const D: usize>(param: &mut Param<Tensor<D>>, values: TensorData) {
    let tensor = Tensor::from_data(values, &param.lazy_device());
    *param = param.clone().transform_for_load(tensor, param.id);
}
