//! SimCLR views of 32 x 32 images, as training batches of 512 of them, on one thread and on two.
//!
//! `naive` makes the same views with the public operations one after the other, on one thread.
//!
//! ```text
//! cargo bench --workspace --bench augment
//! ```

use std::sync::Arc;

use burn_mcl::data::ImageSet;
use burn_mcl::data::augment::ops::{self, Image};
use burn_mcl::data::augment::{ColorOp, CropBox, SimClrAugment, SimClrAugmentConfig, View, ViewKey};
use burn_mcl::data::batch::{BatchConfig, Position};
use burn_mcl_benches::{Bench, HERE, number};
use criterion::Throughput;

const IMAGES: usize = 512;
const IN_BATCH: usize = 64;
const ROTATIONS: usize = 4;
const VIEWS: u64 = (IN_BATCH * ROTATIONS * 2) as u64;

fn main() {
    let mut bench = Bench::from_args();
    let set = Arc::new(noise());
    let mut group = bench.group("augment");
    group.throughput(Throughput::Elements(VIEWS));
    for (name, threads) in [(HERE, 1), ("2-threads", 2)] {
        let batches = BatchConfig::new(IN_BATCH).with_threads(threads).try_init(set.clone()).unwrap();
        let mut position = Position::default();
        group.bench_function(name, |b| {
            b.iter(|| {
                position = batches.after(position);
                batches.batch(position).unwrap()
            });
        });
    }
    let augment = SimClrAugmentConfig::new().init();
    let mut epoch = 0;
    group.bench_function("naive", |b| {
        b.iter(|| {
            epoch += 1;
            naive(&set, &augment, epoch)
        });
    });
    group.finish();
    bench.finish();
}

fn noise() -> ImageSet {
    let pixels = (0..IMAGES as u64 * 3072).map(|i| (number(i) * 256.0) as u8).collect();
    ImageSet::new(pixels, (32, 32), vec![0; IMAGES], vec!["noise".into()]).unwrap()
}

fn naive(set: &ImageSet, augment: &SimClrAugment, epoch: u64) -> Vec<Image> {
    let mut views = Vec::new();
    for image in 0..IN_BATCH as u64 {
        let pixels = Image::from_u8(set.pixels(image as usize), set.size()).unwrap();
        for (rotation, view) in (0..ROTATIONS).flat_map(|rotation| [(rotation, 0), (rotation, 1)]) {
            let key = ViewKey { seed: 0, epoch, image, rotation: rotation as u32, view };
            let drawn = augment.draw(set.size(), rotation, &mut key.rng());
            views.push(step_by_step(&drawn, &pixels));
        }
    }
    views
}

fn step_by_step(view: &View, image: &Image) -> Image {
    let image = if view.flip { ops::horizontal_flip(image) } else { image.clone() };
    let image = ops::rotate90(&image, view.rotation);
    let CropBox { top, left, height, width } = view.crop;
    let mut image = ops::resized_crop(&image, top, left, height, width, image.size()).unwrap();
    for (op, factor) in view.jitter.iter().flat_map(|jitter| jitter.steps) {
        match op {
            ColorOp::Brightness => ops::adjust_brightness(&mut image, factor).unwrap(),
            ColorOp::Contrast => ops::adjust_contrast(&mut image, factor).unwrap(),
            ColorOp::Saturation => ops::adjust_saturation(&mut image, factor).unwrap(),
            ColorOp::Hue => ops::adjust_hue(&mut image, factor).unwrap(),
            other => unreachable!("{other:?}"),
        }
    }
    if view.gray {
        ops::grayscale(&mut image);
    }
    image
}
