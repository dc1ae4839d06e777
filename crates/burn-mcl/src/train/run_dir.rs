//! The directory of a training run: its settings, its images' fingerprint, its log and its checkpoints.
//!
//! ```text
//! run/config.json              settings, written before the first step
//! run/data.json                what the images were, written before the first step
//! run/schedule.json            learning rates that the settings amount to, written before the first step
//! run/train.jsonl              one line a step
//! run/checkpoints/00000500/    model.bpk, optimizer.bpk, state.json, manifest.json
//! run/lock                     held while a run is on
//! ```
//!
//! The two newest checkpoints are kept. One that is damaged is set aside as `00000500.damaged`, and the run goes on
//! from the one before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Bytes;
use mcl_model::MclModel;
use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::lock::lock;
use super::{Schedule, StepReport, TrainConfig, TrainError, stored};
use crate::artifact::{Artifact, ArtifactError, ArtifactWriter, Kind};
use crate::files::{self, FileError};
use crate::progress::Progress;

const CHECKPOINT: Kind = Kind { name: "burn-mcl checkpoint", format: 1 };

/// Checkpoints kept; older ones are deleted.
const KEPT: usize = 2;

/// Where a run is: how many steps are done. The batch order is a function of it and of the seed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) steps: usize,
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
    pub(super) fn open(
        root: &Path,
        config: &TrainConfig,
        images: &Fingerprint,
        schedule: &Schedule,
    ) -> Result<Self, TrainError> {
        let checkpoints = root.join("checkpoints");
        fs::create_dir_all(&checkpoints).map_err(FileError::on("create", &checkpoints))?;
        let lock = lock(root)?;
        stored::same_or_new(root, config, images, schedule, saved_steps(root)?.is_empty())?;
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
        // First the log: a checkpoint that is there has its steps in it.
        self.log.sync_data().map_err(FileError::on("sync", &self.root.join("train.jsonl")))?;
        writer.commit()?;
        tracing::info!(step = steps, path = %target.display(), "checkpoint saved");

        let steps = saved_steps(&self.root)?;
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
        let Some(Newest { state, artifact, damaged }) = newest(&self.root)? else {
            self.truncate_log(0)?;
            return Ok((0, model, optimizer));
        };
        for (steps, error) in damaged {
            let aside = self.set_aside(steps)?;
            progress.warn(&format!(
                "checkpoint {steps} is damaged and was renamed to {}, going on from {}: {error}",
                aside.display(),
                state.steps
            ));
        }
        let model = restore_model(&artifact, model)?;
        let optimizer = restore_optimizer(&artifact, optimizer)?;
        self.truncate_log(state.steps)?;
        tracing::info!(step = state.steps, "going on from a checkpoint");
        Ok((state.steps, model, optimizer))
    }

    /// The newest checkpoint of fewer than `steps` steps. One of `steps` steps is set aside: what came of it is not
    /// a number.
    pub(super) fn last_good(&self, steps: usize) -> Option<PathBuf> {
        let found = saved_steps(&self.root).ok()?;
        if found.contains(&steps) {
            self.set_aside(steps).ok()?;
        }
        found.into_iter().rev().find(|&found| found < steps).map(|found| self.checkpoint(found))
    }

    fn checkpoint(&self, steps: usize) -> PathBuf {
        checkpoint(&self.root, steps)
    }

    /// Renames a checkpoint, so that it is neither loaded nor counted, nor lost.
    fn set_aside(&self, steps: usize) -> Result<PathBuf, FileError> {
        let path = self.checkpoint(steps);
        let aside = path.with_extension("damaged");
        files::remove_dir(&aside)?;
        fs::rename(&path, &aside).map_err(FileError::on("rename", &path))?;
        Ok(aside)
    }

    /// Drops the lines of steps that will be done again, and all after a line that is not whole. There may be fewer lines
    /// than steps: the log may have been lost on the way.
    fn truncate_log(&mut self, steps: usize) -> Result<(), FileError> {
        #[derive(Deserialize)]
        struct Line {
            step: usize,
        }
        let path = self.root.join("train.jsonl");
        let cut = || -> io::Result<()> {
            let mut bytes = 0;
            let mut reader = BufReader::new(File::open(&path)?);
            let mut line = Vec::new();
            let kept = |line: &[u8]| {
                line.ends_with(b"\n") && serde_json::from_slice(line).is_ok_and(|Line { step }| step <= steps)
            };
            while reader.read_until(b'\n', &mut line)? > 0 && kept(&line) {
                bytes += line.len() as u64;
                line.clear();
            }
            OpenOptions::new().write(true).open(&path)?.set_len(bytes)
        };
        cut().map_err(FileError::on("cut", &path))
    }
}

fn checkpoint(root: &Path, steps: usize) -> PathBuf {
    root.join("checkpoints").join(format!("{steps:08}"))
}

/// Steps of the checkpoints, ascending.
fn saved_steps(root: &Path) -> Result<Vec<usize>, FileError> {
    let path = root.join("checkpoints");
    let mut steps = Vec::new();
    for entry in fs::read_dir(&path).map_err(FileError::on("list", &path))? {
        let name = entry.map_err(FileError::on("list", &path))?.file_name();
        steps.extend(name.to_str().and_then(|name| name.parse::<usize>().ok()));
    }
    steps.sort_unstable();
    Ok(steps)
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

/// The newest checkpoint that is whole.
pub(super) struct Newest {
    pub(super) state: State,
    pub(super) artifact: Artifact,
    /// Newer ones, newest first, and what is wrong with them.
    pub(super) damaged: Vec<(usize, ArtifactError)>,
}

/// Opens the newest checkpoint in `root` that is whole; `None` when there is none at all.
pub(super) fn newest(root: &Path) -> Result<Option<Newest>, TrainError> {
    let mut damaged = Vec::new();
    for candidate in saved_steps(root)?.into_iter().rev() {
        match open(&checkpoint(root, candidate)) {
            Err(
                error @ (ArtifactError::Changed { .. }
                | ArtifactError::Missing { .. }
                | ArtifactError::Content { .. }),
            ) => damaged.push((candidate, error)),
            // What the system refuses, or another version wrote, need not be damaged.
            Err(error) => return Err(error.into()),
            Ok((state, artifact)) => return Ok(Some(Newest { state, artifact, damaged })),
        }
    }
    let count = damaged.len();
    match damaged.into_iter().next() {
        None => Ok(None),
        Some((_, newest)) => {
            let path = root.join("checkpoints");
            Err(TrainError::NoCheckpoint { path, count, newest: Box::new(newest) })
        }
    }
}

/// Opens a checkpoint and checks its files.
fn open(path: &Path) -> Result<(State, Artifact), ArtifactError> {
    let artifact = Artifact::open(path, CHECKPOINT)?;
    Ok((artifact.json("state.json")?, artifact))
}

fn read(artifact: &Artifact, name: &str) -> Result<Bytes, ArtifactError> {
    artifact.bytes(name, u64::MAX - 1).map(Bytes::from_bytes_vec)
}

/// The network with the weights of a checkpoint.
pub(super) fn restore_model(artifact: &Artifact, model: MclModel) -> Result<MclModel, ArtifactError> {
    let unusable = |error: RecordError| artifact.unusable("model.bpk", error.to_string());
    let record = ModuleRecord::from_bytes(read(artifact, "model.bpk")?).map_err(unusable)?;
    model.try_load_record(record).map_err(unusable)
}

/// The optimizer with what a checkpoint holds of it.
fn restore_optimizer(
    artifact: &Artifact,
    optimizer: ModuleOptimizer,
) -> Result<ModuleOptimizer, ArtifactError> {
    let of_optimizer = |reason: String| artifact.unusable("optimizer.bpk", reason);
    let record = OptimizerRecord::from_bytes(read(artifact, "optimizer.bpk")?);
    let record = record.map_err(|error| of_optimizer(error.to_string()))?;
    let saved = record.len();
    let optimizer = optimizer.load_record(record);
    // Burn skips what it cannot use.
    let loaded = optimizer.to_record().len();
    if loaded != saved {
        return Err(of_optimizer(format!("only {loaded} of {saved} tensors can be used")));
    }
    Ok(optimizer)
}
