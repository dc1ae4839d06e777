//! What a seed means: one batch, one hold-out and one pick of a Fix set, which must be the same in every version.
//!
//! All three rest on rand's `shuffle`, `random_range` and `index::sample`, whose results a new version of rand may change.
//! A run can be repeated, and a split found again, only while these numbers stay.

use std::sync::Arc;

use mcl_data::batch::{BatchConfig, Position};
use mcl_data::fix;
use mcl_data::shapes::{self, ShapesSplit};

fn crc(bytes: impl IntoIterator<Item = impl AsRef<[u8]>>) -> u32 {
    let mut crc = flate2::Crc::new();
    bytes.into_iter().for_each(|bytes| crc.update(bytes.as_ref()));
    crc.sum()
}

#[test]
fn a_batch() {
    let set = Arc::new(shapes::generate(ShapesSplit::Train, 5, 0));
    let batches = BatchConfig::new(8).with_seed(1).try_init(set).unwrap();
    let batch = batches.batch(Position { epoch: 2, batch: 3 }).unwrap();
    assert_eq!(batch.indices, [45, 47, 9, 23, 24, 7, 18, 11]);
    assert_eq!(batch.aux, [0, 1, 2, 3].repeat(8));
    let pixels = batch.pixels.iter().map(|value| value.to_bits().to_le_bytes());
    assert_eq!(crc(pixels), 3_720_334_332);
}

#[test]
fn a_hold_out() {
    let set = shapes::generate(ShapesSplit::Train, 20, 0);
    let (kept, held_out) = set.hold_out(0.1, 7).unwrap();
    assert_eq!(
        held_out,
        [5, 12, 14, 25, 33, 46, 74, 79, 88, 107, 110, 120, 132, 137, 153, 159, 168, 181, 191, 196]
    );
    assert_eq!(kept.len(), 180);
}

#[test]
fn a_fix_pick() {
    let dir = tempfile::tempdir().unwrap();
    shapes::generate(ShapesSplit::NearOod, 3, 0).write_folders(&dir.path().join("large")).unwrap();
    let target = dir.path().join("LSUN_fix");
    fix::make(&dir.path().join("large"), &target, 6, 5).unwrap();
    let sources = std::fs::read_to_string(target.join("sources.txt")).unwrap();
    assert_eq!(
        sources.lines().collect::<Vec<_>>(),
        [
            "cup/00000.png",
            "cup/00001.png",
            "cup/00002.png",
            "mushroom/00000.png",
            "heart/00002.png",
            "seven/00001.png",
        ]
    );
    let set = mcl_data::lsun_fix::load(dir.path()).unwrap();
    assert_eq!(crc(set.iter_pixels()), 2_987_072_356);
}
