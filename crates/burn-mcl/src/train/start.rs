//! The start of a run that does not follow from the settings: given weights, or a loss of one's own.

use burn::module::{Flag, Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use mcl_model::Network;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::fingerprint::Fingerprint;
use crate::files::hex;

/// The part of a run's identity that the settings do not hold, stored as `start.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Start {
    /// Type and weights of the network that was given; `None` when the network follows from the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) network: Option<GivenNetwork>,
    /// Name of the loss that was given; `None` when the settings name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) loss: Option<String>,
    /// The outliers that were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outliers: Option<Fingerprint>,
}

/// A network given to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct GivenNetwork {
    /// Rust's name of the type, without the path of the module: moving the type changes nothing about the
    /// run.
    kind: String,
    /// SHA-256 of the names, shapes and values of all float parameters, and of whether each parameter is
    /// trained.
    sha256: String,
    /// Paths of the training flags that are off: of batch norms and dropouts that work as in evaluation.
    /// Earlier versions stored no such list.
    flags_off: Vec<String>,
}

impl GivenNetwork {
    /// Describes a network in training mode. This reads all weights once.
    pub(super) fn of<N: Network>(network: &N) -> Self {
        let mut visitor = WeightHasher { hasher: Sha256::new(), path: Vec::new(), flags_off: Vec::new() };
        network.visit(&mut visitor);
        let sha256 = hex(&visitor.hasher.finalize());
        Self { kind: kind::<N>(), sha256, flags_off: visitor.flags_off }
    }

    /// Completes a network that an earlier version stored: the type had the path of the module, and the list
    /// of flags was absent. An absent list is taken from the network of this run.
    pub(super) fn complete(&self, stored: &mut Value) {
        let Some(stored) = stored.as_object_mut() else { return };
        if let Some(Value::String(kind)) = stored.get_mut("kind") {
            *kind = bare(kind);
        }
        stored.entry("flags_off").or_insert_with(|| self.flags_off.clone().into());
    }
}

/// Returns Rust's name of a network's type, without the paths of modules, for files and messages.
pub(crate) fn kind<N: Network>() -> String {
    bare(std::any::type_name::<N>())
}

/// Returns the name of a type without the paths of modules, also inside of generic arguments: `a::B<c::D>`
/// becomes `B<D>`.
pub(crate) fn bare(kind: &str) -> String {
    let mut bare = String::new();
    let mut segment = 0; // where the current segment of a path begins in `bare`
    for c in kind.chars() {
        if c == ':' {
            bare.truncate(segment);
            continue;
        }
        bare.push(c);
        // Closures and implementations are segments in braces.
        if !(c.is_alphanumeric() || "_{}#".contains(c)) {
            segment = bare.len();
        }
    }
    bare
}

struct WeightHasher {
    hasher: Sha256,
    path: Vec<String>,
    flags_off: Vec<String>,
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
        // A run with the same values and other trained parameters is another run.
        let head = format!("{} {:?} {}", self.path.join("."), value.dims(), value.is_require_grad());
        self.hasher.update(head.as_bytes());
        for value in value.into_data().iter::<f32>() {
            self.hasher.update(value.to_le_bytes());
        }
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        if !flag.is_enabled() {
            self.flags_off.push(self.path.join("."));
        }
    }
}

/// Returns path and shape of every float parameter of a network.
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
    use burn::module::ParamGroup;
    use burn::tensor::Device;
    use mcl_model::{MclModelConfig, ResNetConfig, ResNetDepth};
    use serde_json::json;

    #[test]
    fn weights_and_what_is_trained_decide_the_hash() {
        let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(2);
        let config = MclModelConfig::new(resnet).with_hidden(4).with_projection_dim(4);
        let network = |seed| config.init_seeded(seed, &Device::flex().autodiff());
        assert_eq!(GivenNetwork::of(&network(1)), GivenNetwork::of(&network(1)));
        assert_ne!(GivenNetwork::of(&network(1)), GivenNetwork::of(&network(2)));
        assert_ne!(GivenNetwork::of(&network(1)), GivenNetwork::of(&network(1).freeze()));
    }

    #[test]
    fn training_flags_that_are_off_tell_two_starts_apart() {
        let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(2);
        let config = MclModelConfig::new(resnet).with_hidden(4).with_projection_dim(4);
        let network = config.init_seeded(1, &Device::flex().autodiff());
        let all = GivenNetwork::of(&network.clone().freeze()).flags_off;
        let off = |path: &String| network.clone().freeze_group(ParamGroup::from_path(path));
        let starts =
            [GivenNetwork::of(&network), GivenNetwork::of(&off(&all[0])), GivenNetwork::of(&off(&all[1]))];
        assert_eq!(starts.each_ref().map(|start| start.flags_off.len()), [0, 1, 1]);
        assert_ne!(starts[1], starts[2]);
        assert!(
            starts.iter().all(|start| start.sha256 == starts[0].sha256),
            "flags are apart from the weights"
        );
    }

    #[test]
    fn a_type_is_named_without_modules() {
        let cases = [
            ("own_network::Small", "Small"),
            ("Small", "Small"),
            ("a::b::Pair<c::First, d::e::Second<[f::Third; 3]>>", "Pair<First, Second<[Third; 3]>>"),
            ("(a::B, &c::D)", "(B, &D)"),
            ("a::main::{{closure}}::Local", "Local"),
        ];
        for (kind, expected) in cases {
            assert_eq!(bare(kind), expected);
            assert_eq!(bare(expected), expected);
        }
    }

    #[test]
    fn what_an_earlier_version_stored_is_completed() {
        let given =
            GivenNetwork { kind: "Small".into(), sha256: "12".into(), flags_off: vec!["norm".into()] };
        let mut stored = json!({ "kind": "a::Small", "sha256": "12" });
        given.complete(&mut stored);
        assert_eq!(stored, serde_json::to_value(&given).unwrap());
        let mut other = json!({ "kind": "a::Other", "sha256": "12", "flags_off": [] });
        given.complete(&mut other);
        assert_eq!(other, json!({ "kind": "Other", "sha256": "12", "flags_off": [] }));
    }
}
