//! Files of weights: round trips, and everything that can be wrong with them.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use common::{Golden, assert_within};
use mcl_model::{MclModel, MclModelConfig, ResNetConfig, ResNetDepth, WeightProblem, WeightsError};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

fn small() -> MclModelConfig {
    let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(2);
    MclModelConfig::new(resnet).with_hidden(8).with_projection_dim(4)
}

/// Different values everywhere, inside [0, 1].
fn images(count: usize, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (0..count * 3 * 12 * 12).map(|i| (i as f32 * 0.37).sin() * 0.5 + 0.5).collect();
    Tensor::from_data(TensorData::new(values, [count, 3, 12, 12]), device)
}

fn projections(model: &MclModel, device: &Device) -> TensorData {
    model.forward(images(2, device)).projections.into_data()
}

fn save(model: &MclModel, directory: &Path) -> std::path::PathBuf {
    let file = directory.join("weights.safetensors");
    model.save_safetensors(&file).unwrap();
    file
}

#[test]
fn what_is_saved_is_loaded_bit_for_bit() {
    let directory = tempfile::tempdir().unwrap();
    let device = Device::flex().autodiff();
    // A training step moves the running statistics away from 0 and 1.
    let model = small().init_seeded(1, &device);
    model.forward(images(4, &device));
    let file = save(&model, directory.path());

    let plain = Device::flex();
    let loaded = small().init(&plain).load_safetensors(&file).unwrap();
    assert_eq!(projections(&loaded, &plain), projections(&model.valid(), &plain));
    let again = directory.path().join("again.safetensors");
    loaded.save_safetensors(&again).unwrap();
    assert_eq!(fs::read(file).unwrap(), fs::read(again).unwrap());
}

#[test]
fn weights_not_yet_drawn_are_saved_as_they_will_be() {
    let directory = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let model = small().init(&device);
    let file = save(&model, directory.path());
    let loaded = small().init(&device).load_safetensors(file).unwrap();
    assert_eq!(projections(&loaded, &device), projections(&model, &device));
}

#[test]
fn a_loaded_model_trains() {
    let directory = tempfile::tempdir().unwrap();
    let device = Device::flex().autodiff();
    let file = save(&small().init_seeded(1, &device), directory.path());
    let model = small().init(&device).load_safetensors(file).unwrap();
    let gradients = model.forward(images(2, &device)).projections.mean().backward();
    let weight = first_weight(&model);
    assert!(weight.grad(&gradients).is_some());
}

/// The first convolution, as a tensor that can have a gradient.
fn first_weight(model: &MclModel) -> Tensor<4> {
    use burn::module::{ModuleVisitor, Param};
    struct First(Option<Tensor<4>>);
    impl ModuleVisitor for First {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.0.is_none() {
                let value: Box<dyn std::any::Any> = Box::new(param.val());
                self.0 = value.downcast::<Tensor<4>>().ok().map(|tensor| *tensor);
            }
        }
    }
    let mut first = First(None);
    model.visit(&mut first);
    first.0.unwrap()
}

#[test]
fn loading_into_a_clone_leaves_the_original() {
    let directory = tempfile::tempdir().unwrap();
    let device = Device::flex().autodiff();
    let trained = small().init_seeded(1, &device);
    trained.forward(images(4, &device));
    let file = save(&trained, directory.path());

    let plain = Device::flex();
    let original = small().init_seeded(2, &plain);
    let before = projections(&original, &plain);
    let loaded = original.clone().load_safetensors(file).unwrap();
    assert_eq!(projections(&original, &plain), before);
    assert_ne!(projections(&loaded, &plain), before);
}

#[test]
fn an_update_that_waits_does_not_undo_a_load() {
    let directory = tempfile::tempdir().unwrap();
    let device = Device::flex().autodiff();
    let file = save(&small().init_seeded(1, &device), directory.path());
    let used = small().init_seeded(2, &device);
    used.forward(images(4, &device));
    let loaded = used.load_safetensors(file).unwrap().valid();
    let plain = Device::flex();
    assert_eq!(projections(&loaded, &plain), projections(&small().init_seeded(1, &plain), &plain));
}

#[test]
fn a_failed_save_leaves_the_old_file_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let model = small().init_seeded(1, &Device::flex());
    let error = model.save_safetensors(directory.path().join("none/weights.safetensors")).unwrap_err();
    assert!(matches!(error, WeightsError::Write { .. }), "{error}");
    // A directory cannot be replaced by a file.
    let occupied = directory.path().join("occupied");
    fs::create_dir(&occupied).unwrap();
    fs::write(occupied.join("file"), b"keep").unwrap();
    let error = model.save_safetensors(&occupied).unwrap_err();
    assert!(matches!(error, WeightsError::Write { .. }), "{error}");
    assert_eq!(fs::read(occupied.join("file")).unwrap(), b"keep");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_missing_file_is_said_to_be_missing() {
    let device = Device::flex();
    for error in [
        small().init(&device).load_safetensors("no/such/file").unwrap_err(),
        small().init(&device).load_pytorch("no/such/file").unwrap_err(),
    ] {
        assert!(
            matches!(&error, WeightsError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
        );
        assert!(error.to_string().contains("no/such/file"), "{error}");
    }
}

/// Tensors as safetensors stores them.
type Stored = HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn stored(model: &MclModel) -> Stored {
    let directory = tempfile::tempdir().unwrap();
    let content = fs::read(save(model, directory.path())).unwrap();
    let file = SafeTensors::deserialize(&content).unwrap();
    let entry = |(name, view): (String, TensorView<'_>)| {
        (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    file.tensors().into_iter().map(entry).collect()
}

fn load(stored: &Stored) -> Result<MclModel, WeightsError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("weights.safetensors");
    let views = stored.iter().map(|(name, (dtype, shape, bytes))| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    fs::write(&file, safetensors::serialize(views, None).unwrap()).unwrap();
    small().init(&Device::flex()).load_safetensors(file)
}

fn problems(stored: &Stored) -> (Vec<WeightProblem>, String) {
    match load(stored).unwrap_err() {
        error @ WeightsError::Mismatch { .. } => {
            let text = error.to_string();
            let WeightsError::Mismatch { problems, .. } = error else { unreachable!() };
            (problems, text)
        }
        error => panic!("{error}"),
    }
}

#[test]
fn every_difference_is_listed() {
    let mut stored = stored(&small().init_seeded(1, &Device::flex()));
    stored.remove("enc.layer1.0.conv1.weight").unwrap();
    let shape = stored.get_mut("projector.0.weight").unwrap();
    assert_eq!(shape.1, [8, 16]);
    shape.1 = vec![16, 8];
    stored.get_mut("enc.bn1.weight").unwrap().0 = Dtype::I32;
    stored.get_mut("enc.bn1.bias").unwrap().2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    stored.get_mut("enc.bn1.running_var").unwrap().2[..4].copy_from_slice(&(-1.0_f32).to_le_bytes());
    stored.insert("fc.weight".into(), (Dtype::F32, vec![1], vec![0; 4]));
    stored.insert("fc.num_batches_tracked".into(), (Dtype::I64, vec![], vec![0; 8]));

    let (problems, text) = problems(&stored);
    let name = |name: &str| name.to_owned();
    let expected = vec![
        WeightProblem::Type { name: name("enc.bn1.weight"), found: name("i32") },
        WeightProblem::NotFinite { name: name("enc.bn1.bias"), count: 1 },
        WeightProblem::NegativeVariance { name: name("enc.bn1.running_var"), count: 1 },
        WeightProblem::Missing { name: name("enc.layer1.0.conv1.weight"), expected: vec![2, 2, 3, 3] },
        WeightProblem::Shape { name: name("projector.0.weight"), expected: vec![8, 16], found: vec![16, 8] },
        WeightProblem::Unused { name: name("fc.num_batches_tracked"), found: vec![] },
        WeightProblem::Unused { name: name("fc.weight"), found: vec![1] },
    ];
    assert_eq!(problems, expected);
    for problem in &problems {
        assert!(text.contains(&problem.to_string()), "{text}");
    }
    assert!(text.contains("7 problems"), "{text}");
}

#[test]
fn another_network_is_refused_with_all_its_differences() {
    let file = common::path("resnet18-w8.pt");
    let wider = ResNetConfig::new(ResNetDepth::ResNet18).with_width(16);
    let config = MclModelConfig::new(wider).with_hidden(32).with_projection_dim(16);
    let error = config.init(&Device::flex()).load_pytorch(file).unwrap_err();
    let WeightsError::Mismatch { problems, .. } = error else { panic!("{error}") };
    // 20 convolutions, 20 batch norms of 4, and the first linear layer; biases and the second one fit.
    assert_eq!(problems.len(), 20 + 20 * 4 + 1);
    assert!(problems.iter().all(|problem| matches!(problem, WeightProblem::Shape { .. })));

    let error =
        common::resnet50().init(&Device::flex()).load_pytorch(common::path("resnet18-w8.pt")).unwrap_err();
    let WeightsError::Mismatch { problems, .. } = error else { panic!("{error}") };
    assert!(problems.iter().any(|problem| matches!(problem, WeightProblem::Missing { .. })));
}

#[test]
fn wrappers_and_missing_counters_are_accepted() {
    let device = Device::flex();
    let model = small().init_seeded(1, &device);
    let plain = stored(&model);
    for prefix in ["module.", "_orig_mod.", "module._orig_mod."] {
        let wrapped =
            plain.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect();
        assert_eq!(projections(&load(&wrapped).unwrap(), &device), projections(&model, &device));
    }
    // The encoder alone in DataParallel.
    let inside =
        plain.iter().map(|(name, tensor)| (name.replace("enc.", "enc.module."), tensor.clone())).collect();
    assert_eq!(projections(&load(&inside).unwrap(), &device), projections(&model, &device));

    let mut counters = plain.clone();
    counters.retain(|name, _| !name.ends_with("num_batches_tracked"));
    assert_eq!(plain.len() - counters.len(), 20);
    assert_eq!(projections(&load(&counters).unwrap(), &device), projections(&model, &device));

    // Two tensors that would become one.
    let mut twice = plain.clone();
    twice.insert("module.enc.bn1.weight".into(), plain["enc.bn1.weight"].clone());
    assert!(matches!(load(&twice).unwrap_err(), WeightsError::Format { .. }));
}

#[test]
fn half_and_double_precision_are_converted() {
    let device = Device::flex();
    let model = small().init_seeded(1, &device);
    let (mut double, mut half) = (stored(&model), stored(&model));
    let values = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    for (dtype, _, bytes) in double.values_mut().filter(|tensor| tensor.0 == Dtype::F32) {
        *bytes = values(bytes).iter().flat_map(|&value| f64::from(value).to_le_bytes()).collect();
        *dtype = Dtype::F64;
    }
    assert_eq!(projections(&load(&double).unwrap(), &device), projections(&model, &device));
    for (dtype, _, bytes) in half.values_mut().filter(|tensor| tensor.0 == Dtype::F32) {
        // bf16 is the upper half of f32.
        *bytes = values(bytes).iter().flat_map(|value| value.to_le_bytes()[2..].to_vec()).collect();
        *dtype = Dtype::BF16;
    }
    let rounded = projections(&load(&half).unwrap(), &device);
    assert_within("bf16", &rounded, &projections(&model, &device), 0.05);

    // Finite as f64, infinite as f32.
    double.get_mut("projector.2.bias").unwrap().2[..8].copy_from_slice(&1e300_f64.to_le_bytes());
    let (problems, _) = problems(&double);
    assert_eq!(problems, [WeightProblem::NotFinite { name: "projector.2.bias".into(), count: 1 }]);
}

#[test]
fn a_file_far_too_large_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sparse.safetensors");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = small().init(&Device::flex()).load_safetensors(path).unwrap_err();
    assert!(matches!(error, WeightsError::TooLarge { bytes, .. } if bytes == 1 << 40), "{error}");
}

/// Loads damaged copies of a file: truncated at many places, and with single bytes changed.
fn damage(original: &Path, load: impl Fn(&Path) -> Result<MclModel, WeightsError>) -> [usize; 2] {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("damaged");
    let content = fs::read(original).unwrap();
    let (mut refused, mut accepted) = (0, 0);
    let mut attempt = |content: &[u8], may_load: bool| {
        fs::write(&file, content).unwrap();
        match load(&file) {
            Ok(_) => {
                assert!(may_load, "a truncated file was accepted");
                accepted += 1;
            }
            Err(WeightsError::Format { .. } | WeightsError::Mismatch { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    };
    let places =
        (0..64).chain((1..40).map(|part| content.len() * part / 40)).chain(content.len() - 64..content.len());
    for place in places {
        attempt(&content[..place], false);
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = content.clone();
            changed[place] ^= flip;
            attempt(&changed, true);
        }
    }
    [refused, accepted]
}

#[test]
fn damaged_safetensors_are_refused_without_panic() {
    let directory = tempfile::tempdir().unwrap();
    let file = save(&small().init_seeded(1, &Device::flex()), directory.path());
    let [refused, accepted] = damage(&file, |path| small().init(&Device::flex()).load_safetensors(path));
    // The format has no checksum: a changed value is a value.
    assert!(refused > 200 && accepted > 0, "{refused} refused, {accepted} accepted");
}

#[test]
fn damaged_checkpoints_are_refused_without_panic() {
    let load = |path: &Path| common::resnet34_imagenet().init(&Device::flex()).load_pytorch(path);
    let [refused, accepted] = damage(&common::path("resnet34-w2-imagenet.pt"), load);
    assert!(refused > 200, "{refused} refused, {accepted} accepted");
}

#[test]
fn one_format_is_not_taken_for_the_other() {
    let device = Device::flex();
    let error =
        common::resnet50().init(&device).load_pytorch(common::path("resnet50-w8.safetensors")).unwrap_err();
    assert!(matches!(error, WeightsError::Format { format: "PyTorch", .. }), "{error}");
    let error =
        common::resnet18().init(&device).load_safetensors(common::path("resnet18-w8.pt")).unwrap_err();
    assert!(matches!(error, WeightsError::Format { format: "safetensors", .. }), "{error}");
}

/// `os.system("touch <witness>")` by every opcode of pickle that calls something. Python runs all of them.
#[test]
fn a_pickle_that_calls_something_is_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let (file, witness) = (directory.path().join("evil.pt"), directory.path().join("witness"));
    let command = format!("touch {}", witness.display());
    let text = [b"X", &(command.len() as u32).to_le_bytes()[..], command.as_bytes()].concat();
    let evals = format!("__import__('os').system('{command}')");
    let eval_text = [b"X", &(evals.len() as u32).to_le_bytes()[..], evals.as_bytes()].concat();
    let attacks: [(&str, Vec<u8>); 5] = [
        ("REDUCE", [b"\x80\x02cposix\nsystem\n", &text[..], b"\x85R."].concat()),
        ("STACK_GLOBAL", [b"\x80\x04\x8c\x05posix\x8c\x06system\x93", &text[..], b"\x85R."].concat()),
        ("INST", [b"(", &text[..], b"iposix\nsystem\n."].concat()),
        ("OBJ", [b"\x80\x02(cposix\nsystem\n", &text[..], b"o."].concat()),
        ("eval", [b"\x80\x02c__builtin__\neval\n", &eval_text[..], b"\x85R."].concat()),
    ];
    for (opcode, pickle) in attacks {
        fs::write(&file, pickle).unwrap();
        let error = small().init(&Device::flex()).load_pytorch(&file).unwrap_err();
        assert!(matches!(error, WeightsError::Format { .. }), "{opcode}: {error}");
        assert!(!witness.exists(), "{opcode} was run");
    }
}

#[test]
fn both_formats_give_the_same_model() {
    let directory = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let golden = Golden::open("resnet18-w8");
    let model = common::resnet18().init(&device).load_pytorch(common::path("resnet18-w8.pt")).unwrap();
    let file = save(&model, directory.path());
    let again = common::resnet18().init(&device).load_safetensors(file).unwrap();
    let run = |model: &MclModel| model.forward(golden.tensor("images", &device)).projections.into_data();
    assert_eq!(run(&model), run(&again));
}
