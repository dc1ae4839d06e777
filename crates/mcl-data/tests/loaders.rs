//! The sets and batchers in Burn's own loaders and transforms.

use std::collections::HashMap;
use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::Dataset;
use burn::data::dataset::transform::{Mapper, MapperDataset, PartialDataset};
use burn::tensor::Device;
use mcl_data::augment::SimClrAugmentConfig;
use mcl_data::batch::{
    BatchConfig, EvalBatch, EvalBatcher, Indexed, IndexedDataset, Position, Rotations, TwoViewBatch,
    TwoViewBatcher, eval_batches,
};
use mcl_data::{ImageSet, LabeledImage};

const SIDE: usize = 6;
const VIEW: usize = 3 * SIDE * SIDE;

/// `n` images of noise; image i has label i.
fn set(n: usize) -> ImageSet {
    let byte = |i: usize| ((i * 2_654_435_761) >> 7) as u8;
    let names = (0..n).map(|i| i.to_string()).collect();
    ImageSet::new((0..n * VIEW).map(byte).collect(), (SIDE, SIDE), (0..n).collect(), names).unwrap()
}

fn loader(rotations: Rotations, workers: usize, images: usize) -> Arc<dyn DataLoader<TwoViewBatch>> {
    let batcher = TwoViewBatcher::new(SimClrAugmentConfig::new().init(), rotations, 3);
    let builder = DataLoaderBuilder::new(batcher).batch_size(5).shuffle(1).num_workers(workers);
    builder.set_device(Device::flex()).build(IndexedDataset(set(images)))
}

fn ints(labels: burn::tensor::Tensor<1, burn::tensor::Int>) -> Vec<i64> {
    labels.into_data().iter::<i64>().collect()
}

fn floats<const D: usize>(tensor: burn::tensor::Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().unwrap()
}

/// The views of each sample of an epoch, by (class, aux). Here the class is the index of the image.
fn epoch(loader: &dyn DataLoader<TwoViewBatch>) -> HashMap<(i64, i64), Vec<f32>> {
    let mut views = HashMap::new();
    for batch in loader.iter() {
        let batch = batch.unwrap();
        let (class, aux) = (ints(batch.class), ints(batch.aux));
        assert_eq!(batch.images.dims(), [2 * class.len(), 3, SIDE, SIDE]);
        let pixels = floats(batch.images);
        for (sample, pair) in pixels.chunks_exact(2 * VIEW).enumerate() {
            assert!(
                views.insert((class[sample], aux[sample]), pair.to_vec()).is_none(),
                "a sample came twice"
            );
        }
    }
    views
}

#[test]
fn a_loader_makes_the_views_of_each_epoch_in_turn() {
    for rotations in [Rotations::All, Rotations::Drawn, Rotations::Augmentation, Rotations::None] {
        let loader = loader(rotations, 0, 13);
        let config = BatchConfig::new(13).with_rotations(rotations).with_seed(3);
        let batches = config.try_init(Arc::new(set(13))).unwrap();
        for number in 0..3 {
            let found = epoch(&*loader);
            assert_eq!(found.len(), 13 * rotations.per_image());
            let expected = batches.batch(Position { epoch: number, batch: 0 }).unwrap();
            for (sample, pair) in expected.pixels.chunks_exact(2 * VIEW).enumerate() {
                let key = (expected.class[sample], expected.aux[sample]);
                assert!(found[&key] == pair, "{rotations:?}, epoch {number}, sample {key:?}");
            }
        }
    }
}

#[test]
fn workers_do_not_change_a_view() {
    let (alone, three) = (loader(Rotations::All, 0, 13), loader(Rotations::All, 3, 13));
    for _ in 0..3 {
        assert!(epoch(&*alone) == epoch(&*three));
    }
}

#[test]
fn a_batcher_can_start_with_a_later_epoch() {
    let make = || TwoViewBatcher::new(SimClrAugmentConfig::new().init(), Rotations::Drawn, 0);
    let items = || -> Vec<Indexed<LabeledImage>> {
        let set = IndexedDataset(set(4));
        (0..4).map(|i| set.get(i).unwrap()).collect()
    };
    let (first, later) = (make(), make().with_first_epoch(1));
    let batch = |batcher: &TwoViewBatcher| floats(batcher.batch(items(), &Device::flex()).images);
    let epochs = [batch(&first), batch(&first)];
    assert!(batch(&later) == epochs[1] && epochs[0] != epochs[1]);
}

#[test]
fn a_mapped_set_keeps_the_indices_of_its_images() {
    struct Invert;
    impl Mapper<LabeledImage, LabeledImage> for Invert {
        fn map(&self, image: &LabeledImage) -> LabeledImage {
            LabeledImage { pixels: image.pixels.iter().map(|value| 255 - value).collect(), ..image.clone() }
        }
    }
    let mapped = IndexedDataset(MapperDataset::new(set(9), Invert));
    let part = PartialDataset::new(mapped, 4, 9);
    let item = part.get(2).unwrap();
    assert_eq!((item.index, item.item.label, item.item.pixels[0]), (6, 6, 255 - set(9).pixels(6)[0]));
    let loader: Arc<dyn DataLoader<EvalBatch>> =
        DataLoaderBuilder::new(EvalBatcher).batch_size(4).set_device(Device::flex()).build(part);
    let labels: Vec<usize> = loader.iter().flat_map(|batch| batch.unwrap().labels).collect();
    assert_eq!(labels, [4, 5, 6, 7, 8]);
}

#[test]
fn evaluation_batches_are_those_of_the_set() {
    let set = set(11);
    let loader: Arc<dyn DataLoader<EvalBatch>> =
        DataLoaderBuilder::new(EvalBatcher).batch_size(4).set_device(Device::flex()).build(set.clone());
    let expected = eval_batches(&set, 4, &Device::flex()).unwrap();
    let mut compared = 0;
    for (batch, expected) in loader.iter().zip(expected) {
        let batch = batch.unwrap();
        assert_eq!(batch.labels, expected.labels);
        assert!(floats(batch.images) == floats(expected.images));
        compared += 1;
    }
    assert_eq!(compared, 3);
}

#[test]
#[should_panic(expected = "images of (6, 6) and of (5, 6)")]
fn images_of_two_sizes_do_not_make_a_batch() {
    let image = |size: (usize, usize)| LabeledImage { pixels: vec![0; 3 * size.0 * size.1], size, label: 0 };
    let _: EvalBatch = EvalBatcher.batch(vec![image((6, 6)), image((5, 6))], &Device::flex());
}
