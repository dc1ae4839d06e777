//! Losses and gradients against `PyTorch` (golden/README.md).

mod common;

use burn::tensor::{DType, Device, Tensor};
use common::{Batch, assert_all_close, assert_close};
use mcl_loss::{Formulation, MclLoss, MclLossConfig, MclTerms, NtXentLossConfig, SupConLossConfig};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Case {
    images: usize,
    dim: usize,
    temperature: f64,
    alpha: f64,
    beta: f64,
    spa_weight: f64,
    projections: Vec<Vec<f32>>,
    labels: Vec<i64>,
    aux_labels: Option<Vec<i64>>,
    positives: Vec<i64>,
    expected: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    loss: f64,
    grad: Vec<Vec<f64>>,
}

impl Case {
    fn batch(&self) -> Batch {
        Batch {
            images: self.images,
            dim: self.dim,
            projections: self.projections.concat().into_iter().map(f64::from).collect(),
            class: self.labels.clone(),
            aux: self.aux_labels.clone(),
        }
    }

    fn positives(&self) -> Vec<Option<usize>> {
        self.positives.iter().map(|&view| usize::try_from(view).ok()).collect()
    }

    fn mcl(&self, formulation: Formulation) -> MclLoss {
        MclLossConfig::new()
            .with_temperature(self.temperature)
            .with_alpha(self.alpha)
            .with_beta(self.beta)
            .with_spa_weight(self.spa_weight)
            .with_formulation(formulation)
            .init()
    }

    /// The named loss of the reference as this crate computes it, in blocks of so many rows if they are
    /// given.
    fn loss(&self, name: &str, rows: Option<usize>, projections: Tensor<3>) -> Tensor<1> {
        let labels = self.batch().labels();
        let positives = self.positives();
        let mcl = |formulation| {
            let loss = self.mcl(formulation);
            rows.map_or(loss.clone(), |rows| loss.with_rows_per_block(rows))
        };
        let terms = |formulation, sampled: bool, projections| -> MclTerms {
            mcl(formulation).terms(projections, &labels, sampled.then_some(&positives[..]))
        };
        match name {
            "nt_xent" => {
                let loss = NtXentLossConfig::new().with_temperature(self.temperature).init();
                rows.map_or(loss.clone(), |rows| loss.with_rows_per_block(rows)).forward(projections)
            }
            "sup_con" => {
                let loss = SupConLossConfig::new().with_temperature(self.temperature).init();
                let loss = rows.map_or(loss.clone(), |rows| loss.with_rows_per_block(rows));
                loss.forward(projections, labels.class)
            }
            "paper_ccm" => terms(Formulation::Paper, false, projections).ccm,
            "paper_spa_sampled" => terms(Formulation::Paper, true, projections).spa,
            "paper_spa_expectation" => terms(Formulation::Paper, false, projections).spa,
            "paper_total_sampled" => {
                mcl(Formulation::Paper).forward_with_positives(projections, &labels, &positives)
            }
            "paper_total_expectation" => mcl(Formulation::Paper).forward(projections, &labels),
            "official_ccm" => terms(Formulation::Released, true, projections).ccm,
            "official_spa" => terms(Formulation::Released, true, projections).spa,
            "official_total" => {
                mcl(Formulation::Released).forward_with_positives(projections, &labels, &positives)
            }
            _ => panic!("no loss of this crate is called {name}"),
        }
    }
}

fn check(dtype: DType, rows: Option<usize>, relative: f64) {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/loss.json")).unwrap();
    assert_eq!(cases.len(), 5);
    for (number, case) in cases.iter().enumerate() {
        assert_eq!(case.expected.len(), 10);
        for (name, expected) in &case.expected {
            let label = format!("case {number}, {name}, {dtype:?}, blocks {rows:?}");
            let (value, gradient) =
                case.batch().evaluate(dtype, |projections| case.loss(name, rows, projections));
            assert_close(&label, value, expected.loss, relative);
            assert_all_close(&label, &gradient, &expected.grad.concat(), relative);
        }
    }
}

#[test]
fn f32_losses_and_gradients_match_pytorch() {
    check(DType::F32, None, 1e-5);
}

#[test]
fn f64_losses_and_gradients_match_pytorch_to_the_digits_kept() {
    check(DType::F64, None, 2e-10);
}

#[test]
fn f32_losses_and_gradients_in_blocks_match_pytorch() {
    check(DType::F32, Some(4), 1e-5);
}

#[test]
fn f64_losses_and_gradients_in_blocks_match_pytorch_to_the_digits_kept() {
    for rows in [1, 6] {
        check(DType::F64, Some(rows), 2e-10);
    }
}

#[test]
fn labels_of_another_device_are_copied_to_that_of_the_projections() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/loss.json")).unwrap();
    let case = cases.iter().find(|case| case.aux_labels.is_some()).unwrap();
    let labels = case.batch().labels();
    // Another device than the default one on the backends of a GPU.
    let elsewhere = labels.clone().to_device(&Device::flex());
    assert_eq!(elsewhere.class.device(), Device::flex());
    assert_eq!(elsewhere.aux.as_ref().unwrap().device(), Device::flex());
    let loss = case.mcl(Formulation::Paper);
    let expected = case.batch().evaluate(DType::F32, |projections| loss.forward(projections, &labels));
    let found = case.batch().evaluate(DType::F32, |projections| loss.forward(projections, &elsewhere));
    assert_eq!(found, expected);
}
