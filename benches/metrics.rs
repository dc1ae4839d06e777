//! The class Gaussians of 400,000 features of dimension 128, and the metrics of 10,000,000 scores.
//!
//! `naive` sorts pairs of score and label and walks along them; the textbook covariance is run on a twentieth of the
//! features.
//!
//! ```text
//! cargo bench --workspace --bench metrics
//! ```

use std::hint::black_box;

use burn::tensor::Device;
use burn_mcl::infer::MahalanobisConfig;
use burn_mcl::infer::metrics::{OodMetrics, Positive, auroc, average_precision, fpr_at_tpr};
use burn_mcl_benches::{Bench, HERE, number};

const CLASSES: usize = 10;
const ROTATIONS: usize = 4;
const DIM: usize = 128;
const SAMPLES: usize = 400_000;
/// Rows that are counted at a time.
const CHUNK: usize = 8192;
/// Scores on either side.
const SCORES: u64 = 5_000_000;

fn main() {
    let mut bench = Bench::from_args();
    fit(&mut bench);
    metrics(&mut bench);
    bench.finish();
}

fn fit(bench: &mut Bench) {
    let features: Vec<f32> = (0..(SAMPLES * DIM) as u64).map(|i| number(i) as f32 - 0.4).collect();
    let class: Vec<usize> = (0..SAMPLES).map(|i| i % CLASSES).collect();
    let aux: Vec<usize> = (0..SAMPLES).map(|i| i / CLASSES % ROTATIONS).collect();
    let device = Device::flex();
    let config = MahalanobisConfig::new();
    let here = |samples: usize| {
        let mut statistics = config.statistics(CLASSES, ROTATIONS, DIM);
        let chunks = features[..samples * DIM].chunks(CHUNK * DIM);
        for ((features, class), aux) in chunks.zip(class.chunks(CHUNK)).zip(aux.chunks(CHUNK)) {
            statistics
                .update(features, &class[..features.len() / DIM], &aux[..features.len() / DIM])
                .unwrap();
        }
        statistics.fit(&config, &device).unwrap()
    };

    bench.group("fit").bench_function(HERE, |b| b.iter(|| here(SAMPLES)));
    let few = SAMPLES / 20;
    let mut group = bench.group("fit_few");
    group.bench_function(HERE, |b| b.iter(|| here(few)));
    group.bench_function("naive", |b| b.iter(|| textbook(&features[..few * DIM])));
    group.finish();
}

/// Means, then covariances, of rows at unit length: sums of outer products.
fn textbook(features: &[f32]) -> Vec<f64> {
    let clusters = CLASSES * ROTATIONS;
    let mut covariances = Vec::new();
    for cluster in 0..clusters {
        let (class, aux) = (cluster / ROTATIONS, cluster % ROTATIONS);
        let rows = features.chunks_exact(DIM).skip(class + CLASSES * aux).step_by(clusters);
        let rows: Vec<Vec<f64>> = rows
            .map(|row| {
                let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                row.iter().map(|&x| f64::from(x) / norm).collect()
            })
            .collect();
        let mut mean = vec![0.0; DIM];
        for row in &rows {
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x / rows.len() as f64);
        }
        let mut covariance = vec![0.0; DIM * DIM];
        for row in &rows {
            for (i, sums) in covariance.chunks_exact_mut(DIM).enumerate() {
                let x = (row[i] - mean[i]) / (rows.len() - 1) as f64;
                sums.iter_mut().zip(row).zip(&mean).for_each(|((sum, y), mean)| *sum += x * (y - mean));
            }
        }
        covariances.extend(covariance);
    }
    covariances
}

fn metrics(bench: &mut Bench) {
    let ind: Vec<f64> = (0..SCORES).map(|i| number(i) + 0.3).collect();
    let ood: Vec<f64> = (SCORES..2 * SCORES).map(number).collect();
    let positive = Positive::InDistribution;
    println!("value auroc {:?}", auroc(&ind, &ood).unwrap());
    println!("value fpr95 {:?}", fpr_at_tpr(&ind, &ood, 0.95, positive).unwrap());
    println!("value average_precision {:?}", average_precision(&ind, &ood, positive).unwrap());

    let mut group = bench.group("auroc");
    group.bench_function(HERE, |b| b.iter(|| auroc(&ind, &ood)));
    group.bench_function("naive", |b| b.iter(|| naive_auroc(&ind, &ood)));
    group.finish();
    bench.group("fpr95").bench_function(HERE, |b| b.iter(|| fpr_at_tpr(&ind, &ood, 0.95, positive)));
    let ap = |b: &mut criterion::Bencher| b.iter(|| average_precision(&ind, &ood, positive));
    bench.group("average_precision").bench_function(HERE, ap);
    bench.group("all_metrics").bench_function(HERE, |b| b.iter(|| black_box(OodMetrics::new(&ind, &ood))));
}

/// One list of (score, label), sorted; ties are left out, as the scores here have none.
fn naive_auroc(ind: &[f64], ood: &[f64]) -> f64 {
    let mut labelled: Vec<(f64, bool)> = ind.iter().map(|&score| (score, true)).collect();
    labelled.extend(ood.iter().map(|&score| (score, false)));
    labelled.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut pairs) = (0u64, 0u64);
    for (_, is_ind) in labelled {
        if is_ind {
            pairs += below;
        } else {
            below += 1;
        }
    }
    pairs as f64 / (ind.len() as f64 * ood.len() as f64)
}
