//! The directory of a training run: its settings, its log and its checkpoints.
//!
//! ```text
//! run/config.json              settings, written once
//! run/train.jsonl              one line a step
//! run/checkpoints/00000500/    model.bpk, optimizer.bpk, state.json
//! ```
//!
//! A checkpoint is written under another name and renamed when it is whole: one that is there is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::ModuleRecord;
use mcl_model::MclModel;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{StepReport, TrainConfig, TrainError};

/// Checkpoints kept; older ones are deleted.
const KEPT: usize = 2;

/// Position of a run: how many steps are done. The batch order is a function of it and of the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    steps: usize,
    images: usize,
}

/// A run directory, opened by one run.
#[derive(Debug)]
pub(super) struct RunDir {
    root: PathBuf,
    log: File,
}

impl RunDir {
    /// Opens `root` for the run `config` over `images` images, making it if needed.
    pub(super) fn open(root: &Path, config: &TrainConfig) -> Result<Self, TrainError> {
        let io = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| TrainError::Io { action, path, source }
        };
        let checkpoints = root.join("checkpoints");
        fs::create_dir_all(&checkpoints).map_err(io("create", &checkpoints))?;

        let path = root.join("config.json");
        match fs::read_to_string(&path) {
            Ok(text) => same_run(root, &text, config)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let json = serde_json::to_string_pretty(config).expect("settings are plain data");
                let partial = root.join("config.json.partial");
                fs::write(&partial, json).map_err(io("write", &partial))?;
                fs::rename(&partial, &path).map_err(io("rename", &partial))?;
            }
            Err(source) => return Err(TrainError::Io { action: "read", path, source }),
        }

        let path = root.join("train.jsonl");
        let log = OpenOptions::new().create(true).append(true).open(&path).map_err(io("open", &path))?;
        Ok(Self { root: root.to_path_buf(), log })
    }

    /// Appends a line to the log.
    pub(super) fn log(&mut self, report: &StepReport) -> Result<(), TrainError> {
        let mut line = serde_json::to_string(report).expect("a report is plain data");
        line.push('\n');
        self.log.write_all(line.as_bytes()).map_err(|source| TrainError::Io {
            action: "write",
            path: self.root.join("train.jsonl"),
            source,
        })
    }

    /// Writes a checkpoint after `steps` steps and deletes all but the newest.
    pub(super) fn save(
        &self,
        steps: usize,
        images: usize,
        model: &MclModel,
        optimizer: &ModuleOptimizer,
    ) -> Result<(), TrainError> {
        let name = format!("{steps:08}");
        let target = self.checkpoints().join(&name);
        let partial = self.checkpoints().join(format!("{name}.partial"));
        let failed = |reason: String| TrainError::Checkpoint { path: target.clone(), reason };
        let io = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| TrainError::Io { action, path, source }
        };

        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(io("remove", &partial))?;
        }
        fs::create_dir_all(&partial).map_err(io("create", &partial))?;
        // Burn's running statistics lag a step behind until `valid` brings them up to date.
        model
            .valid()
            .into_record()
            .save(partial.join("model.bpk"))
            .map_err(|error| failed(error.to_string()))?;
        optimizer
            .to_record()
            .save(partial.join("optimizer.bpk"))
            .map_err(|error| failed(error.to_string()))?;
        let state = serde_json::to_vec(&State { steps, images }).expect("a state is plain data");
        let path = partial.join("state.json");
        fs::write(&path, state).map_err(io("write", &path))?;
        for file in ["model.bpk", "optimizer.bpk", "state.json"] {
            let path = partial.join(file);
            File::open(&path).and_then(|file| file.sync_all()).map_err(io("sync", &path))?;
        }
        if target.exists() {
            fs::remove_dir_all(&target).map_err(io("remove", &target))?;
        }
        fs::rename(&partial, &target).map_err(io("rename", &partial))?;

        let steps = self.steps()?;
        for old in &steps[..steps.len().saturating_sub(KEPT)] {
            let path = self.checkpoints().join(format!("{old:08}"));
            fs::remove_dir_all(&path).map_err(io("remove", &path))?;
        }
        Ok(())
    }

    /// Loads the newest checkpoint, and cuts the log to the steps it holds: (steps, model, optimizer).
    pub(super) fn load(
        &mut self,
        images: usize,
        model: MclModel,
        optimizer: ModuleOptimizer,
    ) -> Result<(usize, MclModel, ModuleOptimizer), TrainError> {
        let Some(&newest) = self.steps()?.last() else {
            self.truncate_log(0)?;
            return Ok((0, model, optimizer));
        };
        let path = self.checkpoints().join(format!("{newest:08}"));
        let failed = |reason: String| TrainError::Checkpoint { path: path.clone(), reason };

        let state = fs::read(path.join("state.json")).map_err(|error| failed(error.to_string()))?;
        let state: State = serde_json::from_slice(&state).map_err(|error| failed(error.to_string()))?;
        if state.images != images {
            return Err(TrainError::OtherRun {
                path: self.root.clone(),
                setting: "number of training images".into(),
                found: state.images.to_string(),
                expected: images.to_string(),
            });
        }
        let record = ModuleRecord::load(path.join("model.bpk")).map_err(|error| failed(error.to_string()))?;
        let model = model.try_load_record(record).map_err(|error| failed(error.to_string()))?;
        let record =
            OptimizerRecord::load(path.join("optimizer.bpk")).map_err(|error| failed(error.to_string()))?;
        let optimizer = optimizer.load_record(record);
        self.truncate_log(state.steps)?;
        Ok((state.steps, model, optimizer))
    }

    /// Steps done at the newest checkpoint.
    pub(super) fn newest(&self) -> Option<usize> {
        self.steps().ok()?.last().copied()
    }

    fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Steps of the complete checkpoints, ascending.
    fn steps(&self) -> Result<Vec<usize>, TrainError> {
        let path = self.checkpoints();
        let entries =
            fs::read_dir(&path).map_err(|source| TrainError::Io { action: "list", path, source })?;
        let mut steps: Vec<usize> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Drops the lines of steps that will be done again.
    fn truncate_log(&mut self, steps: usize) -> Result<(), TrainError> {
        let path = self.root.join("train.jsonl");
        let cut = || -> std::io::Result<()> {
            let mut bytes = 0;
            let mut reader = BufReader::new(File::open(&path)?);
            let mut line = String::new();
            for _ in 0..steps {
                line.clear();
                if reader.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                    break;
                }
                bytes += line.len() as u64;
            }
            OpenOptions::new().write(true).open(&path)?.set_len(bytes)
        };
        cut().map_err(|source| TrainError::Io { action: "cut", path: path.clone(), source })
    }
}

/// Compares the settings in a directory with those of the run that opens it.
fn same_run(root: &Path, text: &str, config: &TrainConfig) -> Result<(), TrainError> {
    let path = root.join("config.json");
    let found: Value = serde_json::from_str(text)
        .map_err(|error| TrainError::Checkpoint { path, reason: error.to_string() })?;
    let expected = serde_json::to_value(config).expect("settings are plain data");
    if found == expected {
        return Ok(());
    }
    let none = serde_json::Map::new();
    let (found, expected) = (found.as_object().unwrap_or(&none), expected.as_object().unwrap_or(&none));
    let setting =
        expected.keys().chain(found.keys()).find(|key| found.get(*key) != expected.get(*key)).cloned();
    let setting = setting.unwrap_or_else(|| "configuration".into());
    let show = |side: &serde_json::Map<String, Value>| {
        side.get(&setting).map_or_else(|| "absent".to_string(), ToString::to_string)
    };
    Err(TrainError::OtherRun {
        path: root.to_path_buf(),
        found: show(found),
        expected: show(expected),
        setting,
    })
}
