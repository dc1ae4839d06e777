//! Writes the embedded shapes as folders of pictures, to try `own_images` without pictures of one's own.
//!
//! ```text
//! cargo run --release --example shapes_folders -- pictures
//! ```
//!
//! `pictures/train` and `pictures/normal` hold the same ten signs, one folder a class; `pictures/near` holds
//! signs that are none of the ten, `pictures/far` textures without a sign. A second argument is the number of
//! training pictures of a class (100).

use std::io::{self, Write};
use std::path::PathBuf;

use mcl_data::shapes::{self, ShapesSplit};

const USAGE: &str = "usage: shapes_folders FOLDER [TRAINING_PICTURES_OF_A_CLASS]";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        return Ok(writeln!(io::stdout(), "Writes the embedded shapes as folders of pictures.\n\n{USAGE}")?);
    }
    let (root, train) = match &arguments[..] {
        [root, ..] if root.as_encoded_bytes().starts_with(b"-") => {
            return Err(format!("there is no option {root:?}; {USAGE}").into());
        }
        [root] => (PathBuf::from(root), 100),
        [root, train] => (PathBuf::from(root), train.to_string_lossy().parse().map_err(|_| USAGE)?),
        _ => return Err(USAGE.into()),
    };
    let parts = [
        ("train", ShapesSplit::Train, train),
        ("normal", ShapesSplit::Test, train / 4),
        ("near", ShapesSplit::NearOod, train / 4),
        ("far", ShapesSplit::FarOod, train / 4),
    ];
    for (name, split, images_per_class) in parts {
        let set = shapes::generate(split, images_per_class, 0);
        set.write_folders(&root.join(name))?;
        let (path, classes) = (root.join(name), set.class_names().join(", "));
        writeln!(io::stdout(), "{}: {} pictures of {classes}", mcl_data::printable(&path), set.len())?;
    }
    Ok(())
}
