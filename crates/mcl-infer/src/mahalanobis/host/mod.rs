//! Mahalanobis distances on Burn's CPU backend, flex, several times faster than by tensor operations.
//!
//! A vector register holds one number of neighbouring images.

mod per_class;
mod tied;

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::TensorData;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::record::MahalanobisRecord;
use super::whitening::whitening_of;
use crate::error::InferError;

/// Vectors of images in a block: as many as leave registers for the sums of some rows of a matrix, of which
/// AVX2 has 16.
const VECTORS: usize = 2;

/// Blocks of images that are read from a tensor together, unless their scores are more than [`READ_NUMBERS`].
const READ: usize = 4;

/// Scores of an image from which on blocks are read one by one: few images are shared among more threads
/// then.
const READ_NUMBERS: usize = 1 << 12;

/// The Gaussians of a scorer, in the order in which they are read.
#[derive(Clone)]
pub(crate) struct HostGaussians {
    shape: Shape,
    form: Arc<Form>,
}

/// What the loops need to know of a scorer.
#[derive(Clone, Copy)]
struct Shape {
    classes: usize,
    dim: usize,
    normalize: bool,
}

/// The matrices, for each auxiliary class.
enum Form {
    /// `[aux_classes, classes]`
    PerClass(Vec<per_class::Cluster>),
    /// `[aux_classes]`
    Tied(Vec<tied::Classes>),
}

impl HostGaussians {
    pub(crate) fn new(record: &MahalanobisRecord) -> Result<Self, InferError> {
        let &MahalanobisRecord { classes, aux_classes, dim, .. } = record;
        let form = if record.is_shared() {
            let of_aux = |aux| {
                let whitening = whitening_of(record, 0, aux)?;
                let means = (0..classes).map(|class| record.mean(class, aux));
                Ok(tied::Classes::new(means, &whitening))
            };
            Form::Tied(in_parallel(aux_classes, of_aux)?)
        } else {
            let of_cluster = |index| {
                let (class, aux) = (index % classes, index / classes);
                let whitening = whitening_of(record, class, aux)?;
                Ok(per_class::Cluster::new(record.mean(class, aux), &whitening))
            };
            Form::PerClass(in_parallel(aux_classes * classes, of_cluster)?)
        };
        let shape = Shape { classes, dim, normalize: record.config.normalize };
        Ok(Self { shape, form: Arc::new(form) })
    }

    /// d² of the embeddings of some images: `[images, views, classes]`, where `embeddings` reads those of a
    /// range of images, `[range, views, dim]`. `None` if one of them has no distance: it is not finite, or
    /// zero and is to be brought to unit length.
    ///
    /// # Errors
    ///
    /// Those of `embeddings`, and [`InferError::Device`] when what it reads is not f32.
    pub(crate) fn squared_distances(
        &self,
        images: usize,
        view_aux: &[usize],
        embeddings: impl Fn(Range<usize>) -> Result<TensorData, InferError> + Sync,
    ) -> Result<Option<Vec<f32>>, InferError> {
        self.squared_distances_on(pulp::Arch::new(), images, view_aux, embeddings)
    }

    /// By the vectors of `arch`.
    fn squared_distances_on(
        &self,
        arch: pulp::Arch,
        images: usize,
        view_aux: &[usize],
        embeddings: impl Fn(Range<usize>) -> Result<TensorData, InferError> + Sync,
    ) -> Result<Option<Vec<f32>>, InferError> {
        let (Shape { classes, dim, .. }, views) = (self.shape, view_aux.len());
        let lanes = match *self.form {
            Form::PerClass(_) => VECTORS * arch.dispatch(Lanes).0,
            Form::Tied(_) => VECTORS * arch.dispatch(Lanes).1,
        };
        let read = if views * classes > READ_NUMBERS { lanes } else { READ * lanes };
        let mut squared = vec![0.0; images * views * classes];
        let chunks = squared.par_chunks_mut(read * views * classes).enumerate();
        let sound = chunks.map_init(Scratch::default, |scratch, (chunk, squared)| {
            let first = chunk * read;
            let embeddings = embeddings(first..images.min(first + read))?;
            let embeddings = embeddings.as_slice().map_err(InferError::device)?;
            let mut blocks =
                squared.chunks_mut(lanes * views * classes).zip(embeddings.chunks(lanes * views * dim));
            Ok(blocks.all(|block| self.fill(arch, view_aux, block, scratch)))
        });
        let mut all_sound = true;
        for sound in sound.collect::<Vec<Result<bool, InferError>>>() {
            all_sound &= sound?;
        }
        Ok(all_sound.then_some(squared))
    }

    /// Writes the distances of some images that fit into the vectors; false if one has none.
    fn fill(
        &self,
        arch: pulp::Arch,
        view_aux: &[usize],
        (squared, embeddings): (&mut [f32], &[f32]),
        scratch: &mut Scratch,
    ) -> bool {
        let shape = self.shape;
        match &*self.form {
            Form::PerClass(clusters) => {
                let scratch = &mut scratch.per_class;
                arch.dispatch(per_class::Block { shape, clusters, view_aux, embeddings, squared, scratch })
            }
            Form::Tied(classes) => {
                let scratch = &mut scratch.tied;
                arch.dispatch(tied::Block { shape, classes, view_aux, embeddings, squared, scratch })
            }
        }
    }
}

/// Memory of a thread.
#[derive(Default)]
struct Scratch {
    per_class: per_class::PerClassScratch,
    tied: tied::TiedScratch,
}

/// Makes `count` parts on all threads; of several errors the first counts, whichever thread is the fastest.
fn in_parallel<T: Send>(
    count: usize,
    part: impl Fn(usize) -> Result<T, InferError> + Sync,
) -> Result<Vec<T>, InferError> {
    let parts: Vec<_> = (0..count).into_par_iter().map(&part).collect();
    parts.into_iter().collect()
}

/// Numbers of f32 and of f64 in a vector of this machine.
struct Lanes;

impl WithSimd for Lanes {
    type Output = (usize, usize);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> (usize, usize) {
        (S::F32_LANES, S::F64_LANES)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use burn::tensor::{Device, Distribution, Tensor};

    use super::*;
    use crate::mahalanobis::covariance::estimate;
    use crate::{Covariance, MahalanobisConfig};

    fn random(rows: usize, dim: usize) -> Vec<f32> {
        let random = Tensor::<2>::random([rows, dim], Distribution::Default, &Device::flex());
        random.into_data().try_to_vec().unwrap()
    }

    fn gaussians(covariance: Covariance, classes: usize, dim: usize) -> HostGaussians {
        let config = MahalanobisConfig::new().with_covariance(covariance);
        let mut statistics = config.statistics(classes, 1, dim);
        for class in 0..classes {
            statistics.update(&random(40, dim), &[class; 40], &[0; 40]).unwrap();
        }
        HostGaussians::new(&estimate(&statistics, &config).unwrap()).unwrap()
    }

    #[test]
    fn narrower_vectors_do_not_matter() {
        let (classes, images, dim) = (6, 70, 9);
        for covariance in [Covariance::PerClass, Covariance::Tied] {
            let gaussians = gaussians(covariance, classes, dim);
            let embeddings = random(images, dim);
            let read = |range: Range<usize>| {
                let values = embeddings[range.start * dim..range.end * dim].to_vec();
                Ok(TensorData::new(values, [range.len(), 1, dim]))
            };
            let on = |arch| gaussians.squared_distances_on(arch, images, &[0], read).unwrap().unwrap();
            let widest = on(pulp::Arch::new());
            #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
            let mut narrower = vec![pulp::Arch::Scalar];
            #[cfg(target_arch = "x86_64")]
            narrower.extend(pulp::x86::V3::try_new().map(pulp::Arch::V3));
            for arch in narrower {
                for (narrow, wide) in on(arch).iter().zip(&widest) {
                    assert!((narrow - wide).abs() <= 1e-5 * wide, "{narrow} {wide} by {arch:?}");
                }
            }
        }
    }

    /// What the device could not return says nothing about the embeddings.
    #[test]
    fn a_failed_read_is_no_unsound_embedding() {
        let gaussians = gaussians(Covariance::PerClass, 2, 3);
        let lost = |_| Err(InferError::device("the device was lost"));
        let error = gaussians.squared_distances(5, &[0], lost).unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "the device was lost");
        let wrong =
            |range: Range<usize>| Ok(TensorData::new(vec![1.0f64; range.len() * 3], [range.len(), 1, 3]));
        let error = gaussians.squared_distances(5, &[0], wrong).unwrap_err();
        assert!(matches!(error, InferError::Device(_)) && error.source().is_some(), "{error}");
    }
}
