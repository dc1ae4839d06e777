//! `mcl shapes`: drawn pictures to try the program with.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use burn_mcl::data::printable;
use burn_mcl::data::shapes::{self, ShapesSplit};
use clap::Args;

/// The arguments of `mcl shapes`.
///
/// `FOLDER/train` and `FOLDER/normal` hold the same ten signs, one folder a class. `FOLDER/near` holds signs that are none of the
/// ten, and `FOLDER/far` textures without a sign.
#[derive(Debug, Args)]
pub struct Settings {
    /// Where the pictures go
    folder: PathBuf,
    /// Training pictures of each class; the other folders have a quarter of them
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(4..))]
    per_class: u32,
}

/// Writes the pictures, and says to `out` what was written.
///
/// # Errors
///
/// When a file cannot be written.
pub fn run(settings: &Settings, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let train = settings.per_class as usize;
    let parts = [
        ("train", ShapesSplit::Train, train),
        ("normal", ShapesSplit::Test, train / 4),
        ("near", ShapesSplit::NearOod, train / 4),
        ("far", ShapesSplit::FarOod, train / 4),
    ];
    for (name, split, images_per_class) in parts {
        let set = shapes::generate(split, images_per_class, 0);
        let path = settings.folder.join(name);
        set.write_folders(&path)?;
        let classes = set.class_names().join(", ");
        writeln!(out, "{}: {} pictures of {classes}", printable(&path), set.len())?;
    }
    Ok(())
}
