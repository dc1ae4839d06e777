//! Inputs at the edge: tiny temperatures, rows of any scale, zeros, lonely classes, 16-bit types, bad
//! arguments.

mod common;

use burn::tensor::{DType, Tensor};
use common::{Batch, assert_all_close, assert_close};
use mcl_loss::{Formulation, MclLossConfig, NtXentLossConfig, SupConLossConfig};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

const FORMULATIONS: [Formulation; 2] = [Formulation::Paper, Formulation::Released];

fn batch() -> Batch {
    let (images, dim) = (6, 8);
    Batch {
        images,
        dim,
        projections: (0..images * 2 * dim).map(|n| (n as f64 * 2.3).sin() + 0.2).collect(),
        class: vec![0, 0, 1, 1, 1, 0],
        aux: Some(vec![0, 0, 0, 1, 1, 1]),
    }
}

type Loss = Box<dyn Fn(Tensor<3>) -> Tensor<1>>;

/// Each loss of the crate, by name, as a batch of this size takes it and in blocks.
fn losses(batch: &Batch, temperature: f64) -> Vec<(String, Loss)> {
    let mut losses: Vec<(String, Loss)> = Vec::new();
    let positives: Vec<Option<usize>> = (0..batch.views())
        .map(|view| {
            let label = |view: usize| (batch.class[view / 2], batch.aux.as_ref().map(|aux| aux[view / 2]));
            (0..batch.views()).find(|&other| other / 2 != view / 2 && label(other) == label(view))
        })
        .collect();
    for formulation in FORMULATIONS {
        let mcl = MclLossConfig::new()
            .with_temperature(temperature)
            .with_alpha((0.01 / temperature).min(0.05))
            .with_beta(0.5 / temperature)
            .with_formulation(formulation)
            .init();
        for (mcl, method) in [(mcl.clone(), ""), (mcl.with_rows_per_block(4), ", blocks")] {
            let (labels, expected) = (batch.labels(), mcl.clone());
            let name = format!("{formulation:?}, exact{method}");
            losses.push((name, Box::new(move |p| expected.forward(p, &labels))));
            let (labels, positives) = (batch.labels(), positives.clone());
            let name = format!("{formulation:?}, sampled{method}");
            losses.push((name, Box::new(move |p| mcl.forward_with_positives(p, &labels, &positives))));
        }
    }
    let nt_xent = NtXentLossConfig::new().with_temperature(temperature).init();
    let sup_con = SupConLossConfig::new().with_temperature(temperature).init();
    let blocks = (nt_xent.clone().with_rows_per_block(4), sup_con.clone().with_rows_per_block(4));
    for ((nt_xent, sup_con), method) in [((nt_xent, sup_con), ""), (blocks, ", blocks")] {
        losses.push((format!("NT-Xent{method}"), Box::new(move |p| nt_xent.forward(p))));
        let class = batch.labels().class;
        losses.push((format!("SupCon{method}"), Box::new(move |p| sup_con.forward(p, class.clone()))));
    }
    losses
}

#[test]
fn temperature_of_a_hundredth_is_as_exact_as_in_f64() {
    let batch = batch();
    for (name, loss) in losses(&batch, 0.01) {
        let (value, gradient) = batch.evaluate(DType::F32, &loss);
        let (value64, gradient64) = batch.evaluate(DType::F64, &loss);
        assert_close(&name, value, value64, 1e-4);
        assert_all_close(&name, &gradient, &gradient64, 1e-4);
    }
}

#[test]
fn f32_carries_the_temperatures_and_weights_at_the_limits() {
    let batch = batch();
    for temperature in [1e-6, 1e6] {
        for (name, loss) in losses(&batch, temperature) {
            let name = format!("{name} at {temperature}");
            let (value, gradient) = batch.evaluate(DType::F32, &loss);
            let (value64, gradient64) = batch.evaluate(DType::F64, &loss);
            assert_close(&name, value, value64, 1e-5);
            assert!(gradient.iter().all(|value| value.is_finite()), "{name}: {gradient:?}");
            // At the lowest, f32 rounds logits by 0.06: the gradient is that of neighbouring projections.
            if temperature > 1.0 {
                assert_all_close(&name, &gradient, &gradient64, 1e-4);
            }
        }
    }
    let config = MclLossConfig::new().with_temperature(1e-6).with_spa_weight(1e6);
    for formulation in FORMULATIONS {
        let loss = config.clone().with_formulation(formulation).init();
        let (value, gradient) = batch.evaluate(DType::F32, |p| loss.forward(p, &batch.labels()));
        assert!(value.is_finite() && gradient.iter().all(|value| value.is_finite()), "{value}: {gradient:?}");
    }
}

#[test]
fn released_draws_drop_spa_when_an_image_is_alone() {
    let batch = Batch { class: vec![0, 0, 0, 7, 0, 0], aux: None, ..batch() };
    let loss = MclLossConfig::released().init();
    assert_eq!(loss.formulation(), Formulation::Released);
    let positives = loss.sample_positives(&batch.class, None, &mut ChaCha8Rng::seed_from_u64(2));
    let terms = |positives: Option<&[Option<usize>]>| {
        loss.terms(batch.tensor(DType::F32), &batch.labels(), positives)
    };
    assert_eq!(common::scalar(terms(Some(&positives[..])).spa), 0.0);
    let [drawn, expected] =
        [Some(&positives[..]), None].map(|positives| common::scalar(terms(positives).total));
    assert_close("total", drawn, expected, 1e-6);
}

#[test]
fn opposite_and_equal_rows_at_a_hundredth_stay_finite() {
    // Logits of +100 and -100 in one row: their exponentials overflow and vanish in f32.
    let mut batch = batch();
    for view in 0..batch.views() {
        let sign = if view % 3 == 0 { -1.0 } else { 1.0 };
        for value in 0..batch.dim {
            batch.projections[view * batch.dim + value] = sign;
        }
    }
    for (name, loss) in losses(&batch, 0.01) {
        let (value, gradient) = batch.evaluate(DType::F32, &loss);
        let (value64, _) = batch.evaluate(DType::F64, &loss);
        assert_close(&name, value, value64, 1e-5);
        assert!(gradient.iter().all(|value| value.is_finite()), "{name}: {gradient:?}");
    }
}

#[test]
fn the_scale_of_a_row_does_not_matter() {
    let batch = batch();
    for scale in [1e-20, 1e-3, 1e4, 1e20] {
        let mut scaled = batch.clone();
        for value in &mut scaled.projections[..3 * batch.dim] {
            *value *= scale;
        }
        for (name, loss) in losses(&batch, 0.2) {
            let (expected, gradient) = batch.evaluate(DType::F32, &loss);
            let (value, mut scaled_gradient) = scaled.evaluate(DType::F32, &loss);
            assert_close(&name, value, expected, 1e-5);
            // The gradient shrinks as the row grows.
            for value in &mut scaled_gradient[..3 * batch.dim] {
                *value *= scale;
            }
            assert_all_close(&name, &scaled_gradient, &gradient, 1e-4);
        }
    }
}

#[test]
fn rows_of_zeros_have_finite_losses_and_no_gradient() {
    let mut batch = batch();
    batch.projections[2 * batch.dim..4 * batch.dim].fill(0.0); // an image
    batch.projections[9 * batch.dim..10 * batch.dim].fill(0.0); // and a view
    for temperature in [0.2, 0.01] {
        for (name, loss) in losses(&batch, temperature) {
            let (value, gradient) = batch.evaluate(DType::F32, &loss);
            assert!(value.is_finite(), "{name}: {value}");
            assert!(gradient.iter().all(|value| value.is_finite()), "{name}: {gradient:?}");
            assert!(gradient[2 * batch.dim..4 * batch.dim].iter().all(|&value| value == 0.0), "{name}");
            if temperature > 0.1 {
                assert!(gradient[..2 * batch.dim].iter().any(|&value| value != 0.0), "{name}");
            }
        }
    }
    batch.projections.fill(0.0);
    for (name, loss) in losses(&batch, 0.2) {
        let (value, gradient) = batch.evaluate(DType::F32, &loss);
        assert!(value.is_finite() && gradient.iter().all(|&value| value == 0.0), "{name}");
    }
}

#[test]
fn lonely_classes_add_nothing_to_spa() {
    let alone = Batch { class: vec![0, 1, 2, 3, 4, 5], aux: None, ..batch() };
    let one_alone = Batch { class: vec![0, 0, 0, 7, 0, 0], aux: None, ..batch() };
    let single = Batch {
        images: 1,
        projections: batch().projections[..16].to_vec(),
        class: vec![3],
        aux: None,
        dim: 8,
    };
    for formulation in FORMULATIONS {
        let loss = MclLossConfig::new().with_formulation(formulation).init();
        for (batch, spa_is_zero) in
            [(&alone, true), (&one_alone, formulation == Formulation::Released), (&single, true)]
        {
            let labels = batch.labels();
            let (spa, gradient) = batch.evaluate(DType::F32, |p| loss.terms(p, &labels, None).spa);
            assert_eq!(spa == 0.0, spa_is_zero, "{formulation:?}: {spa}");
            assert!(gradient.iter().all(|value| value.is_finite()));
            let (total, gradient) = batch.evaluate(DType::F32, |p| loss.forward(p, &labels));
            let (ccm, ccm_gradient) = batch.evaluate(DType::F32, |p| loss.terms(p, &labels, None).ccm);
            assert!(total.is_finite());
            if spa_is_zero {
                assert_close("total", total, ccm, 1e-6);
                assert_all_close("gradient", &gradient, &ccm_gradient, 1e-6);
            }
        }
    }
    // A single image has only its own views: CCM is (alpha - 1 / temperature) times their similarity in the
    // paper.
    let loss = MclLossConfig::new().init();
    let (value, _) = single.evaluate(DType::F64, |p| loss.forward(p, &single.labels()));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (first, second) = (single.row(0), single.row(1));
    let similarity = dot(first, second) / (dot(first, first) * dot(second, second)).sqrt();
    assert_close("single image", value, (0.05 - 5.0) * similarity, 1e-12);
}

#[test]
fn sixteen_bit_projections_give_an_f32_loss() {
    let batch = batch();
    for (name, loss) in losses(&batch, 0.2) {
        let (expected, _) = batch.evaluate(DType::F32, &loss);
        for (dtype, relative) in [(DType::F16, 5e-3), (DType::BF16, 5e-2)] {
            assert_eq!(loss(batch.tensor(dtype)).dtype(), DType::F32);
            let (value, gradient) = batch.evaluate(dtype, &loss);
            assert!(
                (value - expected).abs() < relative * expected.abs().max(1.0),
                "{name}: {value}, {expected}"
            );
            assert!(gradient.iter().all(|value| value.is_finite()));
        }
    }
}

#[test]
fn a_nan_row_is_not_hidden() {
    let mut batch = batch();
    batch.projections[5] = f64::NAN;
    for (name, loss) in losses(&batch, 0.2) {
        let value = common::scalar(loss(batch.tensor(DType::F32)));
        assert!(value.is_nan(), "{name}: {value}");
    }
}

#[test]
fn the_loss_works_without_autodiff_and_with_labels_outside_of_it() {
    let batch = batch();
    let loss = MclLossConfig::new().init();
    let inner = |tensor: &Tensor<1, burn::tensor::Int>| tensor.clone().inner();
    let labels = batch.labels();
    let plain = mcl_loss::MclLabels::new(inner(&labels.class)).with_aux(inner(labels.aux.as_ref().unwrap()));
    let (expected, gradient) = batch.evaluate(DType::F32, |p| loss.forward(p, &labels));
    let (value, plain_gradient) = batch.evaluate(DType::F32, |p| loss.forward(p, &plain));
    assert_eq!((expected, &gradient), (value, &plain_gradient));
    let value = common::scalar(loss.forward(batch.tensor(DType::F32).inner(), &plain));
    assert_close("without autodiff", value, expected, 1e-6);
}

#[test]
#[should_panic(expected = "11 positives for 12 views")]
fn positives_must_cover_all_views() {
    let batch = batch();
    MclLossConfig::new().init().forward_with_positives(
        batch.tensor(DType::F32),
        &batch.labels(),
        &[None; 11],
    );
}

#[test]
#[should_panic(expected = "the positive of view 4 is 12: there are 12 views")]
fn positives_must_be_views() {
    let (batch, mut positives) = (batch(), [None; 12]);
    positives[4] = Some(12);
    MclLossConfig::new().init().forward_with_positives(batch.tensor(DType::F32), &batch.labels(), &positives);
}

#[test]
#[should_panic(expected = "the positive of view 4 is 5, a view of the same image")]
fn positives_must_be_of_other_images() {
    let (batch, mut positives) = (batch(), [None; 12]);
    positives[4] = Some(5);
    MclLossConfig::new().init().forward_with_positives(batch.tensor(DType::F32), &batch.labels(), &positives);
}

#[test]
#[should_panic(expected = "5 class labels for 6 images")]
fn labels_must_cover_all_images() {
    let batch = batch();
    let short = Batch { class: vec![0; 5], aux: None, ..batch.clone() };
    MclLossConfig::new().init().forward(batch.tensor(DType::F32), &short.labels());
}
