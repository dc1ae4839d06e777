//! What run directories of earlier versions rely on: the names of the weights in their checkpoints, and the weights
//! that a seed draws.

use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use mcl_model::{MclModel, MclModelConfig, ResNetConfig, ResNetDepth, Stem};

fn networks() -> [(&'static str, MclModelConfig); 2] {
    let resnet = |depth| ResNetConfig::new(depth).with_width(2);
    let small = |resnet| MclModelConfig::new(resnet).with_hidden(6).with_projection_dim(4);
    [
        ("resnet18", small(resnet(ResNetDepth::ResNet18))),
        ("resnet50", small(resnet(ResNetDepth::ResNet50).with_stem(Stem::ImageNet).with_in_channels(1))),
    ]
}

/// The paths and shapes by which a checkpoint knows the weights, and numbers that see every value and its place.
#[derive(Default)]
struct Weights {
    path: Vec<String>,
    names: String,
    count: usize,
    square: f64,
    probe: f64,
}

impl ModuleVisitor for Weights {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = param.val().into_data();
        self.names.push_str(&format!("{} {:?}\n", self.path.join("."), &values.shape()[..]));
        for value in values.iter::<f32>() {
            let value = f64::from(value);
            self.square += value * value;
            self.probe += value * (self.count as f64).cos();
            self.count += 1;
        }
    }
}

fn weights(model: &MclModel) -> Weights {
    let mut weights = Weights::default();
    model.visit(&mut weights);
    weights
}

#[test]
fn checkpoints_keep_the_names_of_their_weights() {
    for (name, config) in networks() {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.names.txt"));
        let found = weights(&config.init(&Device::flex())).names;
        assert_eq!(found, std::fs::read_to_string(file).unwrap(), "{name}");
    }
}

/// Relative 1e-9: a machine with another logarithm may draw another last bit.
#[test]
fn a_seed_draws_the_weights_that_it_always_drew() {
    let expected = [
        ("resnet18", 11_680, 546.5133933344763, 2.9455658783119034),
        ("resnet50", 26_732, 3079.1358945391826, -10.937074675545512),
    ];
    for ((name, config), (same_name, count, square, probe)) in networks().into_iter().zip(expected) {
        let found = weights(&config.init_seeded(7, &Device::flex()));
        assert_eq!((name, found.count), (same_name, count));
        let error = (found.square - square).abs().max((found.probe - probe).abs());
        assert!(error <= 1e-9 * square, "{name}: {} and {}", found.square, found.probe);
    }
}
