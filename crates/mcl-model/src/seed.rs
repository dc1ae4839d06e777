//! Initial weights that depend on a seed alone.
//!
//! A device draws from a generator that all threads of the process share, and draws when a weight is first
//! used: two runs of the same program may differ. Here the weights are drawn on the host, in the order of the
//! network, by a ChaCha8 generator that belongs to the call.

use burn::module::Param;
use burn::tensor::{Device, Shape, Tensor, TensorData};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::config::MclModelConfig;
use crate::encoder::{Encoder, EncoderConfig};
use crate::error::ModelError;
use crate::fast_net::{FastNet, FastNetConfig};
use crate::head::{ProjectionHead, ProjectionHeadConfig};
use crate::layers::{dirac, replace};
use crate::model::MclModel;
use crate::parameters::{
    FilterInit, Named, Weight, encoder_weights, fast_net_weights, head_weights, named_weights, resnet_weights,
};
use crate::resnet::{ResNet, ResNetConfig};

impl MclModelConfig {
    /// The network with random weights from the same distributions as [`try_init`](Self::try_init), drawn on
    /// the host by a generator of its own: the same seed gives the same weights on every device, whatever
    /// other threads draw.
    ///
    /// # Errors
    ///
    /// [`ModelError`] when a size is 0 or the network too large.
    pub fn try_init_seeded(&self, seed: u64, device: &Device) -> Result<MclModel, ModelError> {
        let mut model = self.try_init(device)?;
        draw_weights(named_weights(&mut model), seed);
        Ok(model)
    }

    /// [`try_init_seeded`](Self::try_init_seeded) for a configuration known to be right.
    ///
    /// # Panics
    ///
    /// When a size is 0 or the network too large.
    pub fn init_seeded(&self, seed: u64, device: &Device) -> MclModel {
        self.try_init_seeded(seed, device).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl ResNetConfig {
    /// The network alone, with random weights drawn on the host by a generator of its own: those of the
    /// encoder that [`MclModelConfig::try_init_seeded`] makes of the same seed.
    ///
    /// # Errors
    ///
    /// As [`try_init`](Self::try_init).
    pub fn try_init_seeded(&self, seed: u64, device: &Device) -> Result<ResNet, ModelError> {
        let mut encoder = self.try_init(device)?;
        draw_weights(resnet_weights("", &mut encoder), seed);
        Ok(encoder)
    }

    /// [`try_init_seeded`](Self::try_init_seeded) for a configuration known to be right.
    ///
    /// # Panics
    ///
    /// When a size is 0 or the network too large.
    pub fn init_seeded(&self, seed: u64, device: &Device) -> ResNet {
        self.try_init_seeded(seed, device).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl FastNetConfig {
    /// The network alone, with random weights drawn on the host by a generator of its own: those of the
    /// encoder that [`MclModelConfig::try_init_seeded`] makes of the same seed.
    ///
    /// # Errors
    ///
    /// As [`try_init`](Self::try_init).
    pub fn try_init_seeded(&self, seed: u64, device: &Device) -> Result<FastNet, ModelError> {
        let mut encoder = self.try_init(device)?;
        draw_weights(fast_net_weights("", &mut encoder), seed);
        Ok(encoder)
    }

    /// [`try_init_seeded`](Self::try_init_seeded) for a configuration known to be right.
    ///
    /// # Panics
    ///
    /// When a size is 0 or the network too large.
    pub fn init_seeded(&self, seed: u64, device: &Device) -> FastNet {
        self.try_init_seeded(seed, device).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl EncoderConfig {
    /// The network alone, with random weights drawn on the host by a generator of its own: those of the
    /// encoder that [`MclModelConfig::try_init_seeded`] makes of the same seed.
    ///
    /// # Errors
    ///
    /// As [`try_init`](Self::try_init).
    pub fn try_init_seeded(&self, seed: u64, device: &Device) -> Result<Encoder, ModelError> {
        let mut encoder = self.try_init(device)?;
        draw_weights(encoder_weights("", &mut encoder), seed);
        Ok(encoder)
    }

    /// [`try_init_seeded`](Self::try_init_seeded) for a configuration known to be right.
    ///
    /// # Panics
    ///
    /// When a size is 0 or the network too large.
    pub fn init_seeded(&self, seed: u64, device: &Device) -> Encoder {
        self.try_init_seeded(seed, device).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl ProjectionHeadConfig {
    /// The head with random weights from the same distributions as [`try_init`](Self::try_init), drawn on the
    /// host by a generator of its own.
    ///
    /// # Errors
    ///
    /// As [`try_init`](Self::try_init).
    pub fn try_init_seeded(&self, seed: u64, device: &Device) -> Result<ProjectionHead, ModelError> {
        let mut head = self.try_init(device)?;
        draw_weights(head_weights("", &mut head), seed);
        Ok(head)
    }
}

/// Replaces what is random in the weights of a new network, in their order.
///
/// Convolutions get what their [`FilterInit`] says, weights and biases of linear layers `U(-1, 1) / sqrt(fan_in)`.
/// Batch norms start as the identity and stay as they are.
fn draw_weights(weights: Vec<Named<'_>>, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for named in weights {
        match named.weight {
            Weight::Conv { filters, init: FilterInit::Kaiming } => {
                let [channels_out, _, height, width] = filters.lazy_shape().dims();
                let std = (2.0 / (channels_out * height * width) as f64).sqrt();
                fill(filters, || (std * rng.sample::<f64, _>(StandardNormal)) as f32);
            }
            Weight::Conv { filters, init: FilterInit::Dirac } => {
                let [channels_out, channels_in, height, width] = filters.lazy_shape().dims();
                let mut first =
                    dirac([channels_out.min(channels_in), channels_in, height, width]).into_iter();
                let fan_in = channels_in * height * width;
                fill(filters, || first.next().unwrap_or_else(|| uniform(&mut rng, fan_in)));
            }
            Weight::Linear(weight) => {
                let [fan_in, _] = weight.lazy_shape().dims();
                fill(weight, || uniform(&mut rng, fan_in));
            }
            Weight::LinearBias { bias, fan_in } => fill(bias, || uniform(&mut rng, fan_in)),
            Weight::Conv { init: FilterInit::Given, .. }
            | Weight::ConvBias(_)
            | Weight::Norm(_)
            | Weight::Running(_) => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::ResNetDepth;
    use burn::module::Module;

    fn config() -> MclModelConfig {
        MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet50).with_width(8)).with_hidden(64)
    }

    fn values(mut model: MclModel) -> Vec<(String, Vec<f32>)> {
        named_weights(&mut model)
            .into_iter()
            .map(|named| {
                let data = match named.weight {
                    Weight::Conv { filters, .. } => filters.val().into_data(),
                    Weight::Linear(param) => param.val().into_data(),
                    Weight::ConvBias(param)
                    | Weight::LinearBias { bias: param, .. }
                    | Weight::Norm(param) => param.val().into_data(),
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
                Weight::Conv { filters, .. } => filters.val().grad(&gradients).is_some(),
                Weight::Linear(param) => param.val().grad(&gradients).is_some(),
                Weight::ConvBias(param) | Weight::LinearBias { bias: param, .. } | Weight::Norm(param) => {
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

    #[test]
    fn a_seeded_encoder_is_that_of_the_model() {
        let device = Device::flex();
        let config = ResNetConfig::new(ResNetDepth::ResNet18).with_width(2);
        let model = MclModelConfig::new(config.clone()).with_hidden(4).init_seeded(5, &device);
        let images = Tensor::<4>::ones([1, 3, 8, 8], &device);
        let features = |encoder: &ResNet| encoder.forward(images.clone()).into_data();
        let expected = model.encoder().forward(images.clone()).into_data();
        assert_eq!(features(&config.init_seeded(5, &device)), expected);
        assert_ne!(features(&config.init_seeded(6, &device)), expected);
    }

    #[test]
    fn a_seeded_head_is_decided_by_its_seed() {
        let device = Device::flex();
        let head = |seed| ProjectionHeadConfig::new(6).with_hidden(4).try_init_seeded(seed, &device).unwrap();
        let run = |head: &ProjectionHead| head.forward(Tensor::ones([1, 6], &device)).into_data();
        assert_eq!(run(&head(1)), run(&head(1)));
        assert_ne!(run(&head(1)), run(&head(2)));
    }
}
