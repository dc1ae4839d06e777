//! Folders of pictures, and what is said of them.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write;
use std::path::Path;

use burn_mcl::Progress;
use burn_mcl::data::image_folder::{ImageFolder, ImageFolderConfig};
use burn_mcl::data::{DataError, printable};

use crate::output::say;

/// Share of the pictures of a folder that may be unreadable, if nothing else is asked for.
pub(crate) const UNREADABLE: f64 = 0.05;

/// Checks the value of a flag that is a share.
pub(crate) fn check_share(flag: &str, share: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(format!("--{flag} is {share}, but must be a share from 0 to 1"))
}

/// A number and what it counts.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Reads one folder, and says what was skipped and where the cache lies.
pub(crate) fn load(
    reading: &ImageFolderConfig,
    path: &Path,
    progress: Progress,
    out: &mut impl Write,
) -> Result<ImageFolder, Box<dyn Error>> {
    let folder = reading.load(path, &progress.observer("decoding")).map_err(|error| match error {
        DataError::TooManyUnreadable { .. } => {
            format!("{error} (--unreadable {})", reading.unreadable).into()
        }
        error => Box::<dyn Error>::from(error),
    })?;
    for file in &folder.unreadable {
        say(&format!("skipped: {}", file.reason));
    }
    if !folder.other_formats.is_empty() {
        let formats: BTreeSet<_> =
            folder.other_formats.iter().filter_map(|path| path.extension()).map(printable).collect();
        say(&format!(
            "skipped: {} files in {} of formats that cannot be read ({}): convert them to JPEG or PNG",
            folder.other_formats.len(),
            printable(path),
            formats.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    let (pictures, classes) = (folder.images.len(), folder.images.class_names().len());
    let (pictures, classes) = (count(pictures, "picture", "pictures"), count(classes, "class", "classes"));
    writeln!(out, "{}: {pictures} in {classes}, {}", printable(path), folder.cache)?;
    Ok(folder)
}
