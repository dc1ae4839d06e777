//! The identity of a run in the run directory: settings, images, schedule and start.

use std::io;
use std::path::Path;

use mcl_model::ResNetDepth;
use serde::Serialize;
use serde_json::{Map, Value};

use super::fingerprint::Fingerprint;
use super::start::Start;
use super::{Objective, Schedule, TrainConfig, TrainError};
use crate::artifact::ArtifactError;
use crate::defaults::{self, laid_over};
use crate::files::{self, FileError};

const CONFIG: &str = "config.json";
const DATA: &str = "data.json";
const SCHEDULE: &str = "schedule.json";
const START: &str = "start.json";

/// All files of this module.
pub(super) const FILES: [&str; 4] = [CONFIG, DATA, SCHEDULE, START];

/// Writes the identity of a run into a directory without a checkpoint, which is `new`. In another directory
/// this compares the identity with the stored one, and returns an error for a difference. The schedule is
/// stored because the default behind a setting of `None` may change from version to version.
pub(super) fn same_or_new(
    root: &Path,
    config: &TrainConfig,
    images: &Fingerprint,
    schedule: &Schedule,
    start: &Start,
    new: bool,
) -> Result<(), TrainError> {
    let stored = |name| if new { Ok(None) } else { read(root, name) };
    match stored(CONFIG)? {
        None if !new => return Err(ArtifactError::Missing { path: root.join(CONFIG) }.into()),
        None => write(root, CONFIG, config)?,
        Some(found) => {
            let mut found = completed(found);
            let expected = value(config);
            // The interval of the checkpoints does not change the outcome of a run.
            if let Some(found) = found.get_mut("checkpoint_every") {
                *found = expected["checkpoint_every"].clone();
            }
            same(root, "", &found, &expected)?;
        }
    }
    for (name, of, content) in
        [(DATA, " of the images", value(images)), (SCHEDULE, " of the schedule", value(schedule))]
    {
        match stored(name)? {
            // The images of the checkpoints are unknown without this file. Earlier versions wrote no
            // schedule.
            None if !new && name == DATA => {
                return Err(ArtifactError::Missing { path: root.join(name) }.into());
            }
            None => write(root, name, &content)?,
            Some(found) => same(root, of, &found, &content)?,
        }
    }
    // A start that follows from the settings is not stored.
    match stored(START)? {
        None if new && *start == Start::default() => {
            files::remove_file(&root.join(START))?;
            Ok(())
        }
        None if new => write(root, START, start),
        found => {
            let mut found = found.unwrap_or_else(|| value(&Start::default()));
            if let (Some(given), Some(stored)) = (&start.network, found.get_mut("network")) {
                given.complete(stored);
            }
            same(root, " of the start", &found, &value(start))
        }
    }
}

/// Returns the settings of the run in the directory `root`.
pub(super) fn config(root: &Path) -> Result<TrainConfig, TrainError> {
    let path = root.join(CONFIG);
    let found = read(root, CONFIG)?
        .ok_or_else(|| FileError::on("read", &path)(io::Error::from(io::ErrorKind::NotFound)))?;
    let config = serde_json::from_value(completed(found));
    Ok(config.map_err(|error| ArtifactError::Content { path, reason: error.to_string() })?)
}

/// Returns stored settings, with defaults for the settings that an earlier version did not have.
pub(crate) fn completed(mut stored: Value) -> Value {
    if let Some(model) = stored.get_mut("model") {
        *model = defaults::model(model.take(), ResNetDepth::ResNet34);
    }
    if let Some(objective) = stored.get_mut("objective") {
        // Each variant has defaults of its own.
        for default in Objective::defaults() {
            *objective = laid_over(&value(&default), objective.take());
        }
    }
    laid_over(&value(&TrainConfig::new()), stored)
}

fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).expect("settings are plain data")
}

fn write(root: &Path, name: &str, content: &impl Serialize) -> Result<(), TrainError> {
    let json = serde_json::to_vec_pretty(content).expect("settings are plain data");
    Ok(files::replace(&root.join(name), &json)?)
}

/// Returns the content of a file of the directory, or `None` when there is no such file.
fn read(root: &Path, name: &str) -> Result<Option<Value>, TrainError> {
    let path = root.join(name);
    match files::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::on("read", &path)(error).into()),
        Ok(bytes) => Ok(Some(
            serde_json::from_slice(&bytes)
                .map_err(|error| ArtifactError::Content { path, reason: error.to_string() })?,
        )),
    }
}

fn same(root: &Path, of: &str, found: &Value, expected: &Value) -> Result<(), TrainError> {
    match first_difference(found, expected) {
        None => Ok(()),
        Some((key, found, expected)) => {
            let setting = format!("{key}{of}");
            Err(TrainError::OtherRun { path: root.to_path_buf(), setting, found, expected })
        }
    }
}

/// Returns the first entry in which two JSON objects differ, as `outer.inner`, and the two values.
fn first_difference(found: &Value, expected: &Value) -> Option<(String, String, String)> {
    if found == expected {
        return None;
    }
    if let (Some(found), Some(expected)) = (found.as_object(), expected.as_object()) {
        let none = Value::Null;
        let differs = |key: &&String| found.get(*key) != expected.get(*key);
        let key = expected.keys().chain(found.keys()).find(differs)?;
        let side = |side: &Map<String, Value>| side.get(key).cloned().unwrap_or_else(|| none.clone());
        let (inner, found, expected) = match (found.contains_key(key), expected.contains_key(key)) {
            (true, true) => first_difference(&found[key], &expected[key])?,
            (true, false) => (String::new(), side(found).to_string(), "absent".into()),
            _ => (String::new(), "absent".into(), side(expected).to_string()),
        };
        let path = if inner.is_empty() { key.clone() } else { format!("{key}.{inner}") };
        return Some((path, found, expected));
    }
    Some((String::new(), found.to_string(), expected.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_of_an_earlier_version_are_completed() {
        let stored = json!({ "seed": 5, "objective": { "NtXent": {} }, "model": { "hidden": 7 } });
        let config: TrainConfig = serde_json::from_value(completed(stored)).unwrap();
        let default = TrainConfig::new();
        let objective = Objective::NtXent(mcl_loss::NtXentLossConfig::new());
        let model = default.model.clone().with_hidden(7);
        assert_eq!(config, default.with_seed(5).with_objective(objective).with_model(model));
    }

    #[test]
    fn the_innermost_difference_is_named() {
        let found = json!({ "a": 1, "b": { "c": 2, "d": { "e": [1] } } });
        let expected = json!({ "a": 1, "b": { "c": 2, "d": { "e": [2] } } });
        assert_eq!(first_difference(&found, &expected), Some(("b.d.e".into(), "[1]".into(), "[2]".into())));
        assert_eq!(first_difference(&found, &found), None);
        let more = json!({ "a": 1, "b": { "c": 2, "d": { "e": [1] }, "f": true } });
        assert_eq!(first_difference(&found, &more), Some(("b.f".into(), "absent".into(), "true".into())));
        assert_eq!(first_difference(&more, &found), Some(("b.f".into(), "true".into(), "absent".into())));
    }
}
