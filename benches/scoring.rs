//! Mahalanobis scores of 8 views under 10 classes of 4 rotations each, dimension 128.
//!
//! `scoring_tied` scores by Gaussians that share a covariance. `naive` is the loop of the released code:
//! image by image, view by view and class by class, one quadratic form each, on a hundredth of the images.
//!
//! ```text
//! cargo bench --workspace --bench scoring
//! ```

use burn::tensor::{Device, Distribution, Tensor};
use burn_mcl::infer::{Covariance, MahalanobisConfig, MahalanobisScorer, TestTimeViews};
use burn_mcl_benches::{Bench, HERE};

const CLASSES: usize = 10;
const ROTATIONS: usize = 4;
const DIM: usize = 128;
const IMAGES: usize = 10_000;
const FEW: usize = IMAGES / 100;

fn main() {
    let mut bench = Bench::from_args();
    let device = Device::flex();
    let scorer = fit(Covariance::PerClass, &device);
    let tied = fit(Covariance::Tied, &device);
    let view_aux = TestTimeViews::RotationsAndFlips.aux();
    let shape = [IMAGES, view_aux.len(), DIM];
    let embeddings = Tensor::<3>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let score_by = |scorer: &MahalanobisScorer, embeddings: &Tensor<3>| {
        scorer.score(embeddings.clone(), view_aux).unwrap().into_data()
    };
    let score = |embeddings: &Tensor<3>| score_by(&scorer, embeddings);

    bench.group("scoring").bench_function(HERE, |b| b.iter(|| score(&embeddings)));
    bench.group("scoring_tied").bench_function(HERE, |b| b.iter(|| score_by(&tied, &embeddings)));

    let few = embeddings.narrow(0, 0, FEW);
    let rows = few.clone().into_data().try_to_vec::<f32>().unwrap();
    let precisions = precisions(&scorer);
    let mut group = bench.group("scoring_few");
    group.bench_function(HERE, |b| b.iter(|| score(&few)));
    group.bench_function("naive", |b| b.iter(|| naive(&rows, &scorer, &precisions, view_aux)));
    group.finish();
    bench.finish();
}

/// Gaussians of random embeddings, 256 samples each.
fn fit(covariance: Covariance, device: &Device) -> MahalanobisScorer {
    let clusters = CLASSES * ROTATIONS;
    let samples = 256 * clusters;
    let normal = Distribution::Normal(0.0, 1.0);
    let features = Tensor::<2>::random([samples, DIM], normal, device).into_data();
    let of_sample = |value: fn(usize) -> usize| (0..samples).map(value).collect::<Vec<_>>();
    let config = MahalanobisConfig::new().with_covariance(covariance);
    let mut statistics = config.statistics(CLASSES, ROTATIONS, DIM);
    let (class, aux) = (of_sample(|i| i % CLASSES), of_sample(|i| i / CLASSES % ROTATIONS));
    statistics.update(features.as_slice::<f32>().unwrap(), &class, &aux).unwrap();
    statistics.fit(&config, device).unwrap()
}

/// The inverse of each covariance, by Gauss-Jordan elimination: [classes, rotations, dim, dim].
fn precisions(scorer: &MahalanobisScorer) -> Vec<f64> {
    let inverse = |covariance: &[f64]| {
        let mut left = covariance.to_vec();
        let mut right: Vec<f64> = (0..DIM * DIM).map(|i| f64::from(u8::from(i / DIM == i % DIM))).collect();
        for pivot in 0..DIM {
            let scale = 1.0 / left[pivot * DIM + pivot];
            for matrix in [&mut left, &mut right] {
                matrix[pivot * DIM..][..DIM].iter_mut().for_each(|value| *value *= scale);
            }
            for row in (0..DIM).filter(|&row| row != pivot) {
                let factor = left[row * DIM + pivot];
                for matrix in [&mut left, &mut right] {
                    for column in 0..DIM {
                        matrix[row * DIM + column] -= factor * matrix[pivot * DIM + column];
                    }
                }
            }
        }
        right
    };
    scorer.covariances().chunks_exact(DIM * DIM).flat_map(inverse).collect()
}

fn naive(rows: &[f32], scorer: &MahalanobisScorer, precisions: &[f64], view_aux: &[usize]) -> Vec<f64> {
    let mut scores = Vec::new();
    for (index, row) in rows.chunks_exact(DIM).enumerate() {
        let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        for class in 0..CLASSES {
            let cluster = class * ROTATIONS + view_aux[index % view_aux.len()];
            let mean = &scorer.means()[cluster * DIM..][..DIM];
            let precision = &precisions[cluster * DIM * DIM..][..DIM * DIM];
            let centred: Vec<f64> =
                row.iter().zip(mean).map(|(&x, mean)| f64::from(x) / norm - mean).collect();
            let product = |row: &[f64]| row.iter().zip(&centred).map(|(a, b)| a * b).sum::<f64>();
            let weighted = precision.chunks_exact(DIM).map(product);
            scores.push(-weighted.zip(&centred).map(|(a, b)| a * b).sum::<f64>());
        }
    }
    scores
}
