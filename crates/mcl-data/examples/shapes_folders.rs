//! Writes the embedded shapes as folders of pictures, to try `own_images` without pictures of one's own.
//!
//! ```text
//! cargo run --release --example shapes_folders -- pictures
//! ```
//!
//! `pictures/train` and `pictures/normal` hold the same ten signs, one folder a class; `pictures/near` holds signs that
//! are none of the ten, `pictures/far` textures without a sign. A second argument is the number of training pictures of
//! a class (100).

use std::path::PathBuf;

use mcl_data::shapes::{self, ShapesSplit};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().ok_or("give the folder to write to")?);
    let train: usize = arguments.next().map_or(Ok(100), |text| text.parse())?;
    let parts = [
        ("train", ShapesSplit::Train, train),
        ("normal", ShapesSplit::Test, train / 4),
        ("near", ShapesSplit::NearOod, train / 4),
        ("far", ShapesSplit::FarOod, train / 4),
    ];
    for (name, split, images_per_class) in parts {
        let set = shapes::generate(split, images_per_class, 0);
        set.write_folders(&root.join(name))?;
        println!("{}: {} pictures of {}", root.join(name).display(), set.len(), set.class_names().join(", "));
    }
    Ok(())
}
