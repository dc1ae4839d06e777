//! What a run starts from, where that does not follow from its settings: given weights, or a loss of one's own.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use mcl_model::Network;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::files::hex;

/// The part of a run's identity that its settings do not hold. It is stored as `start.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Start {
    /// Type and weights of the network that was given; `None` when they follow from the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) network: Option<GivenNetwork>,
    /// Name of the loss that was given; `None` when the settings name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) loss: Option<String>,
}

/// A network given to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GivenNetwork {
    /// Rust's name of the type.
    kind: String,
    /// SHA-256 of names, shapes, values and training flags of all parameters.
    sha256: String,
}

impl GivenNetwork {
    /// Goes through all weights once.
    pub(super) fn of<N: Network>(network: &N) -> Self {
        let mut hasher = WeightHasher { hasher: Sha256::new(), path: Vec::new() };
        network.visit(&mut hasher);
        Self { kind: kind::<N>(), sha256: hex(&hasher.hasher.finalize()) }
    }
}

/// Rust's name of a network's type, for files and messages.
pub(crate) fn kind<N: Network>() -> String {
    std::any::type_name::<N>().to_string()
}

struct WeightHasher {
    hasher: Sha256,
    path: Vec<String>,
}

impl ModuleVisitor for WeightHasher {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        // Whether a parameter is trained decides the run as its value does.
        let head = format!("{} {:?} {}", self.path.join("."), value.dims(), value.is_require_grad());
        self.hasher.update(head.as_bytes());
        for value in value.into_data().iter::<f32>() {
            self.hasher.update(value.to_le_bytes());
        }
    }
}

/// Path and shape of every float parameter of a network.
pub(crate) fn shapes<M: Module>(network: &M) -> Vec<(String, Vec<usize>)> {
    struct Shapes(Vec<String>, Vec<(String, Vec<usize>)>);
    impl ModuleVisitor for Shapes {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.push(name.to_string());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push((self.0.join("."), param.lazy_shape().to_vec()));
        }
    }
    let mut shapes = Shapes(Vec::new(), Vec::new());
    network.visit(&mut shapes);
    shapes.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use mcl_model::{MclModelConfig, ResNetConfig, ResNetDepth};

    #[test]
    fn weights_and_what_is_trained_decide_the_hash() {
        let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(2);
        let config = MclModelConfig::new(resnet).with_hidden(4).with_projection_dim(4);
        let network = |seed| config.init_seeded(seed, &Device::flex().autodiff());
        assert_eq!(GivenNetwork::of(&network(1)), GivenNetwork::of(&network(1)));
        assert_ne!(GivenNetwork::of(&network(1)), GivenNetwork::of(&network(2)));
        assert_ne!(GivenNetwork::of(&network(1)), GivenNetwork::of(&network(1).freeze()));
    }
}
