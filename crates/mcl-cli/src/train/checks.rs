//! What is checked, and said, before anything is trained.

use std::collections::HashSet;
use std::error::Error;
use std::path::{Component, Path, PathBuf};
use std::{fs, path};

use burn_mcl::data::{DataError, ImageSet, printable};
use burn_mcl::detector::{DetectorConfig, DetectorError};
use burn_mcl::infer::InferError;
use burn_mcl::train::TrainError;
use serde_json::{Value, json};

use super::settings::Settings;

/// The file of a run directory with the settings of the run, by the names of their flags.
const COMMAND: &str = "command.json";

/// Pictures that the detector is tried on.
pub(super) struct Tested {
    pub(super) name: String,
    pub(super) images: ImageSet,
    pub(super) files: Vec<PathBuf>,
    /// Their folder, where they have one of their own.
    pub(super) place: Option<PathBuf>,
}

/// What sets of pictures are called: by the names of their folders, with those above as far as it takes to
/// tell them apart.
pub(crate) fn names(paths: &[&PathBuf]) -> Result<Vec<String>, String> {
    let mut parts: Vec<Vec<String>> = Vec::new();
    for path in paths {
        let full =
            fs::canonicalize(path).map_err(|error| format!("cannot open {}: {error}", printable(path)))?;
        parts.push(full.iter().map(|part| part.to_string_lossy().into_owned()).collect());
    }
    let end = |i: usize, length: usize| &parts[i][parts[i].len().saturating_sub(length)..];
    let name = |i: usize| {
        let apart = |length: &usize| (0..paths.len()).all(|j| j == i || end(j, *length) != end(i, *length));
        let length = (1..=parts[i].len()).find(apart);
        let length = length.ok_or_else(|| format!("the folder {} is given twice", printable(paths[i])))?;
        Ok(end(i, length).join("/").replace("//", "/"))
    };
    (0..paths.len()).map(name).collect()
}

/// Refuses folders of which one holds another: their pictures would count on both sides. Also a run directory
/// or a cache in one of them, which would be a class the next time.
pub(crate) fn places(settings: &Settings) -> Result<(), String> {
    let tested = settings.anomalous.iter().map(|path| ("--anomalous", path));
    let normal = settings.normal.iter().map(|path| ("--normal", path));
    let folders: Vec<_> =
        [("the training folder", &settings.train)].into_iter().chain(normal).chain(tested).collect();
    for (i, &(role, folder)) in folders.iter().enumerate() {
        for &(other_role, other) in &folders[i + 1..] {
            if place(folder) == place(other) {
                return Err(format!(
                    "{} is {role} and {other_role}: give each its own pictures, which the other does not have",
                    printable(other)
                ));
            }
            for ((outer_role, outer), (inner_role, inner)) in
                [((role, folder), (other_role, other)), ((other_role, other), (role, folder))]
            {
                if is_inside(inner, outer) {
                    return Err(format!(
                        "{outer_role} ({}) holds {inner_role} ({}): give folders beside one another, each with its own \
                         pictures",
                        printable(outer),
                        printable(inner)
                    ));
                }
            }
        }
        for (flag, own) in [("--run", Some(&settings.run)), ("--cache", settings.cache.as_ref())] {
            if let Some(own) = own.filter(|own| place(own) == place(folder) || is_inside(own, folder)) {
                return Err(format!(
                    "{flag} ({}) lies in {role} ({}), where it would be taken for a class: give {flag} a place outside",
                    printable(own),
                    printable(folder)
                ));
            }
        }
    }
    Ok(())
}

/// The path without links, as far as it exists.
fn place(path: &Path) -> PathBuf {
    let full = path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let real = full.ancestors().find_map(|above| Some((above, fs::canonicalize(above).ok()?)));
    match real {
        Some((above, real)) => real.join(full.strip_prefix(above).unwrap_or(Path::new(""))),
        None => full,
    }
}

/// Whether pictures in `inner` would be found in `outer`, where hidden folders are not looked into.
fn is_inside(inner: &Path, outer: &Path) -> bool {
    let hidden = |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
    match place(inner).strip_prefix(place(outer)) {
        Ok(between) => between.components().next().is_some() && !between.components().any(hidden),
        Err(_) => false,
    }
}

/// An error of the settings, with the name of the flag.
pub(crate) fn by_flag(error: TrainError) -> Box<dyn Error> {
    let flag = |setting: &str| match setting {
        "images_per_batch" => "batch".to_string(),
        setting => setting.replace('_', "-"),
    };
    match error {
        TrainError::Config { setting, value, expected } => {
            format!("--{} is {value}, but must be {expected}", flag(setting)).into()
        }
        TrainError::Data(DataError::Setting { name, value, requirement }) => {
            format!("--{} is {value}: {requirement}", flag(name)).into()
        }
        TrainError::OtherRun { .. } => format!("{error} (another directory: --run DIR)").into(),
        error => error.into(),
    }
}

/// The settings that decide what a run trains, by the names of their flags. Without `--steps` the trainer compares their number.
fn command(settings: &Settings) -> Value {
    let mut command = json!({
        "size": settings.size(), "hold-out": settings.hold_out, "batch": settings.batch, "depth": settings.depth,
        "width": settings.width(), "learning-rate": settings.learning_rate(), "min-crop": settings.min_crop,
        "rotations": format!("{:?}", settings.rotations).to_lowercase(), "seed": settings.seed,
        "fit": format!("{:?}", settings.fit).to_lowercase(),
    });
    if let Some(steps) = settings.steps {
        command["steps"] = steps.into();
    }
    command
}

/// Refuses settings other than those of the run in the directory, if something was trained there.
pub(crate) fn same_command(settings: &Settings) -> Result<(), String> {
    let text = fs::read_to_string(settings.run.join(COMMAND)).unwrap_or_default();
    // A run of an earlier version has no such file: then the trainer compares what it knows.
    let path = settings.run.join(COMMAND);
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let now = command(settings);
    let found = match serde_json::from_str(&text) {
        Ok(Value::Object(found)) if found.contains_key("hold-out") => found,
        _ => {
            return Err(format!(
                "{} is there already, and no `mcl train` wrote it: take another directory (--run DIR)",
                printable(&path)
            ));
        }
    };
    if settings.no_train && is_trained(&settings.run) {
        return Err(format!(
            "{} holds a run that was trained: --no-train takes another directory (--run DIR)",
            printable(&settings.run)
        ));
    }
    let differs = found.iter().find(|(flag, found)| now.get(flag).is_some_and(|now| now != *found));
    match differs.filter(|_| is_trained(&settings.run)) {
        Some((flag, found)) => Err(format!(
            "{} holds a run with --{flag} {found}, and this command has --{flag} {}: take another directory (--run DIR), or \
             the settings that the run was started with",
            printable(&settings.run),
            now[flag]
        )),
        None => Ok(()),
    }
}

/// Keeps the settings for [`same_command`].
pub(crate) fn write_command(settings: &Settings) -> Result<(), String> {
    if is_trained(&settings.run) {
        return Ok(());
    }
    let path = settings.run.join(COMMAND);
    let written =
        fs::create_dir_all(&settings.run).and_then(|()| fs::write(&path, format!("{:#}", command(settings))));
    written.map_err(|error| format!("cannot write {}: {error}", printable(&path)))
}

/// Whether a run directory has a checkpoint.
fn is_trained(run: &Path) -> bool {
    fs::read_dir(run.join("checkpoints")).is_ok_and(|mut checkpoints| checkpoints.next().is_some())
}

/// Whether there are enough pictures for the detector, which is fitted only after the training.
pub(crate) fn numbers(
    settings: &Settings,
    dim: usize,
    judging: &DetectorConfig,
    train: &ImageSet,
    held_out: &ImageSet,
) -> Result<(), String> {
    let hold_out = settings.hold_out;
    judging.check_images(train, held_out, dim).map_err(|error| match error {
        DetectorError::Infer(InferError::TooFewToCalibrate { scores, needed, tpr }) => format!(
            "{scores} pictures are held out (--hold-out {hold_out}), but --tpr {tpr} needs {needed}: add pictures, hold \
             out a larger share, or lower --tpr"
        ),
        DetectorError::Class { name, source: InferError::TooFewSamples { count, needed, .. } } => format!(
            "class `{}` has too few pictures to learn from ({count} of {needed}): add pictures, lower --hold-out, or leave \
             the class out",
            printable(name)
        ),
        DetectorError::Class { name, source: InferError::RankDeficient { count, ridge, needed, .. } } => format!(
            "--ridge is {ridge}, but class `{}` has {count} pictures to learn from, for which it must be at least \
             {needed:e}",
            printable(name)
        ),
        error => error.to_string(),
    })?;
    // Pictures that are all the same have no spread to measure a distance by.
    let different: HashSet<_> = train.labels().iter().zip(train.originals()).collect();
    let mut counts = vec![0; train.class_names().len()];
    different.iter().for_each(|(class, _)| counts[**class] += 1);
    match counts.iter().position(|&count| count == 1) {
        Some(class) => Err(format!(
            "all pictures of class `{}` are the same: add different pictures, or leave the class out",
            printable(&train.class_names()[class])
        )),
        None => Ok(()),
    }
}

/// What to say about copies of pictures, which make results look better or worse than they are. Of `tested` the first is the normal
/// set, if `with_normal`; the others are anomalous.
pub(super) fn copies(all: &ImageSet, tested: &[Tested], with_normal: bool) -> Vec<String> {
    let mut said = Vec::new();
    let copies = all.copies();
    if copies > 0 {
        said.push(format!(
            "{copies} of {} training pictures are copies of others, pixel by pixel: copies are not held out without their \
             originals, and the guarantee of the threshold is for as many different pictures as are left",
            all.len()
        ));
    }
    let mut between = |set: &Tested, other, known, result| {
        said.extend(copies_between((&set.name, &set.images), (other, known), result));
    };
    let (normal, anomalous) = tested.split_at(usize::from(with_normal));
    for set in normal {
        between(set, "the training folder", all, "the false alarms of these say nothing about new pictures");
    }
    for set in anomalous {
        between(set, "the training folder", all, "the network has learned that these are normal");
    }
    for normal in normal {
        for set in anomalous {
            between(set, &normal.name, &normal.images, "they count as normal and as anomalies");
        }
    }
    said
}

/// The warning that pictures of a set are copies of those of another, if some are, and what that does to the `result`.
pub(crate) fn copies_between(
    (name, images): (&str, &ImageSet),
    (other, known): (&str, &ImageSet),
    result: &str,
) -> Option<String> {
    let (copies, of) = (images.copies_of(known), images.len());
    (copies > 0)
        .then(|| format!("{copies} of {of} pictures of {name} are copies of pictures of {other}: {result}"))
}

/// What to say about classes of the normal set that training does not have: a typo, maybe.
pub(crate) fn foreign_classes(training: &[String], name: &str, normal: &ImageSet) -> Option<String> {
    let present = normal.class_names().iter().zip(normal.class_counts()).filter(|(_, count)| *count > 0);
    let foreign: Vec<_> = present.map(|(class, _)| class).filter(|class| !training.contains(class)).collect();
    (training.len() > 1 && !foreign.is_empty()).then(|| {
        let list = |names: &[&String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        format!(
            "{name} has classes that training does not have ({}), so that no share of right classes is given; training has \
             {}",
            list(&foreign),
            list(&training.iter().collect::<Vec<_>>())
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_one_name_are_told_apart_by_those_above() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["good/test", "bad/test", "other", "more/bad/test"].map(|path| folder.path().join(path));
        paths.iter().for_each(|path| fs::create_dir_all(path).unwrap());
        let found = names(&paths.each_ref()).unwrap();
        let top = folder.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(found, ["good/test", &format!("{top}/bad/test"), "other", "more/bad/test"]);
    }

    #[test]
    fn hidden_folders_are_not_inside() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert!(is_inside(&root.join("a/b"), root) && !is_inside(&root.join(".runs/b"), root));
        assert!(!is_inside(root, root) && !is_inside(root, &root.join("a")));
    }
}
