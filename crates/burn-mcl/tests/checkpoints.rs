//! What happens to a run directory that is damaged, shared, or given other images.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::common::{bits, corners, tiny_run};
use burn::tensor::Device;
use burn_mcl::ArtifactError;
use burn_mcl::data::ImageSet;
use burn_mcl::model::MclModel;
use burn_mcl::train::{StepReport, TrainConfig, TrainError, Trainer, load_network, read_history};

fn run_on(images: &ImageSet, dir: &Path, config: TrainConfig) -> Result<MclModel, TrainError> {
    Trainer::new(config, &Device::flex())?.run_dir(dir).fit(images)
}

fn run(dir: &Path, config: TrainConfig) -> Result<MclModel, TrainError> {
    run_on(&corners(16, 0), dir, config)
}

/// Runs until `steps` steps are done.
fn run_until(dir: &Path, config: TrainConfig, steps: usize) {
    let stop = |report: &StepReport| {
        if report.step == steps { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let trainer = Trainer::new(config, &Device::flex()).unwrap().run_dir(dir).observer(stop);
    assert!(matches!(trainer.fit(&corners(16, 0)), Err(TrainError::Stopped { .. })));
}

fn checkpoints(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

type Damage<'a> = &'a dyn Fn(&Path);

#[test]
fn the_log_of_a_run_without_checkpoints_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), tiny_run(4)).unwrap();
    fs::remove_dir_all(dir.path().join("checkpoints")).unwrap();
    let lines = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap().lines().count();
    run(dir.path(), tiny_run(2)).unwrap();
    assert_eq!((lines("train.jsonl.previous"), lines("train.jsonl")), (4, 2));
}

#[test]
fn a_damaged_checkpoint_is_set_aside_for_the_one_before() {
    let whole = tempfile::tempdir().unwrap();
    let expected = bits(&run(whole.path(), tiny_run(9)).unwrap());

    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(path, bytes).unwrap();
    };
    let damages: [(&str, Damage); 6] = [
        ("model.bpk", &cut),
        ("model.bpk", &flip),
        ("optimizer.bpk", &flip),
        ("state.json", &cut),
        ("manifest.json", &cut),
        ("optimizer.bpk", &|path| fs::remove_file(path).unwrap()),
    ];
    for (file, damage) in damages {
        let dir = tempfile::tempdir().unwrap();
        run_until(dir.path(), tiny_run(9), 7); // checkpoints at 6 and 7
        assert_eq!(checkpoints(dir.path()), ["00000006", "00000007"]);
        fs::create_dir(dir.path().join("checkpoints/00000008.partial")).unwrap(); // from a kill
        damage(&dir.path().join("checkpoints/00000007").join(file));

        let mut first = None;
        let observer = |report: &StepReport| {
            first.get_or_insert(report.step);
            ControlFlow::Continue(())
        };
        let trainer = Trainer::new(tiny_run(9), &Device::flex()).unwrap().run_dir(dir.path());
        let resumed = bits(&trainer.observer(observer).fit(&corners(16, 0)).unwrap());
        assert_eq!(first, Some(7), "{file}: it went on from 6");
        assert!(resumed == expected, "{file}: other weights than those of a run never stopped");
        assert_eq!(checkpoints(dir.path()), ["00000007.damaged", "00000008", "00000009"], "{file}");
    }
}

#[test]
fn without_any_whole_checkpoint_a_run_does_not_start_over_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), tiny_run(4)).unwrap();
    for steps in ["00000002", "00000004"] {
        cut(&dir.path().join("checkpoints").join(steps).join("model.bpk"));
    }
    match run(dir.path(), tiny_run(4)) {
        Err(TrainError::NoCheckpoint { count: 2, newest, .. }) => match *newest {
            ArtifactError::Changed { path, .. } => assert!(path.ends_with("00000004/model.bpk"), "{path:?}"),
            other => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    }
    assert_eq!(checkpoints(dir.path()), ["00000002", "00000004"], "nothing was renamed or deleted");
}

#[test]
fn a_checkpoint_of_a_newer_version_is_not_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    run_until(dir.path(), tiny_run(9), 7);
    let manifest = dir.path().join("checkpoints/00000007/manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    let error = run(dir.path(), tiny_run(9)).unwrap_err();
    assert!(matches!(error, TrainError::RunDir(ArtifactError::Newer { found: 2, .. })), "{error}");
    assert_eq!(checkpoints(dir.path()), ["00000006", "00000007"]);
}

#[test]
fn a_second_run_in_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().into();
    let second = |_: &StepReport| {
        match run(&path, tiny_run(3)) {
            Err(TrainError::InUse { path: found }) => assert_eq!(found, path),
            other => panic!("{other:?}"),
        }
        ControlFlow::Continue(())
    };
    let first = Trainer::new(tiny_run(3), &Device::flex()).unwrap().run_dir(&path).observer(second);
    first.fit(&corners(16, 0)).unwrap();
    run(&path, tiny_run(3)).unwrap(); // the first one has ended
}

#[test]
fn other_images_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    run_until(dir.path(), tiny_run(9), 3);
    let images = corners(16, 0);
    let refused = |images: &ImageSet| match run_on(images, dir.path(), tiny_run(9)) {
        Err(TrainError::OtherRun { setting, .. }) => setting,
        other => panic!("{other:?}"),
    };
    let names = images.class_names().to_vec();
    let mut pixels = images.iter_pixels().collect::<Vec<_>>().concat();
    pixels[100] ^= 1;
    let changed = ImageSet::new(pixels, (8, 8), images.labels().to_vec(), names.clone()).unwrap();
    assert_eq!(refused(&changed), "sha256 of the images");
    let mut labels = images.labels().to_vec();
    labels.swap(0, 1);
    let relabelled =
        ImageSet::new(images.iter_pixels().collect::<Vec<_>>().concat(), (8, 8), labels, names).unwrap();
    assert_eq!(refused(&relabelled), "sha256 of the images");
    assert_eq!(refused(&images.take(24)), "count of the images");
    run_on(&images, dir.path(), tiny_run(9)).unwrap();
}

#[test]
fn other_settings_are_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), tiny_run(2)).unwrap();
    match run(dir.path(), tiny_run(2).with_momentum(0.5)) {
        Err(TrainError::OtherRun { setting, found, expected, .. }) => {
            assert_eq!((setting.as_str(), found.as_str(), expected.as_str()), ("momentum", "0.9", "0.5"));
        }
        other => panic!("{other:?}"),
    }
    fs::write(dir.path().join("config.json"), "{").unwrap();
    let error = run(dir.path(), tiny_run(2)).unwrap_err();
    assert!(matches!(error, TrainError::RunDir(ArtifactError::Content { .. })), "{error}");
}

#[test]
fn what_decides_nothing_may_change_and_what_was_not_stored_is_the_default() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), tiny_run(2)).unwrap();
    let path = dir.path().join("config.json");
    let mut stored: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    stored.as_object_mut().unwrap().remove("nesterov").unwrap(); // as if an earlier version had not known it
    fs::write(&path, stored.to_string()).unwrap();
    run(dir.path(), tiny_run(2).with_checkpoint_every(5)).unwrap();
    match run(dir.path(), tiny_run(2).with_nesterov(false)) {
        Err(TrainError::OtherRun { setting, .. }) => assert_eq!(setting, "nesterov"),
        other => panic!("{other:?}"),
    }
}

/// What the checkpoints were trained on cannot be made up again.
#[test]
fn a_run_without_its_settings_or_its_data_is_refused() {
    for name in ["data.json", "config.json"] {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path(), tiny_run(2)).unwrap();
        fs::remove_file(dir.path().join(name)).unwrap();
        match run_on(&corners(16, 9), dir.path(), tiny_run(2)) {
            Err(TrainError::RunDir(ArtifactError::Missing { path })) => assert!(path.ends_with(name)),
            other => panic!("{name}: {other:?}"),
        }
        assert!(!dir.path().join(name).exists(), "it is not made anew");
    }
}

#[test]
fn a_schedule_that_another_version_made_of_the_same_settings_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), tiny_run(9)).unwrap();
    let path = dir.path().join("schedule.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"warmup_steps\": 3", "\"warmup_steps\": 4")).unwrap();
    match run(dir.path(), tiny_run(9)) {
        Err(TrainError::OtherRun { setting, found, expected, .. }) => {
            assert_eq!(
                (setting.as_str(), found, expected),
                ("warmup_steps of the schedule", "4".into(), "3".into())
            );
        }
        other => panic!("{other:?}"),
    }
    fs::remove_file(&path).unwrap(); // as an earlier version left it
    run(dir.path(), tiny_run(9)).unwrap();
}

#[test]
fn a_log_that_was_lost_on_the_way_repeats_no_step() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("train.jsonl");
    run_until(dir.path(), tiny_run(8), 4);
    fs::remove_file(&log).unwrap();
    run_until(dir.path(), tiny_run(8), 7);
    fs::remove_dir_all(dir.path().join("checkpoints/00000007")).unwrap(); // killed after 7, saved after 6
    run(dir.path(), tiny_run(8)).unwrap();
    let logged: Vec<usize> = read_history(dir.path()).unwrap().iter().map(|report| report.step).collect();
    assert_eq!(logged, [5, 6, 7, 8]);
}

#[test]
fn what_cannot_be_learned_is_refused_before_the_first_step() {
    let dir = tempfile::tempdir().unwrap();
    let lefts: Vec<usize> = (0..32).step_by(2).collect();
    let refused = run_on(&corners(16, 0).subset(&lefts).unwrap(), dir.path(), tiny_run(2));
    assert!(matches!(refused, Err(TrainError::EmptyClass { name }) if name == "right"));
    match run(dir.path(), tiny_run(9).with_warmup_steps(Some(9))) {
        Err(TrainError::Config { setting: "warmup_steps", value, .. }) => assert_eq!(value, "9"),
        other => panic!("{other:?}"),
    }
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing is written");
    run(dir.path(), tiny_run(9).with_warmup_steps(Some(8))).unwrap();
}

#[test]
fn where_nothing_was_trained_other_settings_and_images_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    run_until(dir.path(), tiny_run(9), 1);
    fs::remove_dir_all(dir.path().join("checkpoints/00000001")).unwrap();
    run_on(&corners(12, 7), dir.path(), tiny_run(2).with_seed(8)).unwrap();
    run_on(&corners(12, 7), dir.path(), tiny_run(2).with_seed(8)).unwrap();
    assert!(matches!(run(dir.path(), tiny_run(9)), Err(TrainError::OtherRun { .. })));
}

#[test]
fn files_that_no_run_wrote_are_kept() {
    for name in ["config.json", "data.json", "train.jsonl", "best"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, "mine").unwrap();
        let error = run(dir.path(), tiny_run(2)).unwrap_err();
        assert!(matches!(&error, TrainError::Foreign { path: found } if *found == path), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was written");
    }
}

#[test]
fn the_network_of_a_run_is_read_back_from_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let load = |path: &Path| load_network(path, &Device::flex());
    let expected = bits(&run(dir.path(), tiny_run(4)).unwrap());
    let (config, model) = load(dir.path()).unwrap();
    assert_eq!(config, tiny_run(4));
    assert!(bits(&model) == expected, "other weights than those of the run");

    // Of a damaged checkpoint the one before is taken, and nothing is renamed.
    cut(&dir.path().join("checkpoints/00000004/model.bpk"));
    let (_, model) = load(dir.path()).unwrap();
    assert!(bits(&model) != expected);
    assert_eq!(checkpoints(dir.path()), ["00000002", "00000004"]);
    fs::remove_dir_all(dir.path().join("checkpoints/00000002")).unwrap();
    assert!(matches!(load(dir.path()), Err(TrainError::NoCheckpoint { count: 1, .. })));
    fs::remove_dir_all(dir.path().join("checkpoints/00000004")).unwrap();
    assert!(matches!(load(dir.path()), Err(TrainError::Untrained { .. })));
    assert!(matches!(load(&dir.path().join("nowhere")), Err(TrainError::RunDir(_))));
}

#[test]
fn a_loss_that_is_not_a_number_stops_the_run_and_names_the_last_good_weights() {
    let dir = tempfile::tempdir().unwrap();
    let mut losses = Vec::new();
    let observer = |report: &StepReport| {
        losses.push(report.loss);
        ControlFlow::Continue(())
    };
    let config = tiny_run(40).with_learning_rate(Some(1e30)).with_checkpoint_every(1);
    let trainer = Trainer::new(config, &Device::flex()).unwrap().run_dir(dir.path()).observer(observer);
    let (step, checkpoint) = match trainer.fit(&corners(16, 0)) {
        Err(TrainError::NonFiniteLoss { loss, step, checkpoint }) => {
            assert!(!loss.is_finite());
            (step, checkpoint)
        }
        Err(TrainError::NonFiniteWeights { step, checkpoint }) => (step, checkpoint),
        other => panic!("{other:?}"),
    };
    assert!(losses.iter().all(|loss| loss.is_finite()));
    // The checkpoint that led to it is not among those to go on from.
    assert!(!checkpoints(dir.path()).contains(&format!("{step:08}")), "{:?}", checkpoints(dir.path()));
    if let Some(checkpoint) = checkpoint {
        assert!(checkpoint.join("model.bpk").exists() && step > 1);
    }
}
