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
    writeln!(out, "{}: {pictures} pictures in {classes} classes, {}", printable(path), folder.cache)?;
    Ok(folder)
}
