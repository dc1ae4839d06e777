//! The directory of a training run: its settings, its images' fingerprint, its log and its checkpoints.
//!
//! ```text
//! run/config.json              settings, written once
//! run/data.json                what the images were, written once
//! run/train.jsonl              one line a step
//! run/checkpoints/00000500/    model.bpk, optimizer.bpk, state.json, manifest.json
//! run/lock                     held while a run is on
//! ```
//!
//! The two newest checkpoints are kept. One that is damaged is set aside as `00000500.damaged`, and the run goes on
//! from the one before.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Bytes;
use mcl_model::MclModel;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fingerprint::Fingerprint;
use super::{StepReport, TrainConfig, TrainError};
use crate::artifact::{Artifact, ArtifactError, ArtifactWriter, Kind};
use crate::files::{self, FileError};
use crate::progress::Progress;

const CHECKPOINT: Kind = Kind { name: "burn-mcl checkpoint", format: 1 };

/// Checkpoints kept; older ones are deleted.
const KEPT: usize = 2;

/// Where a run is: how many steps are done. The batch order is a function of it and of the seed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct State {
    steps: usize,
}

/// A run directory, opened by one run.
#[derive(Debug)]
pub(super) struct RunDir {
    root: PathBuf,
    log: File,
    /// Unlocked by the system when this is dropped or the process ends, however it ends.
    _lock: File,
}

impl RunDir {
    /// Opens `root` for the run `config` over images with this fingerprint, making it if needed.
    pub(super) fn open(root: &Path, config: &TrainConfig, images: &Fingerprint) -> Result<Self, TrainError> {
        let checkpoints = root.join("checkpoints");
        fs::create_dir_all(&checkpoints).map_err(FileError::on("create", &checkpoints))?;
        let lock = lock(root)?;
        same_or_new(root, "config.json", "", config)?;
        same_or_new(root, "data.json", " of the images", images)?;
        remove_rests(&checkpoints)?;
        let path = root.join("train.jsonl");
        let log =
            OpenOptions::new().create(true).append(true).open(&path).map_err(FileError::on("open", &path))?;
        Ok(Self { root: root.to_path_buf(), log, _lock: lock })
    }

    /// Appends a line to the log.
    pub(super) fn log(&mut self, report: &StepReport) -> Result<(), TrainError> {
        let mut line = serde_json::to_string(report).expect("a report is plain data");
        line.push('\n');
        let written = self.log.write_all(line.as_bytes());
        Ok(written.map_err(FileError::on("write", &self.root.join("train.jsonl")))?)
    }

    /// Writes a checkpoint after `steps` steps and deletes all but the newest. `model` is in evaluation mode: Burn's
    /// running statistics lag a step behind otherwise.
    pub(super) fn save(
        &self,
        steps: usize,
        model: MclModel,
        optimizer: &ModuleOptimizer,
    ) -> Result<PathBuf, TrainError> {
        let target = self.checkpoint(steps);
        let serialized = |bytes: Result<Bytes, RecordError>| {
            bytes.map_err(|error| FileError::on("write", &target)(io::Error::other(error.to_string())))
        };
        let mut writer = ArtifactWriter::new(&target, CHECKPOINT)?;
        writer.write("model.bpk", &serialized(model.into_record().into_bytes())?)?;
        writer.write("optimizer.bpk", &serialized(optimizer.to_record().into_bytes())?)?;
        let state = serde_json::to_vec(&State { steps }).expect("a state is plain data");
        writer.write("state.json", &state)?;
        writer.commit()?;
        self.log.sync_data().map_err(FileError::on("sync", &self.root.join("train.jsonl")))?;
        tracing::info!(step = steps, path = %target.display(), "checkpoint saved");

        let steps = self.steps()?;
        for &old in &steps[..steps.len().saturating_sub(KEPT)] {
            files::remove_dir(&self.checkpoint(old))?;
        }
        Ok(target)
    }

    /// Loads the newest checkpoint that is whole, and cuts the log to the steps it holds: (steps, model, optimizer).
    pub(super) fn load(
        &mut self,
        model: MclModel,
        optimizer: ModuleOptimizer,
        progress: Progress,
    ) -> Result<(usize, MclModel, ModuleOptimizer), TrainError> {
        let steps = self.steps()?;
        let mut damaged = Vec::new();
        for &candidate in steps.iter().rev() {
            match open(&self.checkpoint(candidate)) {
                Err(
                    error @ (ArtifactError::Changed { .. }
                    | ArtifactError::Missing { .. }
                    | ArtifactError::Content { .. }),
                ) => damaged.push((candidate, error)),
                // What the system refuses, or another version wrote, need not be damaged.
                Err(error) => return Err(error.into()),
                Ok((state, artifact)) => {
                    for (steps, error) in damaged {
                        let aside = self.set_aside(steps)?;
                        progress.warn(&format!(
                            "checkpoint {steps} is damaged and was renamed to {}, going on from {}: {error}",
                            aside.display(),
                            state.steps
                        ));
                    }
                    let (model, optimizer) = restore(&artifact, model, optimizer)?;
                    self.truncate_log(state.steps)?;
                    tracing::info!(step = state.steps, "going on from a checkpoint");
                    return Ok((state.steps, model, optimizer));
                }
            }
        }
        match damaged.into_iter().next() {
            Some((_, newest)) => Err(TrainError::NoCheckpoint {
                path: self.root.join("checkpoints"),
                count: steps.len(),
                newest: Box::new(newest),
            }),
            None => {
                self.truncate_log(0)?;
                Ok((0, model, optimizer))
            }
        }
    }

    /// The newest checkpoint of fewer than `steps` steps. One of `steps` steps is set aside: what came of it is not
    /// a number.
    pub(super) fn last_good(&self, steps: usize) -> Option<PathBuf> {
        let found = self.steps().ok()?;
        if found.contains(&steps) {
            self.set_aside(steps).ok()?;
        }
        found.into_iter().rev().find(|&found| found < steps).map(|found| self.checkpoint(found))
    }

    fn checkpoint(&self, steps: usize) -> PathBuf {
        self.root.join("checkpoints").join(format!("{steps:08}"))
    }

    /// Renames a checkpoint, so that it is neither loaded nor counted, nor lost.
    fn set_aside(&self, steps: usize) -> Result<PathBuf, FileError> {
        let path = self.checkpoint(steps);
        let aside = path.with_extension("damaged");
        files::remove_dir(&aside)?;
        fs::rename(&path, &aside).map_err(FileError::on("rename", &path))?;
        Ok(aside)
    }

    /// Steps of the checkpoints, ascending.
    fn steps(&self) -> Result<Vec<usize>, FileError> {
        let path = self.root.join("checkpoints");
        let mut steps = Vec::new();
        for entry in fs::read_dir(&path).map_err(FileError::on("list", &path))? {
            let name = entry.map_err(FileError::on("list", &path))?.file_name();
            steps.extend(name.to_str().and_then(|name| name.parse::<usize>().ok()));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Drops the lines of steps that will be done again.
    fn truncate_log(&mut self, steps: usize) -> Result<(), FileError> {
        let path = self.root.join("train.jsonl");
        let cut = || -> io::Result<()> {
            let mut bytes = 0;
            let mut reader = BufReader::new(File::open(&path)?);
            let mut line = Vec::new();
            for _ in 0..steps {
                line.clear();
                reader.read_until(b'\n', &mut line)?;
                if line.last() != Some(&b'\n') {
                    break;
                }
                bytes += line.len() as u64;
            }
            OpenOptions::new().write(true).open(&path)?.set_len(bytes)
        };
        cut().map_err(FileError::on("cut", &path))
    }
}

/// Removes what a killed run had begun to write.
fn remove_rests(checkpoints: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(checkpoints).map_err(FileError::on("list", checkpoints))? {
        let path = entry.map_err(FileError::on("list", checkpoints))?.path();
        if path.extension().is_some_and(|extension| extension == "partial") {
            files::remove_dir(&path)?;
        }
    }
    Ok(())
}

/// Takes the lock of a run directory.
fn lock(root: &Path) -> Result<File, TrainError> {
    let path = root.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(FileError::on("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TrainError::InUse { path: root.to_path_buf() }),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            tracing::warn!(path = %path.display(), "this file system has no locks: start no second run here");
            Ok(file)
        }
        Err(TryLockError::Error(error)) => Err(FileError::on("lock", &path)(error).into()),
    }
}

/// Opens a checkpoint and checks its files.
fn open(path: &Path) -> Result<(State, Artifact), ArtifactError> {
    let artifact = Artifact::open(path, CHECKPOINT)?;
    Ok((artifact.json("state.json")?, artifact))
}

/// The network and the optimizer with what a checkpoint holds.
fn restore(
    artifact: &Artifact,
    model: MclModel,
    optimizer: ModuleOptimizer,
) -> Result<(MclModel, ModuleOptimizer), ArtifactError> {
    let read = |name: &str| artifact.bytes(name, u64::MAX - 1).map(Bytes::from_bytes_vec);
    let of_model = |error: RecordError| artifact.unusable("model.bpk", error.to_string());
    let record = ModuleRecord::from_bytes(read("model.bpk")?).map_err(of_model)?;
    let model = model.try_load_record(record).map_err(of_model)?;

    let of_optimizer = |reason: String| artifact.unusable("optimizer.bpk", reason);
    let record = OptimizerRecord::from_bytes(read("optimizer.bpk")?);
    let record = record.map_err(|error| of_optimizer(error.to_string()))?;
    let saved = record.len();
    let optimizer = optimizer.load_record(record);
    // Burn skips what it cannot use.
    let loaded = optimizer.to_record().len();
    if loaded != saved {
        return Err(of_optimizer(format!("only {loaded} of {saved} tensors can be used")));
    }
    Ok((model, optimizer))
}

/// Compares a file of the directory with what this run would write there, or writes it.
fn same_or_new(root: &Path, name: &str, of: &str, value: &impl Serialize) -> Result<(), TrainError> {
    let path = root.join(name);
    let expected = serde_json::to_value(value).expect("settings are plain data");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let json = serde_json::to_vec_pretty(value).expect("settings are plain data");
            return Ok(files::replace(&path, &json)?);
        }
        Err(error) => return Err(FileError::on("read", &path)(error).into()),
    };
    let found: Value = serde_json::from_str(&text)
        .map_err(|error| ArtifactError::Content { path, reason: error.to_string() })?;
    match first_difference(&found, &expected) {
        None => Ok(()),
        Some((key, found, expected)) => {
            let setting = format!("{key}{of}");
            Err(TrainError::OtherRun { path: root.to_path_buf(), setting, found, expected })
        }
    }
}

/// The first entry in which two JSON objects differ, and its two values.
fn first_difference(found: &Value, expected: &Value) -> Option<(String, String, String)> {
    if found == expected {
        return None;
    }
    let none = serde_json::Map::new();
    let (found, expected) = (found.as_object().unwrap_or(&none), expected.as_object().unwrap_or(&none));
    let key = expected.keys().chain(found.keys()).find(|key| found.get(*key) != expected.get(*key));
    let key = key.map_or("settings", String::as_str);
    let show = |side: &serde_json::Map<String, Value>| {
        side.get(key).map_or_else(|| "absent".to_string(), ToString::to_string)
    };
    Some((key.to_string(), show(found), show(expected)))
}
