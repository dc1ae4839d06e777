//! What a run directory says of its run: the settings, the images and the schedule that it was started with.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::fingerprint::Fingerprint;
use super::{Schedule, TrainConfig, TrainError};
use crate::artifact::ArtifactError;
use crate::files::{self, FileError};

const CONFIG: &str = "config.json";
const DATA: &str = "data.json";
const SCHEDULE: &str = "schedule.json";

/// Writes settings, images and schedule into a directory in which nothing was trained yet; refuses others than those of
/// the run that is there. The schedule follows from the other two, but what follows from a setting of `None` may change
/// from version to version.
pub(super) fn same_or_new(
    root: &Path,
    config: &TrainConfig,
    images: &Fingerprint,
    schedule: &Schedule,
    new: bool,
) -> Result<(), TrainError> {
    let stored = |name| if new { Ok(None) } else { read(root, name) };
    match stored(CONFIG)? {
        None if !new => return Err(ArtifactError::Missing { path: root.join(CONFIG) }.into()),
        None => write(root, CONFIG, config)?,
        Some(found) => {
            let mut found = laid_over(&value(&TrainConfig::new()), found);
            let expected = value(config);
            // How often a run is saved decides nothing about its outcome.
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
            // Without it nobody knows what the checkpoints were trained on. Earlier versions wrote no schedule.
            None if !new && name == DATA => {
                return Err(ArtifactError::Missing { path: root.join(name) }.into());
            }
            None => write(root, name, &content)?,
            Some(found) => same(root, of, &found, &content)?,
        }
    }
    Ok(())
}

/// The settings of the run in the directory `root`.
pub(super) fn config(root: &Path) -> Result<TrainConfig, TrainError> {
    let path = root.join(CONFIG);
    let found = read(root, CONFIG)?
        .ok_or_else(|| FileError::on("read", &path)(io::Error::from(io::ErrorKind::NotFound)))?;
    let config = serde_json::from_value(laid_over(&value(&TrainConfig::new()), found));
    Ok(config.map_err(|error| ArtifactError::Content { path, reason: error.to_string() })?)
}

fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).expect("settings are plain data")
}

fn write(root: &Path, name: &str, content: &impl Serialize) -> Result<(), TrainError> {
    let json = serde_json::to_vec_pretty(content).expect("settings are plain data");
    Ok(files::replace(&root.join(name), &json)?)
}

/// What a file of the directory holds, if it is there.
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

/// What an earlier version stored, and the defaults of what it did not have.
fn laid_over(default: &Value, stored: Value) -> Value {
    match (default, stored) {
        (Value::Object(default), Value::Object(mut stored))
            // Otherwise it is another variant of an enum, to which the defaults of this one say nothing.
            if stored.keys().all(|key| default.contains_key(key)) =>
        {
            for (key, default) in default {
                let value = stored.remove(key).map_or_else(|| default.clone(), |own| laid_over(default, own));
                stored.insert(key.clone(), value);
            }
            Value::Object(stored)
        }
        (_, stored) => stored,
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

/// The first entry in which two JSON objects differ, and its two values.
fn first_difference(found: &Value, expected: &Value) -> Option<(String, String, String)> {
    if found == expected {
        return None;
    }
    let none = Map::new();
    let (found, expected) = (found.as_object().unwrap_or(&none), expected.as_object().unwrap_or(&none));
    let key = expected.keys().chain(found.keys()).find(|key| found.get(*key) != expected.get(*key));
    let key = key.map_or("settings", String::as_str);
    let show =
        |side: &Map<String, Value>| side.get(key).map_or_else(|| "absent".to_string(), ToString::to_string);
    Some((key.to_string(), show(found), show(expected)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_not_stored_is_the_default() {
        let default = json!({ "a": 1, "b": { "c": 2, "d": null }, "e": { "One": { "f": 3 } } });
        let over = |stored| laid_over(&default, stored);
        assert_eq!(over(json!({})), default);
        assert_eq!(
            over(json!({ "b": { "c": 5 } })),
            json!({ "a": 1, "b": { "c": 5, "d": null }, "e": { "One": { "f": 3 } } })
        );
        assert_eq!(over(json!({ "e": { "Two": {} } }))["e"], json!({ "Two": {} }), "another variant");
        assert_eq!(over(json!({ "a": [], "b": 4 }))["b"], 4);
    }
}
