//! The samples of some images: their rotations, the two random views of each, and their labels.

use rayon::ThreadPool;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::Rotations;
use crate::augment::{Scratch, SimClrAugment, ViewKey};

/// Views of a sample.
const VIEWS: usize = 2;

/// An image that samples are made of.
pub(super) struct Source<'a> {
    /// Index of the image in its set.
    pub(super) index: usize,
    /// Epoch whose views are made.
    pub(super) epoch: usize,
    pub(super) class: usize,
    /// Planar RGB, [3, height, width].
    pub(super) pixels: &'a [u8],
}

/// Samples in memory, in the order of their images.
pub(super) struct Samples {
    /// [samples, 2, 3, view height, view width]
    pub(super) pixels: Vec<f32>,
    pub(super) size: (usize, usize),
    pub(super) class: Vec<i64>,
    pub(super) aux: Vec<i64>,
}

/// Makes samples: a function of the seed, and of the index and epoch of each image.
#[derive(Debug, Clone)]
pub(super) struct Sampler {
    pub(super) augment: SimClrAugment,
    pub(super) rotations: Rotations,
    pub(super) seed: u64,
}

impl Sampler {
    /// Whether samples of images of this size have one size.
    pub(super) fn fits(&self, (height, width): (usize, usize)) -> bool {
        self.rotations == Rotations::None
            || height == width
            || self.augment.view_size((height, width)) == self.augment.view_size((width, height))
    }

    /// Makes the samples of images of one size, for which [`fits`](Self::fits) holds, on `pool` or on rayon's own.
    pub(super) fn make(
        &self,
        images: &[Source<'_>],
        size: (usize, usize),
        pool: Option<&ThreadPool>,
    ) -> Samples {
        let view_size = self.augment.view_size(size);
        let view_len = 3 * view_size.0 * view_size.1;
        let samples = self.rotations.per_image();
        let image_len = samples * VIEWS * view_len;
        let mut pixels = vec![0.0; images.len() * image_len];
        let mut fill = || {
            let outputs = pixels.par_chunks_exact_mut(image_len);
            images.par_iter().zip(outputs).for_each_init(Scratch::default, |scratch, (image, out)| {
                for (number, out) in out.chunks_exact_mut(view_len).enumerate() {
                    let turns = self.turns(image, number / VIEWS, number % VIEWS);
                    let mut rng = self.key(image, turns, number % VIEWS).rng();
                    self.augment.write(image.pixels, size, turns, &mut rng, scratch, out);
                }
            });
        };
        match pool {
            Some(pool) => pool.install(fill),
            None => fill(),
        }
        let of_samples = |label: &dyn Fn(&Source<'_>, usize) -> usize| {
            let of_image = |image| (0..samples).map(move |sample| label(image, sample) as i64);
            images.iter().flat_map(of_image).collect()
        };
        Samples {
            pixels,
            size: view_size,
            class: of_samples(&|image, _| image.class),
            aux: of_samples(&|image, sample| self.rotations.label(self.turns(image, sample, 0))),
        }
    }

    fn turns(&self, image: &Source<'_>, sample: usize, view: usize) -> usize {
        self.rotations.turns(sample, view, self.seed, image.epoch, image.index)
    }

    fn key(&self, image: &Source<'_>, turns: usize, view: usize) -> ViewKey {
        ViewKey {
            seed: self.seed,
            epoch: image.epoch as u64,
            image: image.index as u64,
            rotation: turns as u32,
            view: view as u32,
        }
    }
}
