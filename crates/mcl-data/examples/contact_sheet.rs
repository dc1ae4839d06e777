//! Draws the shapes set as one picture: a row a class, three splits below one another.
//!
//! `cargo run --release --example contact_sheet -- shapes.png`

use image::{Rgb, RgbImage, imageops};
use mcl_data::shapes::{self, ShapesSplit};

const COLUMNS: usize = 16;
const CELL: u32 = 36;
const SCALE: u32 = 2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "shapes.png".into());
    if path.starts_with('-') {
        return Err("usage: contact_sheet [PICTURE]".into());
    }
    let splits = [ShapesSplit::Train, ShapesSplit::NearOod, ShapesSplit::FarOod];
    let sets = splits.map(|split| shapes::generate(split, COLUMNS, 0));
    let rows: usize = sets.iter().map(|set| set.class_names().len()).sum::<usize>() + sets.len();
    let mut sheet = RgbImage::from_pixel(CELL * COLUMNS as u32, CELL * rows as u32, Rgb([255; 3]));
    let mut row = 0;
    for set in &sets {
        for i in 0..set.len() {
            let classes = set.class_names().len();
            let planes: Vec<&[u8]> = set.pixels(i).chunks(32 * 32).collect();
            let picture = RgbImage::from_fn(32, 32, |x, y| {
                let at = (32 * y + x) as usize;
                Rgb([planes[0][at], planes[1][at], planes[2][at]])
            });
            let (x, y) = (i / classes, row + i % classes);
            imageops::replace(
                &mut sheet,
                &picture,
                i64::from(CELL) * x as i64 + 2,
                i64::from(CELL) * y as i64 + 2,
            );
        }
        row += set.class_names().len() + 1;
    }
    let (width, height) = sheet.dimensions();
    imageops::resize(&sheet, SCALE * width, SCALE * height, imageops::FilterType::Nearest).save(&path)?;
    println!("{path}: rows {:?}", sets.map(|set| set.class_names().join(", ")));
    Ok(())
}
