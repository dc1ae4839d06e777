//! A whole network trains to the same bits on any number of threads.
#![cfg(feature = "flex")]

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use mcl_model::{MclModelConfig, ResNetConfig, ResNetDepth};

#[test]
fn a_network_trains_to_the_same_bits_on_any_number_of_threads() {
    let config = MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet18).with_width(16)).with_hidden(32);
    let device = Device::flex().autodiff();
    let values: Vec<f32> = (0..24 * 3 * 32 * 32).map(|i| (i as f32 * 0.37).sin()).collect();
    let images = TensorData::new(values, [24, 3, 32, 32]);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let model = config.init_seeded(0, &device);
            let projections = model.forward(Tensor::from_data(images.clone(), &device)).projections;
            let grads = (projections.clone() * projections.clone()).sum().backward();
            let mut found = Found { grads, values: vec![projections.into_data()] };
            model.visit(&mut found);
            found.values
        })
    };
    let one = on(1);
    assert!(one.len() > 60);
    assert_eq!(one, on(2));
}

/// The gradients of all parameters.
struct Found {
    grads: Gradients,
    values: Vec<TensorData>,
}

impl ModuleVisitor for Found {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.values.extend(param.val().grad(&self.grads).map(Tensor::into_data));
    }
}
