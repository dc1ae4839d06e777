//! Training batches: what is in them, and that they depend on their position and nothing else.

use std::collections::HashSet;
use std::sync::Arc;

use burn::tensor::Device;
use mcl_data::augment::SimClrAugmentConfig;
use mcl_data::augment::ops::{self, Image};
use mcl_data::batch::{BatchConfig, HostBatch, Position, Rotations, TwoViewBatches};
use mcl_data::{DataError, ImageSet};

const SIDE: usize = 8;
const VIEW: usize = 3 * SIDE * SIDE;

fn set(images: usize) -> Arc<ImageSet> {
    let byte = |i: usize| ((i * 2_654_435_761) >> 7) as u8;
    let labels = (0..images).map(|i| i % 3).collect();
    let names = ["a", "b", "c"].map(String::from).to_vec();
    Arc::new(ImageSet::new((0..images * VIEW).map(byte).collect(), (SIDE, SIDE), labels, names).unwrap())
}

fn batches(config: &BatchConfig, images: usize) -> TwoViewBatches {
    config.try_init(set(images)).unwrap()
}

fn all(batches: &TwoViewBatches, from: Position, epochs: usize) -> Vec<HostBatch> {
    batches.stream(from, epochs).unwrap().map(Result::unwrap).collect()
}

fn at(epoch: usize, batch: usize) -> Position {
    Position { epoch, batch }
}

/// Each view is the upright or mirrored image, turned, when nothing else is drawn.
#[test]
fn samples_are_the_rotations_of_their_images() {
    let whole = SimClrAugmentConfig::new()
        .with_crop_scale((1.0, 1.0))
        .with_crop_ratio((1.0, 1.0))
        .with_color_strength(0.0)
        .with_gray_probability(0.0);
    let batches = batches(&BatchConfig::new(5).with_augment(whole), 12);
    let set = set(12);
    let mut flips = [0; 2];
    for batch in all(&batches, at(0, 0), 4) {
        assert_eq!((batch.samples(), batch.size, batch.pixels.len()), (20, (SIDE, SIDE), 40 * VIEW));
        for (row, view) in batch.pixels.chunks_exact(VIEW).enumerate() {
            let sample = row / 2;
            let (image, rotation) = (batch.indices[sample / 4], sample % 4);
            assert_eq!(batch.class[sample], set.label(image) as i64);
            assert_eq!(batch.aux[sample], rotation as i64);
            let upright = Image::from_u8(set.pixels(image), set.size()).unwrap();
            let turned = ops::rotate90(&upright, rotation);
            // Horizontal for 0 and 180 degrees, vertical for 90 and 270.
            let mirrored =
                if rotation % 2 == 0 { ops::horizontal_flip(&turned) } else { ops::vertical_flip(&turned) };
            let flip = view == mirrored.pixels();
            assert!(flip || view == turned.pixels(), "sample {sample} shows something else");
            flips[usize::from(flip)] += 1;
        }
    }
    let views = 4 * 2 * 40;
    assert_eq!(flips[0] + flips[1], views);
    assert!((views * 2 / 5..views * 3 / 5).contains(&flips[1]), "{flips:?}");
}

/// An augmentation that draws nothing: views are their turned images.
fn plain() -> SimClrAugmentConfig {
    SimClrAugmentConfig::new()
        .with_crop_scale((1.0, 1.0))
        .with_crop_ratio((1.0, 1.0))
        .with_flip(false)
        .with_color_strength(0.0)
        .with_gray_probability(0.0)
}

#[test]
fn both_views_of_a_drawn_rotation_are_turned_by_the_auxiliary_label() {
    let config = BatchConfig::new(10).with_rotations(Rotations::Drawn).with_augment(plain());
    let (batches, set) = (batches(&config, 20), set(20));
    assert_eq!(batches.samples_per_batch(), 10);
    let (mut counts, mut changed) = ([0; 4], HashSet::new());
    for batch in all(&batches, at(0, 0), 40) {
        assert_eq!((batch.samples(), batch.pixels.len()), (10, 20 * VIEW));
        for (sample, views) in batch.pixels.chunks_exact(2 * VIEW).enumerate() {
            let (image, turns) = (batch.indices[sample], batch.aux[sample] as usize);
            let upright = Image::from_u8(set.pixels(image), set.size()).unwrap();
            let turned = ops::rotate90(&upright, turns);
            assert!(views.chunks_exact(VIEW).all(|view| view == turned.pixels()), "sample {sample}");
            assert_eq!(batch.class[sample], set.label(image) as i64);
            counts[turns] += 1;
            changed.insert((image, turns));
        }
    }
    // 800 draws: 200 of each rotation with a standard deviation of 12; every image meets every rotation.
    assert!(counts.iter().all(|count| (140..260).contains(count)), "{counts:?}");
    assert_eq!(changed.len(), 80);
}

#[test]
fn drawn_rotations_are_functions_of_the_position() {
    let config = BatchConfig::new(7).with_rotations(Rotations::Drawn).with_seed(5);
    let stream = all(&batches(&config.clone().with_threads(3), 30), at(0, 0), 2);
    for batch in &stream {
        assert!(*batch == batches(&config, 30).batch(batch.position).unwrap());
    }
    let resumed = all(&batches(&config, 30), at(1, 1), 2);
    assert!(resumed == stream[5..]);
    let other_seed = all(&batches(&config.with_seed(6), 30), at(0, 0), 2);
    assert!(other_seed.iter().zip(&stream).any(|(other, batch)| other.aux != batch.aux));
}

#[test]
fn an_epoch_has_every_image_once_but_for_the_rest() {
    let batches = batches(&BatchConfig::new(4), 22);
    assert_eq!((batches.batches_per_epoch(), batches.samples_per_batch()), (5, 16));
    let mut left_out = HashSet::new();
    for epoch in 0..6 {
        let images: Vec<usize> =
            all(&batches, at(epoch, 0), epoch + 1).into_iter().flat_map(|b| b.indices).collect();
        let seen: HashSet<usize> = images.iter().copied().collect();
        assert_eq!((images.len(), seen.len()), (20, 20));
        left_out.extend((0..22).filter(|image| !seen.contains(image)));
    }
    assert!(left_out.len() > 2, "always the same images are left out: {left_out:?}");
}

#[test]
fn threads_do_not_change_a_bit() {
    let with_threads = |threads| all(&batches(&BatchConfig::new(7).with_threads(threads), 30), at(0, 0), 2);
    let one = with_threads(1);
    assert_eq!(one.len(), 8);
    for threads in [0, 2, 5] {
        assert!(with_threads(threads) == one, "{threads} threads made other batches");
    }
}

#[test]
fn a_stream_gives_what_each_position_gives() {
    for prefetch in [0, 1, 4] {
        let batches = batches(&BatchConfig::new(7).with_prefetch(prefetch), 30);
        let mut position = Position::default();
        for batch in all(&batches, position, 2) {
            assert_eq!(batch.position, position);
            assert!(batch == batches.batch(position).unwrap());
            position = batches.after(position);
        }
        assert_eq!(position, at(2, 0));
    }
}

#[test]
fn a_resumed_stream_goes_on_where_the_first_one_was() {
    let batches = batches(&BatchConfig::new(6).with_seed(3), 20);
    let uninterrupted = all(&batches, at(0, 0), 3);
    assert_eq!(uninterrupted.len(), 9);
    for (done, batch) in uninterrupted.iter().enumerate() {
        // As a checkpoint would keep it.
        let json = serde_json::to_string(&batch.position).unwrap();
        let resumed = all(&batches, serde_json::from_str(&json).unwrap(), 3);
        assert!(resumed == uninterrupted[done..]);
    }
}

#[test]
fn epochs_seeds_and_views_differ() {
    let first = batches(&BatchConfig::new(20), 20).batch(at(0, 0)).unwrap();
    let second = batches(&BatchConfig::new(20), 20).batch(at(1, 0)).unwrap();
    let other_seed = batches(&BatchConfig::new(20).with_seed(1), 20).batch(at(0, 0)).unwrap();
    assert_ne!(first.indices, second.indices);
    assert_ne!(first.indices, other_seed.indices);
    let views: HashSet<Vec<u32>> = [&first, &second, &other_seed]
        .into_iter()
        .flat_map(|batch| batch.pixels.chunks_exact(VIEW))
        .map(|view| view.iter().map(|value| value.to_bits()).collect())
        .collect();
    assert_eq!(views.len(), 3 * 20 * 8, "two views are equal");
}

#[test]
fn on_a_device_the_views_of_a_sample_are_neighbours() {
    let batch = batches(&BatchConfig::new(3), 9).batch(at(0, 1)).unwrap();
    let on_device = batch.clone().to_device(&Device::flex());
    assert_eq!(on_device.images.dims(), [24, 3, SIDE, SIDE]);
    assert_eq!(on_device.class.into_data().iter::<i64>().collect::<Vec<_>>(), batch.class);
    assert_eq!(on_device.aux.into_data().iter::<i64>().collect::<Vec<_>>(), batch.aux);
    let by_sample = on_device.images.reshape([12, 2, VIEW]);
    let view = by_sample.slice([7..8, 1..2, 0..VIEW]).into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(view, batch.pixels[(7 * 2 + 1) * VIEW..][..VIEW]);
}

#[test]
fn without_rotations_images_need_not_be_square() {
    let set =
        Arc::new(ImageSet::new(vec![9; 5 * 3 * 4 * 6], (4, 6), vec![0; 5], vec!["only".into()]).unwrap());
    let batch = BatchConfig::new(5)
        .with_rotations(Rotations::None)
        .try_init(set.clone())
        .unwrap()
        .batch(at(0, 0))
        .unwrap();
    assert_eq!((batch.samples(), batch.aux), (5, vec![0; 5]));
    for rotations in [Rotations::All, Rotations::Drawn] {
        let refused = BatchConfig::new(5).with_rotations(rotations).try_init(set.clone());
        assert!(matches!(refused, Err(DataError::NotSquare { height: 4, width: 6 })));
    }
}

#[test]
fn impossible_settings_are_refused() {
    let init = |config: BatchConfig| config.try_init(set(5));
    assert!(matches!(init(BatchConfig::new(6)), Err(DataError::BatchTooLarge { batch: 6, available: 5 })));
    assert!(matches!(init(BatchConfig::new(0)), Err(DataError::Setting { name: "images", .. })));
    let endless = init(BatchConfig::new(2).with_prefetch(usize::MAX));
    assert!(matches!(endless, Err(DataError::Setting { name: "prefetch", .. })));
    let augment = SimClrAugmentConfig::new().with_gray_probability(2.0);
    assert!(matches!(
        init(BatchConfig::new(2).with_augment(augment)),
        Err(DataError::Setting { name: "gray_probability", .. })
    ));
    let batches = init(BatchConfig::new(2)).unwrap();
    assert!(matches!(
        batches.batch(at(0, 2)),
        Err(DataError::OutOfRange { what: "batch", index: 2, len: 2 })
    ));
    assert!(batches.stream(at(0, 2), 1).is_err());
    assert!(batches.stream(at(3, 1), 3).unwrap().next().is_none());
}

#[test]
fn an_endless_stream_can_be_dropped_at_any_point() {
    let batches = batches(&BatchConfig::new(5), 20);
    for taken in 0..8 {
        let mut stream = batches.stream(Position::default(), usize::MAX).unwrap();
        assert!(stream.by_ref().take(taken).all(|batch| batch.is_ok()));
    }
}
