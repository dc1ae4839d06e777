//! Losses and gradients against `PyTorch` (golden/README.md).

mod common;

use burn::tensor::{DType, Tensor};
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

    /// The named loss of the reference as this crate computes it.
    fn loss(&self, name: &str, projections: Tensor<3>) -> Tensor<1> {
        let labels = self.batch().labels();
        let positives = self.positives();
        let terms = |formulation, sampled: bool, projections| -> MclTerms {
            self.mcl(formulation).terms(projections, &labels, sampled.then_some(&positives[..]))
        };
        match name {
            "nt_xent" => {
                NtXentLossConfig::new().with_temperature(self.temperature).init().forward(projections)
            }
            "sup_con" => SupConLossConfig::new()
                .with_temperature(self.temperature)
                .init()
                .forward(projections, labels.class),
            "paper_ccm" => terms(Formulation::Paper, false, projections).ccm,
            "paper_spa_sampled" => terms(Formulation::Paper, true, projections).spa,
            "paper_spa_expectation" => terms(Formulation::Paper, false, projections).spa,
            "paper_total_sampled" => {
                self.mcl(Formulation::Paper).forward_with_positives(projections, &labels, &positives)
            }
            "paper_total_expectation" => self.mcl(Formulation::Paper).forward(projections, &labels),
            "official_ccm" => terms(Formulation::Released, true, projections).ccm,
            "official_spa" => terms(Formulation::Released, true, projections).spa,
            "official_total" => {
                self.mcl(Formulation::Released).forward_with_positives(projections, &labels, &positives)
            }
            _ => panic!("no loss of this crate is called {name}"),
        }
    }
}

fn check(dtype: DType, relative: f64) {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/loss.json")).unwrap();
    assert_eq!(cases.len(), 5);
    for (number, case) in cases.iter().enumerate() {
        assert_eq!(case.expected.len(), 10);
        for (name, expected) in &case.expected {
            let label = format!("case {number}, {name}, {dtype:?}");
            let (value, gradient) = case.batch().evaluate(dtype, |projections| case.loss(name, projections));
            assert_close(&label, value, expected.loss, relative);
            assert_all_close(&label, &gradient, &expected.grad.concat(), relative);
        }
    }
}

#[test]
fn f32_losses_and_gradients_match_pytorch() {
    check(DType::F32, 1e-5);
}

#[test]
fn f64_losses_and_gradients_match_pytorch_to_the_digits_kept() {
    check(DType::F64, 2e-10);
}
