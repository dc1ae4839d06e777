//! The loops for the CPU against the tensor operations for every other device.

use super::*;
use crate::mahalanobis::config::Covariance;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

fn random(rng: &mut ChaCha8Rng, shape: [usize; 2]) -> Tensor<2> {
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| 0.3 + rng.random_range(-1.5..1.5)).collect();
    f32_tensor(values, shape, &Device::flex())
}

/// Fits `samples`, a tensor for each class and auxiliary class.
fn fit(samples: &[Vec<Tensor<2>>], config: &MahalanobisConfig) -> MahalanobisScorer {
    let [rows, dim] = samples[0][0].dims();
    let mut statistics = config.statistics(samples.len(), samples[0].len(), dim);
    for (class, samples) in samples.iter().enumerate() {
        for (aux, samples) in samples.iter().enumerate() {
            let data = samples.clone().into_data();
            statistics.update(data.as_slice().unwrap(), &vec![class; rows], &vec![aux; rows]).unwrap();
        }
    }
    statistics.fit(config, &Device::flex()).unwrap()
}

fn assert_agreement(scorer: &MahalanobisScorer, embeddings: &Tensor<3>, view_aux: &[usize], what: &str) {
    assert!(matches!(scorer.gaussians, Form::Host(_)));
    let record = scorer.record.clone();
    let general = MahalanobisScorer::general(record, Device::flex()).unwrap();
    let [host, general] =
        [scorer, &general].map(|of| of.score(embeddings.clone(), view_aux).unwrap().into_data());
    assert_eq!(host.shape(), general.shape());
    for (host, general) in host.iter::<f32>().zip(general.iter::<f32>()) {
        assert!((host - general).abs() <= -1e-4 * general, "{host} {general} {what}");
    }
}

#[test]
fn host_and_device_agree() {
    let rng = &mut rng();
    // Blocks that are full and not, strips that are full and not, one class and several, one chunk and
    // several.
    for (images, classes, dim, normalize) in
        [(1, 1, 1, false), (33, 2, 3, true), (70, 3, 8, true), (64, 2, 17, false), (300, 80, 24, true)]
    {
        let mut both = || vec![random(rng, [40, dim]), random(rng, [40, dim])];
        let samples: Vec<Vec<_>> = (0..classes).map(|_| both()).collect();
        let scorer = fit(&samples, &MahalanobisConfig::new().with_normalize(normalize));
        let embeddings = random(rng, [images * 3, dim]).reshape([images, 3, dim]);
        assert_agreement(&scorer, &embeddings, &[1, 0, 1], &format!("{images} of dimension {dim}"));
    }
    assert!(300 > 2 * image_chunk(80, 24), "the last is of several chunks");
}

/// Tight clusters, of which most directions are down to the ridge; what is scored is near them and far. Not
/// brought to unit length, which tensors do in f32: the whitening of these clusters makes its rounding one of
/// the fourth digit.
#[test]
fn host_and_device_agree_on_collapsed_clusters() {
    let (rng, dim) = (&mut rng(), 16);
    let fading: Vec<f32> = (0..dim as i32).map(|i| 0.5f32.powi(i)).collect();
    let fading = Tensor::<1>::from_floats(fading.as_slice(), &Device::flex()).unsqueeze::<2>();
    let centre = random(rng, [1, dim]);
    let mut around = |rows, spread: f32| centre.clone() + random(rng, [rows, dim]) * spread * fading.clone();
    for covariance in [Covariance::PerClass, Covariance::Tied] {
        let config = MahalanobisConfig::new().with_covariance(covariance).with_normalize(false);
        let scorer = fit(&[vec![around(200, 0.1)], vec![around(200, 0.2)]], &config);
        for spread in [0.1, 3.0] {
            let embeddings = around(150, spread).unsqueeze_dim(1);
            assert_agreement(&scorer, &embeddings, &[0], &format!("spread {spread}"));
        }
    }
}

/// Lengths that overflow when squared, or vanish; and distances that overflow.
#[test]
fn host_and_device_agree_at_any_scale() {
    let rng = &mut rng();
    for normalize in [true, false] {
        let config = MahalanobisConfig::new().with_normalize(normalize);
        let scorer = fit(&[vec![random(rng, [60, 6])], vec![random(rng, [60, 6])]], &config);
        for scale in [1e-37, 1e-20, 1.0, 1e15, 1e20, 1e37] {
            let embeddings: Tensor<3> = random(rng, [40, 6]).unsqueeze_dim(1) * scale;
            assert_agreement(&scorer, &embeddings, &[0], &format!("normalize {normalize}, scale {scale}"));
        }
    }
}
