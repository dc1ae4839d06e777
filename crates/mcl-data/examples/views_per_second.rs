//! How fast two-view batches of 32 x 32 images are made: `cargo run --release --example views_per_second`.

use std::sync::Arc;
use std::time::Instant;

use mcl_data::ImageSet;
use mcl_data::augment::SimClrAugmentConfig;
use mcl_data::batch::{BatchConfig, Position};

fn main() -> Result<(), mcl_data::DataError> {
    let noise = (0..1024 * 3072).map(|i: usize| (i.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
    let set = Arc::new(ImageSet::new(noise, (32, 32), vec![0; 1024], vec!["noise".into()])?);
    let full = SimClrAugmentConfig::new();
    for (name, augment) in [
        ("SimCLR", full.clone()),
        ("without jitter", full.clone().with_color_strength(0.0)),
        ("always jittered", full.with_jitter_probability(1.0)),
    ] {
        for threads in [1, 2] {
            let config = BatchConfig::new(256).with_threads(threads).with_augment(augment.clone());
            let batches = config.try_init(set.clone())?;
            let make = || batches.batch(Position::default()).map(|batch| 2 * batch.samples());
            let mut fastest = f64::INFINITY;
            let mut views = make()?;
            for _ in 0..20 {
                let start = Instant::now();
                views = make()?;
                fastest = fastest.min(start.elapsed().as_secs_f64());
            }
            println!("{name}, {threads} threads: {:.0} views/s", views as f64 / fastest);
        }
    }
    Ok(())
}
