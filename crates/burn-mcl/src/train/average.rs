//! The moving average of a network's weights, and the batch-norm statistics of the averaged network.

use std::collections::HashMap;

use burn::module::{ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Device, Tensor};
use mcl_data::batch::{Position, TwoViewBatches};
use mcl_model::Network;

use super::TrainError;
use super::draws::{Pass, seed_device};

/// Batches that make the statistics of an averaged network. With Burn's momentum of 0.1 the earlier
/// statistics keep a weight of `0.9 ^ 40`, which is 1.5 %.
const BATCHES: usize = 40;

/// The exponential moving average of the weights:
///
/// ```text
/// average = d * average + (1 - d) * weights,  d = min(decay, (1 + steps) / (10 + steps))
/// ```
///
/// `d` is smaller in the first steps, so that the initial weights soon count for little.
#[derive(Debug, Clone)]
pub(super) struct WeightAverage<N> {
    pub(super) network: N,
    decay: f64,
}

impl<N: Network> WeightAverage<N> {
    /// Returns an average that begins with the weights of `network`.
    pub(super) fn new(network: &N, decay: f64) -> Self {
        Self { network: network.valid(), decay }
    }

    /// Adds the weights after `steps` steps to the average.
    pub(super) fn update(mut self, network: &N, steps: usize) -> Self {
        let mut weights = Weights(HashMap::new());
        network.valid().visit(&mut weights);
        let steps = steps as f64;
        let decay = self.decay.min((1.0 + steps) / (10.0 + steps));
        self.network = self.network.map(&mut Mix { weights: weights.0, decay });
        self
    }

    /// Returns the averaged network with the batch-norm statistics of its own activations on 40 training
    /// batches, the first of epoch 0. The averaged statistics describe the activations of the networks of
    /// earlier steps. Layers that draw on the device draw from `seed`.
    pub(super) fn with_statistics(
        &self,
        batches: &TwoViewBatches,
        device: &Device,
        seed: u64,
    ) -> Result<N, TrainError> {
        seed_device(device, seed, Pass::Statistics);
        let network = self.network.clone().train();
        // The untracked network shares the running statistics, and keeps no activations for a backward pass.
        let untracked = network.clone().no_grad();
        for batch in batches.stream(Position::default(), usize::MAX)?.take(BATCHES) {
            untracked.forward(batch?.to_device(device).images);
        }
        Ok(network.valid())
    }
}

/// The weights of a network by the identity of the parameter.
struct Weights(HashMap<ParamId, BridgeTensor>);

impl ModuleVisitor for Weights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.insert(param.id, param.val().into_bridge());
    }
}

/// Mixes the weights of one network into another network.
struct Mix {
    weights: HashMap<ParamId, BridgeTensor>,
    decay: f64,
}

impl ModuleMapper for Mix {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.weights.remove(&param.id) {
            Some(weight) => {
                let weight = Tensor::<D>::from_bridge(weight);
                // With this form an average of equal values, such as frozen weights, keeps the value to the
                // bit.
                param.map(|average| average.clone() + (weight - average) * (1.0 - self.decay))
            }
            None => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Module;
    use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
    use burn::tensor::{TensorData, Tolerance};
    use mcl_data::ImageSet;
    use mcl_data::batch::BatchConfig;
    use mcl_model::Embedding;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Module, Debug)]
    struct OneLayer {
        layer: Linear,
    }

    impl Network for OneLayer {
        fn forward(&self, images: Tensor<4>) -> Embedding {
            let features = self.layer.forward(images.flatten::<2>(1, 3));
            Embedding::new(features.clone(), features)
        }
    }

    /// A batch norm that counts its batches.
    #[derive(Module, Debug)]
    struct Counting {
        norm: BatchNorm,
    }

    static FORWARDS: AtomicUsize = AtomicUsize::new(0);

    impl Network for Counting {
        fn forward(&self, images: Tensor<4>) -> Embedding {
            FORWARDS.fetch_add(1, Ordering::Relaxed);
            let features = self.norm.forward(images).mean_dims(&[2, 3]).flatten::<2>(1, 3);
            Embedding::new(features.clone(), features)
        }
    }

    #[test]
    fn the_statistics_are_those_of_the_first_40_batches() {
        let device = Device::flex().autodiff();
        let pixels = (0..6 * 3 * 64).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let names = vec!["one".to_string()];
        let images = ImageSet::new(pixels, (8, 8), vec![0; 6], names).unwrap();
        let batches = BatchConfig::new(2).with_seed(5).try_init(Arc::new(images)).unwrap();
        let network = Counting { norm: BatchNormConfig::new(3).init(&device) };
        let made = WeightAverage::new(&network, 0.5).with_statistics(&batches, &device, 5).unwrap();
        assert_eq!(FORWARDS.load(Ordering::Relaxed), 40);

        let mut expected = [0.0_f64; 3];
        for batch in batches.stream(Position::default(), usize::MAX).unwrap().take(40) {
            let images = batch.unwrap().to_device(&Device::flex()).images; // [16, 3, 8, 8]
            let means = images.mean_dims(&[0, 2, 3]).into_data();
            for (expected, mean) in expected.iter_mut().zip(means.iter::<f64>()) {
                *expected = 0.9 * *expected + 0.1 * mean;
            }
        }
        let found = made.norm.running_mean.value().into_data();
        found.assert_approx_eq::<f32>(&TensorData::from(expected), Tolerance::absolute(1e-5));
        let left = network.norm.running_mean.value().into_data();
        assert!(left.iter::<f32>().all(|mean| mean == 0.0), "the network of the run keeps its statistics");
    }

    #[test]
    fn the_average_follows_its_formula() {
        let device = Device::flex().autodiff();
        let set = |network: OneLayer, value: f64| OneLayer {
            layer: Linear { weight: network.layer.weight.map(|w| w.zeros_like() + value), ..network.layer },
        };
        let network = set(OneLayer { layer: LinearConfig::new(1, 1).with_bias(false).init(&device) }, 1.0);
        let mut average = WeightAverage::new(&network, 0.5);
        let mut expected = 1.0_f64;
        for (steps, value) in [(1, 3.0), (2, -2.0), (100, 5.0)] {
            average = average.update(&set(network.clone(), value), steps);
            let decay = 0.5_f64.min((1.0 + steps as f64) / (10.0 + steps as f64));
            expected = decay * expected + (1.0 - decay) * value;
            let found = average.network.layer.weight.val().into_scalar::<f64>();
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
