//! What several tests share. Each test program uses a part.
#![allow(dead_code)]

use burn::tensor::{Device, Tensor, TensorData};
use mcl_infer::{Covariance, MahalanobisConfig, MahalanobisRecord, MahalanobisScorer};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The covariance of a cluster, `[dim, dim]`.
pub(crate) fn covariance(record: &MahalanobisRecord, class: usize, aux: usize) -> &[f64] {
    let size = record.dim * record.dim;
    let index = match record.config.covariance {
        Covariance::Tied => aux,
        _ => class * record.aux_classes + aux,
    };
    &record.covariances[index * size..][..size]
}

pub(crate) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

pub(crate) fn embeddings(values: &[f32], views: usize, dim: usize) -> Tensor<3> {
    let shape = [values.len() / (views * dim), views, dim];
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
}

pub(crate) fn uniform(rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Fits `per_cluster` samples from `sample(rng, class, aux)` in each cluster.
pub(crate) fn fit(
    config: &MahalanobisConfig,
    [classes, aux_classes, dim]: [usize; 3],
    per_cluster: usize,
    mut sample: impl FnMut(usize, usize) -> Vec<f32>,
) -> MahalanobisScorer {
    let mut statistics = config.statistics(classes, aux_classes, dim);
    for class in 0..classes {
        for aux in 0..aux_classes {
            let features: Vec<f32> = (0..per_cluster).flat_map(|_| sample(class, aux)).collect();
            statistics.update(&features, &vec![class; per_cluster], &vec![aux; per_cluster]).unwrap();
        }
    }
    statistics.fit(config, &Device::flex()).unwrap()
}

/// Two classes of two auxiliary classes, dimension 3.
pub(crate) fn small(normalize: bool) -> MahalanobisScorer {
    let rng = &mut ChaCha8Rng::seed_from_u64(8);
    fit(&MahalanobisConfig::new().with_normalize(normalize), [2, 2, 3], 9, |_, _| uniform(rng, 3))
}
