//! A data set without files: small signs on cluttered backgrounds, drawn on the spot.
//!
//! It stands in for CIFAR-10 where there is none: ten classes that every rotation changes, as the method's auxiliary
//! labels need (section 2.4 of the paper), in the same format, with a near and a far set of anomalies. A small network
//! learns it in minutes; results on it say that the pieces work together, and nothing about natural images.

mod canvas;
mod glyphs;
mod render;
mod textures;

use rayon::prelude::*;

pub use canvas::SIDE;

use crate::ImageSet;
use canvas::{Canvas, Random};

/// The parts of the shapes set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum ShapesSplit {
    /// Ten signs, for training.
    Train,
    /// The same ten signs, other pictures.
    Test,
    /// Eight signs of the same style that are none of the ten.
    NearOod,
    /// Five kinds of textures without any sign.
    FarOod,
}

impl ShapesSplit {
    /// The names of its classes.
    #[must_use]
    pub fn class_names(self) -> Vec<String> {
        let of = |signs: &[glyphs::Glyph]| signs.iter().map(|sign| sign.name.to_string()).collect();
        match self {
            Self::Train | Self::Test => of(&glyphs::CLASSES),
            Self::NearOod => of(&glyphs::UNSEEN),
            Self::FarOod => textures::NAMES.iter().map(ToString::to_string).collect(),
        }
    }

    fn draw(self, class: usize, random: &mut Random) -> Canvas {
        match self {
            Self::Train | Self::Test => render::sign(&glyphs::CLASSES[class], random),
            Self::NearOod => render::sign(&glyphs::UNSEEN[class], random),
            Self::FarOod => textures::texture(class, random),
        }
    }
}

/// Draws `images_per_class` images of each class of `kind`, 32 x 32, on all cores.
///
/// Image i is of class i modulo the number of classes, and depends on (`kind`, `seed`, i) only: a larger set starts with
/// the smaller one, on every platform, with any number of threads.
///
/// ```
/// use mcl_data::shapes::{self, ShapesSplit};
///
/// let train = shapes::generate(ShapesSplit::Train, 5, 0);
/// assert_eq!((train.len(), train.size()), (50, (32, 32)));
/// assert_eq!(train.class_names()[train.label(12)], "eff");
/// ```
#[must_use]
pub fn generate(kind: ShapesSplit, images_per_class: usize, seed: u64) -> ImageSet {
    let class_names = kind.class_names();
    let classes = class_names.len();
    let labels: Vec<usize> = (0..images_per_class * classes).map(|i| i % classes).collect();
    let mut pixels = vec![0; labels.len() * 3 * SIDE * SIDE];
    pixels.par_chunks_exact_mut(3 * SIDE * SIDE).enumerate().for_each(|(i, planar)| {
        let mut random = Random::new(seed, kind as u64, i);
        kind.draw(i % classes, &mut random).write(planar);
    });
    ImageSet::new(pixels, (SIDE, SIDE), labels, class_names).expect("one image and one class a label")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ShapesSplit::{FarOod, NearOod, Test, Train};

    #[test]
    fn a_larger_set_starts_with_the_smaller() {
        for kind in [Train, Test, NearOod, FarOod] {
            let small = generate(kind, 3, 7);
            assert_eq!(small, generate(kind, 5, 7).take(small.len()));
            assert!(small.class_counts().iter().all(|&n| n == 3));
        }
        assert!(generate(Train, 0, 0).is_empty());
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| generate(Train, 20, 3))
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn seeds_and_splits_share_no_image() {
        let sets = [generate(Train, 20, 0), generate(Train, 20, 1), generate(Test, 20, 0)];
        let mut images: Vec<&[u8]> =
            sets.iter().flat_map(|set| (0..set.len()).map(|i| set.pixels(i))).collect();
        images.sort_unstable();
        images.dedup();
        assert_eq!(images.len(), 600);
    }

    /// The set is part of every result obtained with it: a change of a single byte has to be meant.
    #[test]
    fn the_pictures_are_the_same_for_ever() {
        let crc = |kind| {
            let mut crc = flate2::Crc::new();
            generate(kind, 10, 42).iter_pixels().for_each(|image| crc.update(image));
            crc.sum()
        };
        assert_eq!([Train, Test, NearOod, FarOod].map(crc), [1197412749, 1650610923, 2670953625, 3659703220]);
    }

    #[test]
    fn color_says_little_about_the_class() {
        let set = generate(Train, 200, 5);
        let mut means = [[0.0f64; 3]; 10];
        for i in 0..set.len() {
            for (c, plane) in set.pixels(i).chunks(SIDE * SIDE).enumerate() {
                means[set.label(i)][c] += plane.iter().map(|&v| f64::from(v)).sum::<f64>() / (200.0 * 1024.0);
            }
        }
        for channel in 0..3 {
            let all: f64 = means.iter().map(|mean| mean[channel]).sum::<f64>() / 10.0;
            // A mean of 200 pictures varies by about 40 / sqrt(200) = 3; larger signs make brighter pictures.
            assert!(means.iter().all(|mean| (mean[channel] - all).abs() < 25.0), "{means:?}");
        }
    }
}
