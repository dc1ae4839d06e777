//! Image sets from disk: the five binary training files of CIFAR-10, and folders of PNG and JPEG pictures.
//!
//! The files are made at the start, in `$BENCH_DATA` (and kept) or in a temporary folder: embedded shapes in the place of
//! CIFAR-10's images, the same enlarged and with noise as pictures of 256 x 256, which are loaded as 32 x 32.
//!
//! `naive` reads records one by one, and decodes picture after picture.
//!
//! ```text
//! cargo bench --workspace --bench loading
//! ```

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use burn_mcl::data::{ImageSet, Split, cifar10, image_folder, shapes};
use burn_mcl_benches::{Bench, HERE, number};
use image::RgbImage;
use image::imageops::FilterType;
use shapes::ShapesSplit;

const FILES: usize = 5;
const RECORDS: usize = 10_000;
/// Small pictures, and large ones in either format.
const SMALL: usize = 2000;
const LARGE: usize = 200;

fn main() {
    let mut bench = Bench::from_args();
    let temporary = tempfile::tempdir().unwrap();
    let root = std::env::var_os("BENCH_DATA").map_or(temporary.path().to_path_buf(), PathBuf::from);
    if !root.join("complete").exists() {
        make(&root);
    }

    let mut group = bench.group("load_cifar10");
    group.bench_function(HERE, |b| b.iter(|| cifar10::load(&root, Split::Train).unwrap()));
    group.bench_function("naive", |b| b.iter(|| naive_cifar10(&root)));
    group.finish();
    for (name, folder) in
        [("decode_png_32", "png-32"), ("decode_png_256", "png-256"), ("decode_jpeg_256", "jpeg-256")]
    {
        let folder = root.join(folder);
        let mut group = bench.group(name);
        group.bench_function(HERE, |b| b.iter(|| image_folder::load(&folder, (32, 32)).unwrap()));
        group.bench_function("naive", |b| b.iter(|| naive_folder(&folder)));
        group.finish();
    }
    bench.finish();
}

fn make(root: &Path) {
    let set = shapes::generate(ShapesSplit::Train, FILES * RECORDS / 10, 0);
    let records = root.join("cifar-10-batches-bin");
    fs::create_dir_all(&records).unwrap();
    for file in 0..FILES {
        let images = file * RECORDS..(file + 1) * RECORDS;
        let bytes: Vec<u8> = images.flat_map(|i| [&[set.label(i) as u8], set.pixels(i)].concat()).collect();
        fs::write(records.join(format!("data_batch_{}.bin", file + 1)), bytes).unwrap();
    }
    for i in 0..SMALL {
        let picture = picture(&set, i);
        picture.save(place(root, "png-32", &set, i, "png")).unwrap();
        if i < LARGE {
            let mut large = image::imageops::resize(&picture, 256, 256, FilterType::CatmullRom);
            let start = (i * 256 * 256 * 3) as u64;
            for (index, value) in (start..).zip(large.iter_mut()) {
                *value = value.saturating_add((number(index) * 8.0) as u8);
            }
            large.save(place(root, "png-256", &set, i, "png")).unwrap();
            large.save(place(root, "jpeg-256", &set, i, "jpg")).unwrap();
        }
    }
    fs::write(root.join("complete"), "").unwrap();
}

fn picture(set: &ImageSet, i: usize) -> RgbImage {
    let planes = set.pixels(i);
    RgbImage::from_fn(32, 32, |x, y| image::Rgb([0, 1, 2].map(|c| planes[1024 * c + (32 * y + x) as usize])))
}

fn place(root: &Path, folder: &str, set: &ImageSet, i: usize, extension: &str) -> PathBuf {
    let folder = root.join(folder).join(&set.class_names()[set.label(i)]);
    fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{i:05}.{extension}"))
}

fn naive_cifar10(root: &Path) -> Vec<(u8, Vec<u8>)> {
    let mut images = Vec::new();
    for file in 1..=FILES {
        let path = root.join(format!("cifar-10-batches-bin/data_batch_{file}.bin"));
        let mut reader = BufReader::new(File::open(path).unwrap());
        let mut record = [0; 3073];
        while reader.read_exact(&mut record).is_ok() {
            images.push((record[0], record[1..].to_vec()));
        }
    }
    images
}

fn naive_folder(root: &Path) -> Vec<RgbImage> {
    let mut images = Vec::new();
    for class in fs::read_dir(root).unwrap() {
        for path in fs::read_dir(class.unwrap().path()).unwrap() {
            let image = image::open(path.unwrap().path()).unwrap().into_rgb8();
            images.push(if image.dimensions() == (32, 32) {
                image
            } else {
                image::imageops::resize(&image, 32, 32, FilterType::Triangle)
            });
        }
    }
    images
}
