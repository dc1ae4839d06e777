//! Nearest neighbours against an explicit loop in f64.

use burn::tensor::{Device, Tensor, TensorData};
use mcl_infer::{InferError, Neighbour, NeighbourIndex};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn tensor(values: &[f32], dim: usize) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len() / dim, dim]), &Device::flex())
}

/// All similarities in f64, sorted.
fn oracle(rows: &[f32], query: &[f32], k: usize) -> Vec<(usize, f64)> {
    let unit = |row: &[f32]| -> Vec<f64> {
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        row.iter().map(|&x| f64::from(x) / norm).collect()
    };
    let query = unit(query);
    let mut all: Vec<(usize, f64)> = rows
        .chunks(query.len())
        .map(|row| unit(row).iter().zip(&query).map(|(a, b)| a * b).sum())
        .enumerate()
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

fn assert_nearest(found: &[Neighbour], expected: &[(usize, f64)], rows: &[f32], query: &[f32]) {
    let similarities: Vec<f64> = {
        let mut all = oracle(rows, query, usize::MAX);
        all.sort_by_key(|&(index, _)| index);
        all.into_iter().map(|(_, similarity)| similarity).collect()
    };
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        // Rows rounded to f32 may swap places with rows as near as that.
        assert!((similarities[found.index] - expected.1).abs() < 2e-7, "{found:?} for {expected:?}");
        assert!((found.similarity - expected.1).abs() < 2e-7, "{found:?} for {expected:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equal_to_the_loop(seed: u64, rows in 1usize..80, queries in 0usize..6, dim in 1usize..20, k in 0usize..12, scale in -30i32..30) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let scale = 2f32.powi(scale);
        let mut draw = |n: usize| (0..n * dim).map(|_| scale * rng.random_range(-1.0f32..1.0)).collect::<Vec<_>>();
        let (rows, queries) = (draw(rows), draw(queries));
        let index = NeighbourIndex::new(tensor(&rows, dim)).unwrap();
        let found = index.search(tensor(&queries, dim), k).unwrap();
        prop_assert_eq!(found.len(), queries.len() / dim);
        for (found, query) in found.iter().zip(queries.chunks(dim)) {
            assert_nearest(found, &oracle(&rows, query, k), &rows, query);
        }
    }
}

/// More rows and queries than one product takes, all so near each other that the device's rounding decides
/// nothing: a dense cluster, as training makes them.
#[test]
fn dense_clusters_in_many_chunks() {
    let (rows, queries, dim, k) = (20_000, 300, 8, 5);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut near = |n: usize| -> Vec<f32> {
        (0..n * dim)
            .map(|i| if i % dim == 0 { 1.0 } else { 0.0 } + rng.random_range(-0.02f32..0.02))
            .collect()
    };
    let (rows, queries) = (near(rows), near(queries));
    let index = NeighbourIndex::new(tensor(&rows, dim)).unwrap();
    let found = index.search(tensor(&queries, dim), k).unwrap();
    assert_eq!(found.len(), 300);
    for query in [0, 100, 255, 256, 299] {
        let values = &queries[query * dim..][..dim];
        assert_nearest(&found[query], &oracle(&rows, values, k), &rows, values);
    }
}

#[test]
fn ties_come_in_order_of_their_rows() {
    let rows = [[1.0f32, 0.0], [0.0, 1.0], [0.5, 0.5]].repeat(700).concat();
    let index = NeighbourIndex::new(tensor(&rows, 2)).unwrap();
    let found = index.search(tensor(&[0.0, 2.0, 3.0, 3.0], 2), 4).unwrap();
    let indices = |found: &[Neighbour]| found.iter().map(|n| n.index).collect::<Vec<_>>();
    assert_eq!(indices(&found[0]), [1, 4, 7, 10]);
    assert_eq!(indices(&found[1]), [2, 5, 8, 11]);
    assert!((found[0][0].similarity - 1.0).abs() < 1e-7);
}

#[test]
fn bad_input_is_an_error() {
    let index = NeighbourIndex::new(tensor(&[1.0, 0.0, 0.0, 1.0], 2)).unwrap();
    assert_eq!((index.len(), index.dim(), index.is_empty()), (2, 2, false));
    let search = |values: &[f32], dim| index.search(tensor(values, dim), 1).unwrap_err();
    assert_eq!(search(&[1.0; 3], 3), InferError::DimensionMismatch { expected: 2, found: 3 });
    assert_eq!(search(&[1.0, 1.0, f32::NAN, 0.0], 2), InferError::NonFiniteEmbedding { image: 1, view: 0 });
    assert_eq!(search(&[0.0, 0.0], 2), InferError::ZeroEmbedding { image: 0, view: 0 });
    let bad = NeighbourIndex::new(tensor(&[f32::INFINITY, 0.0], 2)).unwrap_err();
    assert_eq!(bad, InferError::NonFiniteEmbedding { image: 0, view: 0 });
    assert_eq!(index.search(tensor(&[1.0, 1.0], 2), 9).unwrap()[0].len(), 2);
}

#[test]
fn an_empty_index_finds_nothing() {
    let index = NeighbourIndex::new(Tensor::zeros([0, 4], &Device::flex())).unwrap();
    assert!(index.is_empty());
    assert_eq!(index.search(tensor(&[1.0; 8], 4), 3).unwrap(), vec![Vec::new(), Vec::new()]);
}
