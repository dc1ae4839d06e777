//! Embeddings that cannot be scored are named.

mod common;

use burn::tensor::{Device, Tensor};
use common::{embeddings, small};
use mcl_infer::InferError;

#[test]
fn bad_embeddings_are_named() {
    for normalize in [true, false] {
        let scorer = small(normalize);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = [1.0; 4 * 2 * 3];
            values[(2 * 2 + 1) * 3 + 2] = value;
            let error = scorer.score(embeddings(&values, 2, 3), &[0, 1]).unwrap_err();
            assert_eq!(error, InferError::NonFiniteEmbedding { image: 2, view: 1 });
        }
    }
    let mut values = [1.0; 4 * 2 * 3];
    values[5 * 3..6 * 3].fill(0.0);
    let error = small(true).score(embeddings(&values, 2, 3), &[0, 1]).unwrap_err();
    assert_eq!(error, InferError::ZeroEmbedding { image: 2, view: 1 });
    assert!(small(false).score(embeddings(&values, 2, 3), &[0, 1]).is_ok());
}

#[test]
fn shapes_must_fit() {
    let scorer = small(true);
    let refused = |shape: [usize; 3], view_aux: &[usize]| {
        scorer.score(Tensor::ones(shape, &Device::flex()), view_aux).unwrap_err()
    };
    assert_eq!(refused([1, 2, 4], &[0, 1]), InferError::DimensionMismatch { expected: 3, found: 4 });
    assert_eq!(refused([1, 2, 3], &[0]), InferError::ViewCount { views: 2, found: 1 });
    assert_eq!(refused([1, 0, 3], &[]), InferError::ViewCount { views: 0, found: 0 });
    assert_eq!(
        refused([1, 2, 3], &[0, 2]),
        InferError::ViewAuxOutOfRange { view: 1, aux: 2, aux_classes: 2 }
    );
    let none = scorer.score(Tensor::zeros([0, 2, 3], &Device::flex()), &[0, 1]).unwrap();
    assert_eq!(none.dims(), [0, 2, 2]);
}

#[test]
fn gradients_are_left_behind() {
    let scorer = small(true);
    let device = Device::flex().autodiff();
    let tracked = Tensor::<3>::ones([1, 1, 3], &device).require_grad();
    let scores = scorer.score(tracked, &[0]).unwrap();
    assert!(!scores.device().is_autodiff());
    let plain = scorer.score(Tensor::ones([1, 1, 3], &Device::flex()), &[0]).unwrap();
    scores.into_data().assert_eq(&plain.into_data(), true);
}
