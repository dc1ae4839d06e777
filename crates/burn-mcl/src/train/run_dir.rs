//! The directory of a training run: its settings, its images' fingerprint, its log and its checkpoints.
//!
//! ```text
//! run/config.json              settings, written before the first step
//! run/data.json                fingerprint of the images, written before the first step
//! run/schedule.json            learning rates that follow from the settings, written before the first step
//! run/start.json               identity of the weights and the loss that were given to the run, if any were
//! run/train.jsonl              one line a step
//! run/validation.jsonl         one line a validation
//! run/checkpoints/00000500/    model.bpk, optimizer.bpk, state.json, manifest.json; average.bpk, and averaged.bpk at
//!                              the end, if weights are averaged
//! run/best/                    model.bpk, state.json, manifest.json: the network of the best validation
//! run/lock                     locked while a run is in progress
//! ```
//!
//! The two newest checkpoints are kept. A damaged checkpoint is renamed to `00000500.damaged`, and the run
//! goes on from the checkpoint before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Bytes;
use mcl_model::Network;
use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::history::{BEST, STEPS, VALIDATIONS};
use super::lock::{LOCK, lock};
use super::logs::{set_logs_aside, truncate_log};
use super::report::LogLine;
use super::start::Start;
use super::{Schedule, TrainConfig, TrainError, ValidationReport, stored};
use crate::artifact::{Artifact, ArtifactError, ArtifactWriter, Kind};
use crate::files::{self, FileError};
use crate::progress::Progress;

const CHECKPOINT: Kind = Kind { name: "burn-mcl checkpoint", format: 1 };

/// Number of checkpoints that are kept. Older checkpoints are deleted.
const KEPT: usize = 2;

/// The weights of the last step, the state of the optimizer, and the moving average of the weights.
const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const AVERAGE: &str = "average.bpk";
/// The averaged network at the end of a run, with its own batch-norm statistics.
const AVERAGED: &str = "averaged.bpk";
const STATE: &str = "state.json";

/// The progress of a run. The steps and the seed decide the next batch.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) steps: usize,
}

/// A run directory, opened by one run.
#[derive(Debug)]
pub(super) struct RunDir {
    root: PathBuf,
    log: File,
    /// The system releases the lock when this file is dropped or the process ends.
    _lock: File,
}

impl RunDir {
    /// Opens the directory `root` for a run, and creates the directory if needed.
    pub(super) fn open(
        root: &Path,
        config: &TrainConfig,
        images: &Fingerprint,
        schedule: &Schedule,
        start: &Start,
        progress: Progress,
    ) -> Result<Self, TrainError> {
        let checkpoints = root.join("checkpoints");
        refuse_foreign(root)?;
        fs::create_dir_all(&checkpoints).map_err(FileError::on("create", &checkpoints))?;
        let lock = lock(root)?;
        let new = saved_steps(root)?.is_empty();
        if new && let Some(steps) = set_logs_aside(root)? {
            progress.warn(&format!(
                "{} has a log of {steps} steps but no checkpoint: the run begins again, and the log was renamed to \
                 {STEPS}.previous",
                root.display()
            ));
        }
        stored::same_or_new(root, config, images, schedule, start, new)?;
        remove_rests(&checkpoints)?;
        let path = root.join(STEPS);
        let log =
            OpenOptions::new().create(true).append(true).open(&path).map_err(FileError::on("open", &path))?;
        Ok(Self { root: root.to_path_buf(), log, _lock: lock })
    }

    /// Appends a line to the log.
    pub(super) fn log(&mut self, line: &LogLine<'_>) -> Result<(), TrainError> {
        let mut line = serde_json::to_string(line).expect("a report is plain data");
        line.push('\n');
        let written = self.log.write_all(line.as_bytes());
        Ok(written.map_err(FileError::on("write", &self.root.join(STEPS)))?)
    }

    /// Writes a checkpoint after `steps` steps and deletes all but the newest checkpoints. The networks are
    /// in evaluation mode: in training mode Burn's running statistics lag a step behind.
    pub(super) fn save<N: Network>(
        &self,
        steps: usize,
        networks: Networks<N>,
        optimizer: &ModuleOptimizer,
    ) -> Result<PathBuf, TrainError> {
        let target = self.checkpoint(steps);
        let mut writer = ArtifactWriter::new(&target, CHECKPOINT)?;
        let named =
            [(MODEL, Some(networks.model)), (AVERAGE, networks.average), (AVERAGED, networks.averaged)];
        for (name, network) in named {
            if let Some(network) = network {
                writer.write(name, &serialized(network.into_record().into_bytes(), &target)?)?;
            }
        }
        writer.write(OPTIMIZER, &serialized(optimizer.to_record().into_bytes(), &target)?)?;
        let state = serde_json::to_vec(&State { steps }).expect("a state is plain data");
        writer.write(STATE, &state)?;
        // The log is forced to disk first, so that it holds the steps of every checkpoint.
        self.log.sync_data().map_err(FileError::on("sync", &self.root.join(STEPS)))?;
        writer.commit()?;
        tracing::info!(step = steps, path = %target.display(), "checkpoint saved");

        let steps = saved_steps(&self.root)?;
        for &old in &steps[..steps.len().saturating_sub(KEPT)] {
            files::remove_dir(&self.checkpoint(old))?;
        }
        Ok(target)
    }

    /// Logs a validation, and saves the network `best` if the validation is the best so far.
    pub(super) fn log_validation<N: Network>(
        &self,
        report: &ValidationReport,
        best: Option<N>,
    ) -> Result<(), TrainError> {
        if let Some(network) = best {
            let target = self.root.join(BEST);
            let mut writer = ArtifactWriter::new(&target, BEST_NETWORK)?;
            writer.write(MODEL, &serialized(network.into_record().into_bytes(), &target)?)?;
            writer.write(STATE, &serde_json::to_vec(report).expect("a report is plain data"))?;
            writer.commit()?;
        }
        let path = self.root.join(VALIDATIONS);
        let mut line = serde_json::to_string(report).expect("a report is plain data");
        line.push('\n');
        let log = OpenOptions::new().create(true).append(true).open(&path);
        // The log is forced to disk, so that it holds the validations before every checkpoint.
        let written = log.and_then(|mut log| log.write_all(line.as_bytes()).and_then(|()| log.sync_data()));
        Ok(written.map_err(FileError::on("write", &path))?)
    }

    /// Loads the newest checkpoint that is not damaged, and cuts the logs to the steps of the checkpoint.
    pub(super) fn load<N: Network>(
        &mut self,
        progress: Progress,
        model: N,
        average: Option<N>,
        optimizer: ModuleOptimizer,
    ) -> Result<Resumed<N>, TrainError> {
        let Some(Newest { state, artifact, damaged }) = newest(&self.root)? else {
            self.truncate_logs(0)?;
            return Ok(Resumed { steps: 0, model, average, optimizer });
        };
        for (steps, error) in damaged {
            let aside = self.set_aside(steps)?;
            progress.warn(&format!(
                "checkpoint {steps} is damaged and was renamed to {}; the run goes on from step {}: {error}",
                aside.display(),
                state.steps
            ));
        }
        let model = restore(&artifact, MODEL, model)?;
        let average = average.map(|average| restore(&artifact, AVERAGE, average)).transpose()?;
        let optimizer = restore_optimizer(&artifact, optimizer)?;
        self.truncate_logs(state.steps)?;
        tracing::info!(step = state.steps, "going on from a checkpoint");
        Ok(Resumed { steps: state.steps, model, average, optimizer })
    }

    /// The directory of the run.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the newest checkpoint of fewer than `steps` steps. A checkpoint of `steps` steps is set aside,
    /// because its weights gave a loss that is not finite.
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

    /// Renames a checkpoint, so that it stays on disk but is not loaded.
    fn set_aside(&self, steps: usize) -> Result<PathBuf, FileError> {
        let path = self.checkpoint(steps);
        let aside = path.with_extension("damaged");
        files::remove_dir(&aside)?;
        fs::rename(&path, &aside).map_err(FileError::on("rename", &path))?;
        Ok(aside)
    }

    /// Drops the lines of the steps after `steps`, and all lines after an incomplete line. The log may have
    /// fewer lines than steps, because a person may have deleted the log.
    fn truncate_logs(&mut self, steps: usize) -> Result<(), FileError> {
        truncate_log(&self.root.join(STEPS), steps)?;
        let validations = self.root.join(VALIDATIONS);
        if validations.exists() { truncate_log(&validations, steps) } else { Ok(()) }
    }
}

/// The networks of a checkpoint.
pub(super) struct Networks<N> {
    /// The weights of the last step.
    pub(super) model: N,
    /// The moving average of the weights.
    pub(super) average: Option<N>,
    /// The averaged network with its own batch-norm statistics, at the end of a run.
    pub(super) averaged: Option<N>,
}

/// The state from which a run goes on.
pub(super) struct Resumed<N> {
    pub(super) steps: usize,
    pub(super) model: N,
    pub(super) average: Option<N>,
    pub(super) optimizer: ModuleOptimizer,
}

const BEST_NETWORK: Kind = Kind { name: "burn-mcl best network", format: 1 };

/// Reads the network of the best validation, and the report of that validation.
pub(super) fn best<N: Network>(root: &Path, network: N) -> Result<(N, ValidationReport), TrainError> {
    let artifact = Artifact::open(&root.join(BEST), BEST_NETWORK)?;
    Ok((restore(&artifact, MODEL, network)?, artifact.json(STATE)?))
}

fn serialized(bytes: Result<Bytes, RecordError>, target: &Path) -> Result<Bytes, FileError> {
    bytes.map_err(|error| FileError::on("write", target)(io::Error::other(error.to_string())))
}

fn checkpoint(root: &Path, steps: usize) -> PathBuf {
    root.join("checkpoints").join(format!("{steps:08}"))
}

/// Returns the steps of the checkpoints, ascending.
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

/// Whether a run goes on in the directory `root`.
pub(super) fn has_checkpoint(root: &Path) -> bool {
    saved_steps(root).is_ok_and(|steps| !steps.is_empty())
}

/// Refuses a directory in which no run ever was, but where a run would write over something. A directory without a lock that has
/// checkpoints was copied without the lock.
fn refuse_foreign(root: &Path) -> Result<(), TrainError> {
    if root.join(LOCK).exists() || has_checkpoint(root) {
        return Ok(());
    }
    let mut written = stored::FILES.iter().chain(&[STEPS, VALIDATIONS, BEST]).map(|name| root.join(name));
    match written.find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(TrainError::Foreign { path }),
        None => Ok(()),
    }
}

/// Removes the incomplete checkpoints of a killed run.
fn remove_rests(checkpoints: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(checkpoints).map_err(FileError::on("list", checkpoints))? {
        let path = entry.map_err(FileError::on("list", checkpoints))?.path();
        if path.extension().is_some_and(|extension| extension == "partial") {
            files::remove_dir(&path)?;
        }
    }
    Ok(())
}

/// The newest checkpoint that is not damaged.
pub(super) struct Newest {
    pub(super) state: State,
    pub(super) artifact: Artifact,
    /// The damaged checkpoints that are newer, newest first, with the error of each.
    pub(super) damaged: Vec<(usize, ArtifactError)>,
}

/// Opens the newest checkpoint in `root` that is not damaged. Returns `None` when there is no checkpoint.
pub(super) fn newest(root: &Path) -> Result<Option<Newest>, TrainError> {
    let mut damaged = Vec::new();
    for candidate in saved_steps(root)?.into_iter().rev() {
        match open(&checkpoint(root, candidate)) {
            Err(
                error @ (ArtifactError::Changed { .. }
                | ArtifactError::Missing { .. }
                | ArtifactError::Content { .. }),
            ) => damaged.push((candidate, error)),
            // A checkpoint that the system refuses to read, or that another version wrote, need not be
            // damaged.
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
    Ok((artifact.json(STATE)?, artifact))
}

fn read(artifact: &Artifact, name: &str) -> Result<Bytes, ArtifactError> {
    artifact.bytes(name, u64::MAX - 1).map(Bytes::from_bytes_vec)
}

/// Reads the result of a run from a checkpoint: the averaged network if the run averages weights, otherwise
/// the last weights.
pub(super) fn restore_result<N: Network>(artifact: &Artifact, network: N) -> Result<N, ArtifactError> {
    let name = [AVERAGED, AVERAGE].into_iter().find(|name| artifact.path(name).exists());
    restore(artifact, name.unwrap_or(MODEL), network)
}

/// Returns the network with the weights of a file of a checkpoint.
fn restore<N: Network>(artifact: &Artifact, name: &str, network: N) -> Result<N, ArtifactError> {
    let unusable = |error: RecordError| artifact.unusable(name, error.to_string());
    let record = ModuleRecord::from_bytes(read(artifact, name)?).map_err(unusable)?;
    network.try_load_record(record).map_err(unusable)
}

/// Returns the optimizer with the state of a checkpoint.
fn restore_optimizer(
    artifact: &Artifact,
    optimizer: ModuleOptimizer,
) -> Result<ModuleOptimizer, ArtifactError> {
    let of_optimizer = |reason: String| artifact.unusable(OPTIMIZER, reason);
    let record = OptimizerRecord::from_bytes(read(artifact, OPTIMIZER)?);
    let record = record.map_err(|error| of_optimizer(error.to_string()))?;
    let saved = record.len();
    let optimizer = optimizer.load_record(record);
    // Burn skips the tensors that it cannot use.
    let loaded = optimizer.to_record().len();
    if loaded != saved {
        return Err(of_optimizer(format!("only {loaded} of {saved} tensors can be used")));
    }
    Ok(optimizer)
}
