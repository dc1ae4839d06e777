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

use crate::parameters::{Named, Weight};

/// Replaces what is random in the weights of a new network, in their order: convolutions by `N(0, 2 / fan_out)`, weights and biases of linear layers by
/// `U(-1, 1) / sqrt(fan_in)`. Batch norm starts as the identity and stays as it is.
pub(crate) fn draw_weights(weights: Vec<Named<'_>>, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for named in weights {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MclModel, MclModelConfig};
    use crate::parameters::named_weights;
    use crate::resnet::ResNetConfig;
    use crate::variant::ResNetDepth;
    use burn::module::Module;
    use burn::tensor::Device;

    fn config() -> MclModelConfig {
        MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet50).with_width(8)).with_hidden(64)
    }

    fn values(mut model: MclModel) -> Vec<(String, Vec<f32>)> {
        named_weights(&mut model)
            .into_iter()
            .map(|named| {
                let data = match named.weight {
                    Weight::Conv(param) => param.val().into_data(),
                    Weight::Linear(param) => param.val().into_data(),
                    Weight::LinearBias { bias: param, .. } | Weight::Norm(param) => param.val().into_data(),
                    Weight::Running(state) => state.value().into_data(),
                };
                (named.name, data.iter().collect())
            })
            .collect()
    }

    #[test]
    fn a_seed_decides_everything() {
        let device = Device::flex();
        let expected = values(config().init_seeded(7, &device));
        // Others that draw from the device's generator do not matter, nor does autodiff.
        let noise = std::thread::spawn(|| {
            for seed in 0..50 {
                Device::flex().seed(seed);
                config().init(&Device::flex()).forward(Tensor::zeros([1, 3, 1, 1], &Device::flex()));
            }
        });
        assert_eq!(values(config().init_seeded(7, &device)), expected);
        assert_eq!(values(config().init_seeded(7, &device.clone().autodiff()).valid()), expected);
        noise.join().unwrap();
        assert_ne!(values(config().init_seeded(8, &device)), expected);
    }

    #[test]
    fn a_drawn_model_trains() {
        let device = Device::flex().autodiff();
        let mut model = config().init_seeded(7, &device);
        let gradients = model.forward(Tensor::ones([2, 3, 4, 4], &device)).projections.sum().backward();
        for named in named_weights(&mut model) {
            let trained = match named.weight {
                Weight::Conv(param) => param.val().grad(&gradients).is_some(),
                Weight::Linear(param) => param.val().grad(&gradients).is_some(),
                Weight::LinearBias { bias: param, .. } | Weight::Norm(param) => {
                    param.val().grad(&gradients).is_some()
                }
                Weight::Running(_) => true,
            };
            assert!(trained, "{} has no gradient", named.name);
        }
    }

    /// Both ways of drawing have the moments of Kaiming fan-out and of PyTorch's linear layers.
    #[test]
    fn distributions_are_pytorchs() {
        let device = Device::flex();
        for model in [config().init_seeded(7, &device), config().init(&device)] {
            let mut model = model;
            let shapes: Vec<_> =
                named_weights(&mut model).iter().map(|named| named.weight.pytorch_shape()).collect();
            for ((name, values), shape) in values(model).into_iter().zip(shapes) {
                let n = values.len() as f64;
                let mean = values.iter().copied().map(f64::from).sum::<f64>() / n;
                let variance = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / n;
                let (expected, kurtosis) = match shape[..] {
                    [out, _, height, width] => (2.0 / (out * height * width) as f64, 3.0),
                    // Uniform on +-1/sqrt(fan_in).
                    [_, fan_in] => (1.0 / (3 * fan_in) as f64, 1.8),
                    _ => continue,
                };
                // Six standard errors of either estimate.
                assert!(mean.abs() < 6.0 * (expected / n).sqrt(), "{name}: mean {mean}");
                let error = 6.0 * expected * ((kurtosis - 1.0) / n).sqrt();
                assert!(
                    (variance - expected).abs() < error,
                    "{name}: variance {variance}, expected {expected}"
                );
            }
        }
    }
}
