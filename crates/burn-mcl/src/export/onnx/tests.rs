use std::collections::BTreeSet;

use burn::tensor::Device;
use mcl_data::ImageSet;
use mcl_data::batch::Rotations;
use mcl_infer::{Aggregation, Covariance, MahalanobisConfig, TestTimeViews};
use mcl_model::{EncoderConfig, FastNetConfig, MclModelConfig, ResNetConfig, ResNetDepth, Stem};

use super::*;
use crate::detector::DetectorConfig;
use crate::export::messages::AttributeProto;
use crate::progress::Progress;

/// Two classes of images, 16 x 16.
fn images(per_class: usize) -> ImageSet {
    let labels: Vec<usize> = (0..2 * per_class).map(|i| i % 2).collect();
    let mut state = 1u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 26) as u8
    };
    let pixels = labels.iter().flat_map(|&label| [100 * label as u8; 3 * 16 * 16]);
    let pixels = pixels.map(|value| value + noise()).collect();
    ImageSet::new(pixels, (16, 16), labels, vec!["dark \"1\"".into(), "bright".into()]).unwrap()
}

fn detector(encoder: impl Into<EncoderConfig>, config: DetectorConfig) -> Detector<MclModel> {
    let logits = (config.score != Score::Gaussians).then_some(2 * config.rotations.aux_classes());
    let network = MclModelConfig::new(encoder).with_hidden(8).with_projection_dim(4).with_classifier(logits);
    let model = network.init_seeded(0, &Device::flex());
    Detector::fit(&model, network, &images(20), &images(10), config, Progress::Hidden).unwrap()
}

fn gaussians() -> DetectorConfig {
    DetectorConfig::new().with_gaussians(MahalanobisConfig::new().with_ridge(1e-3)).with_tpr(0.8)
}

fn resnet() -> ResNetConfig {
    ResNetConfig::new(ResNetDepth::ResNet18).with_width(2)
}

fn decoded(detector: &Detector<MclModel>) -> ModelProto {
    ModelProto::decode(&to_onnx(detector).unwrap()[..]).unwrap()
}

/// One detector for each kind of network, covariance, view, score and aggregation.
fn detectors() -> Vec<Detector<MclModel>> {
    let tied = MahalanobisConfig::new().with_ridge(1e-3).with_covariance(Covariance::Tied);
    let upright = gaussians().with_rotations(Rotations::None);
    let large = ResNetConfig::new(ResNetDepth::ResNet50).with_width(1).with_stem(Stem::Torchvision);
    let fast = FastNetConfig::new().with_widths([2, 3, 4]);
    vec![
        detector(resnet(), gaussians()),
        detector(
            large,
            gaussians()
                .with_gaussians(tied)
                .with_views(TestTimeViews::Rotations)
                .with_aggregation(Aggregation::HarmonicMean),
        ),
        detector(
            fast.clone(),
            upright
                .clone()
                .with_score(Score::Entropy)
                .with_views(TestTimeViews::FlipsAndShifts)
                .with_aggregation(Aggregation::Mean),
        ),
        detector(
            fast.with_residual(true),
            gaussians()
                .with_score(Score::Softmax)
                .with_views(TestTimeViews::Identity)
                .with_aggregation(Aggregation::Max),
        ),
        detector(resnet(), upright.with_views(TestTimeViews::Flips)),
    ]
}

#[test]
fn every_input_of_a_node_is_there_before_the_node() {
    for detector in detectors() {
        let graph = decoded(&detector).graph.unwrap();
        let constants: Vec<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
        let mut known: BTreeSet<&str> = constants.iter().copied().collect();
        assert_eq!(known.len(), constants.len(), "names of constants are unique");
        assert_eq!(graph.input.len(), 1);
        assert!(known.insert(&graph.input[0].name));
        let mut used = BTreeSet::new();
        let mut names = BTreeSet::new();
        for node in &graph.node {
            for input in &node.input {
                assert!(known.contains(input.as_str()), "{} takes {input}", node.name);
                used.insert(input.as_str());
            }
            assert!(names.insert(&node.name), "two nodes are called {}", node.name);
            for output in &node.output {
                assert!(known.insert(output), "{output} is made twice");
            }
        }
        let outputs: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
        assert_eq!(outputs, ["label", "score", "p_value", "is_anomaly"]);
        used.extend(outputs);
        assert_eq!(used, known, "everything is used");
    }
}

#[test]
fn constants_are_as_long_as_their_shapes_say() {
    for detector in detectors() {
        for tensor in decoded(&detector).graph.unwrap().initializer {
            let size = match tensor.data_type() {
                DataType::Float => 4,
                DataType::Int64 | DataType::Double => 8,
                other => panic!("{} is {other:?}", tensor.name),
            };
            let count: i64 = tensor.dims.iter().product();
            assert_eq!(tensor.raw_data.len() as i64, count * size, "{}", tensor.name);
        }
    }
}

#[test]
fn only_what_the_score_needs_is_exported() {
    let names = |detector: &Detector<MclModel>| {
        let graph = decoded(detector).graph.unwrap();
        graph.initializer.into_iter().map(|tensor| tensor.name).collect::<BTreeSet<_>>()
    };
    let detectors = detectors();
    let (gaussians, classifier) = (names(&detectors[0]), names(&detectors[2]));
    assert!(gaussians.contains("projector.2.bias") && gaussians.contains("enc.layer4.1.bn2.running_var"));
    assert!(!gaussians.iter().any(|name| name.starts_with("classifier")));
    assert!(classifier.contains("classifier.weight") && classifier.contains("enc.groups.2.norm2.bias"));
    assert!(!classifier.iter().any(|name| name.starts_with("projector") || name.starts_with("gaussians")));
}

#[test]
fn the_metadata_name_classes_size_and_threshold() {
    let detector = detector(resnet(), gaussians());
    let model = decoded(&detector);
    let of = |key: &str| model.metadata_props.iter().find(|entry| entry.key == key).unwrap().value.as_str();
    let names: Vec<String> = serde_json::from_str(of("class_names")).unwrap();
    assert_eq!(names, detector.class_names());
    assert_eq!([of("image_height"), of("image_width"), of("views")], ["16", "16", "RotationsAndFlips"]);
    assert_eq!(of("centre_crop"), "none");
    assert_eq!(of("threshold").parse::<f64>().unwrap(), detector.threshold());
    assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
}

#[test]
fn the_same_detector_gives_the_same_bytes() {
    let detector = detector(resnet(), gaussians());
    assert_eq!(to_onnx(&detector).unwrap(), to_onnx(&detector).unwrap());
}

/// Field numbers and wire types of `onnx.proto`: 1 (name), 3 (i, written though it is 0), 20 (type).
#[test]
fn an_attribute_is_encoded_as_protocol_buffers_say() {
    let axis: AttributeProto = super::super::graph::int("axis", 0);
    let expected = [&[0x0a, 4][..], b"axis", &[0x18, 0, 0xa0, 0x01, 2]].concat();
    assert_eq!(axis.encode_to_vec(), expected);
}

#[test]
fn a_network_of_unknown_shape_is_refused() {
    let network = MclModelConfig::new(resnet()).with_hidden(8).with_projection_dim(4);
    let model = network.init_seeded(0, &Device::flex());
    let detector =
        Detector::fit_network(&model, &images(20), &images(10), gaussians(), Progress::Hidden).unwrap();
    assert!(matches!(to_onnx(&detector), Err(ExportError::UnknownNetwork)));
}
