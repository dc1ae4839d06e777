//! An encoder alone loads files with torchvision's names, in the formats in which torchvision's ImageNet
//! weights come.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use mcl_model::{
    MclModel, MclModelConfig, ProjectionHeadConfig, ResNet, ResNetConfig, ResNetDepth, Stem, WeightProblem,
    WeightsError,
};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

fn config() -> ResNetConfig {
    ResNetConfig::new(ResNetDepth::ResNet50).with_stem(Stem::ImageNet).with_width(2)
}

/// An encoder whose running statistics are not the initial ones.
fn trained() -> MclModel {
    let model = MclModelConfig::new(config()).with_hidden(4).init_seeded(1, &Device::flex().autodiff());
    model.forward(images(&Device::flex().autodiff()));
    burn::module::Module::valid(&model)
}

fn images(device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (0..2 * 3 * 40 * 33).map(|i| (i as f32 * 0.37).sin() * 0.5 + 0.5).collect();
    Tensor::from_data(TensorData::new(values, [2, 3, 40, 33]), device)
}

fn features(encoder: &ResNet) -> TensorData {
    encoder.forward(images(&Device::flex())).into_data()
}

/// Type, shape and bytes by name.
type Stored = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// What torchvision's `state_dict` of this network holds: the encoder's names, and the classifier.
fn torchvision_state_dict(model: &MclModel) -> Stored {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("weights.safetensors");
    model.save_safetensors(&file).unwrap();
    let content = fs::read(file).unwrap();
    let mut stored: Stored = SafeTensors::deserialize(&content)
        .unwrap()
        .tensors()
        .into_iter()
        .filter_map(|(name, view)| {
            let name = name.strip_prefix("enc.")?.to_owned();
            Some((name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
        })
        .collect();
    stored.insert("fc.weight".into(), (Dtype::F32, vec![10, 64], vec![0; 4 * 640]));
    stored.insert("fc.bias".into(), (Dtype::F32, vec![10], vec![0; 40]));
    stored
}

fn write_safetensors(stored: &Stored, directory: &Path) -> PathBuf {
    let views = stored.iter().map(|(name, (dtype, shape, bytes))| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let file = directory.join("resnet.safetensors");
    fs::write(&file, safetensors::serialize(views, None).unwrap()).unwrap();
    file
}

/// As `torch.save` wrote before PyTorch 1.6, the format of torchvision's older files: five pickles, then the
/// storages.
fn write_pth(stored: &Stored, directory: &Path) -> PathBuf {
    const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let number = |number: usize| [b"J", &(number as i32).to_le_bytes()[..]].concat();
    let tuple = |items: &[Vec<u8>]| [b"(", &items.concat()[..], b"t"].concat();
    let mut file = [b"\x80\x02\x8a\x0a", &MAGIC[..], b".\x80\x02M\xe9\x03."].concat();
    file.extend([b"\x80\x02}", &text("little_endian")[..], b"\x88s."].concat());
    file.extend(b"\x80\x02}(");
    let (mut keys, mut storages) = (Vec::new(), Vec::new());
    for (index, (name, (dtype, shape, bytes))) in stored.iter().enumerate() {
        let (storage, size) = if *dtype == Dtype::I64 { ("LongStorage", 8) } else { ("FloatStorage", 4) };
        let (key, count) = (text(&index.to_string()), bytes.len() / size);
        let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        let dims = |dims: &[usize]| tuple(&dims.iter().map(|&dim| number(dim)).collect::<Vec<_>>());
        let class = format!("ctorch\n{storage}\n").into_bytes();
        let storage = [text("storage"), class, key.clone(), text("cpu"), number(count), b"N".to_vec()];
        let arguments = [
            [&tuple(&storage)[..], b"Q"].concat(),
            number(0),
            dims(shape),
            dims(&strides),
            b"\x89".to_vec(),
            b"ccollections\nOrderedDict\n)R".to_vec(),
        ];
        let rebuild = [b"ctorch._utils\n_rebuild_tensor_v2\n", &tuple(&arguments)[..], b"R"].concat();
        file.extend([text(name), rebuild].concat());
        keys.push(key);
        storages.extend((count as i64).to_le_bytes());
        storages.extend(bytes);
    }
    file.extend([b"u.\x80\x02](", &keys.concat()[..], b"e."].concat());
    file.extend(storages);
    let path = directory.join("resnet.pth");
    fs::write(&path, file).unwrap();
    path
}

/// What both loaders make of the same weights.
fn load(stored: &Stored) -> [Result<ResNet, WeightsError>; 2] {
    let directory = tempfile::tempdir().unwrap();
    let new = || config().init_seeded(2, &Device::flex());
    [
        new().load_safetensors(write_safetensors(stored, directory.path())),
        new().load_pytorch(write_pth(stored, directory.path())),
    ]
}

#[test]
fn files_of_torchvision_are_loaded_without_their_classifier() {
    let model = trained();
    let stored = torchvision_state_dict(&model);
    assert!(stored.contains_key("conv1.weight") && stored.contains_key("layer4.2.bn3.running_var"));
    for loaded in load(&stored) {
        assert_eq!(features(&loaded.unwrap()), features(model.encoder().as_resnet().unwrap()));
    }
    // Files from before PyTorch 0.4.1 have no counters; a backbone alone has no classifier.
    let plain =
        stored.into_iter().filter(|(name, _)| !name.contains("num_batches") && !name.starts_with("fc."));
    for loaded in load(&plain.collect()) {
        assert_eq!(features(&loaded.unwrap()), features(model.encoder().as_resnet().unwrap()));
    }
}

#[test]
fn everything_but_the_classifier_is_strict() {
    let mut stored = torchvision_state_dict(&trained());
    stored.remove("layer1.0.downsample.0.weight").unwrap();
    stored.get_mut("conv1.weight").unwrap().1 = vec![2, 7, 3, 7];
    stored.get_mut("bn1.bias").unwrap().2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    for name in ["fcn.weight", "head.fc.weight", "projector.0.bias"] {
        stored.insert(name.into(), (Dtype::F32, vec![1], vec![0; 4]));
    }
    let name = |name: &str| name.to_owned();
    let unused = |text: &str| WeightProblem::Unused { name: name(text), found: vec![1] };
    let expected = vec![
        WeightProblem::Shape {
            name: name("conv1.weight"),
            expected: vec![2, 3, 7, 7],
            found: vec![2, 7, 3, 7],
        },
        WeightProblem::NotFinite { name: name("bn1.bias"), count: 1 },
        WeightProblem::Missing { name: name("layer1.0.downsample.0.weight"), expected: vec![8, 2, 1, 1] },
        unused("fcn.weight"),
        unused("head.fc.weight"),
        unused("projector.0.bias"),
    ];
    for loaded in load(&stored) {
        let WeightsError::Mismatch { problems, .. } = loaded.unwrap_err() else { panic!("not a mismatch") };
        assert_eq!(problems, expected);
    }
}

#[test]
fn another_depth_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_safetensors(&torchvision_state_dict(&trained()), directory.path());
    let other = ResNetConfig::new(ResNetDepth::ResNet34).with_stem(Stem::ImageNet).with_width(2);
    let error = other.init(&Device::flex()).load_safetensors(file).unwrap_err();
    assert!(matches!(error, WeightsError::Mismatch { .. }), "{error}");
}

#[test]
fn a_loaded_encoder_gets_a_new_head() {
    let model = trained();
    let [encoder, _] = load(&torchvision_state_dict(&model));
    let head = ProjectionHeadConfig::new(64).with_hidden(3).try_init_seeded(0, &Device::flex()).unwrap();
    let whole = MclModel::from_parts(encoder.unwrap(), head).unwrap();
    let embedding = whole.forward(images(&Device::flex()));
    assert_eq!(embedding.features.into_data(), features(model.encoder().as_resnet().unwrap()));
    assert_eq!(embedding.projections.dims(), [2, 128]);
}
