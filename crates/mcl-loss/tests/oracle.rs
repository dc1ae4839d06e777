//! Losses of random batches against plain loops over pairs, written from the equations.

mod common;

use burn::tensor::DType;
use common::{Batch, assert_all_close, assert_close, scalar};
use mcl_loss::{Formulation, MclLoss, MclLossConfig, NtXentLossConfig, SupConLossConfig};
use proptest::prelude::*;
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

/// Parameters of a loss, in the order of the configuration.
#[derive(Debug, Clone, Copy)]
struct Parameters {
    temperature: f64,
    alpha: f64,
    beta: f64,
    spa_weight: f64,
    formulation: Formulation,
}

impl Parameters {
    fn init(self) -> MclLoss {
        MclLossConfig::new()
            .with_temperature(self.temperature)
            .with_alpha(self.alpha)
            .with_beta(self.beta)
            .with_spa_weight(self.spa_weight)
            .with_formulation(self.formulation)
            .init()
    }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The loops: one view, one pair at a time.
struct Oracle<'a> {
    batch: &'a Batch,
    parameters: Parameters,
}

impl Oracle<'_> {
    fn similarity(&self, i: usize, k: usize) -> f64 {
        let similarity = cosine(self.batch.row(i), self.batch.row(k));
        if self.released() { similarity.max(1e-7) } else { similarity }
    }

    fn released(&self) -> bool {
        self.parameters.formulation == Formulation::Released
    }

    fn same_label(&self, i: usize, k: usize) -> bool {
        let aux = |view: usize| self.batch.aux.as_ref().map(|aux| aux[view / 2]);
        self.batch.class[i / 2] == self.batch.class[k / 2] && aux(i) == aux(k)
    }

    fn mask(&self, i: usize, k: usize) -> f64 {
        if self.same_label(i, k) {
            self.parameters.alpha
        } else if self.batch.class[i / 2] == self.batch.class[k / 2] {
            self.parameters.beta
        } else {
            1.0 / self.parameters.temperature
        }
    }

    fn mean(&self, per_view: impl Fn(usize) -> f64) -> f64 {
        (0..self.batch.views()).map(per_view).sum::<f64>() / self.batch.views() as f64
    }

    fn ccm(&self) -> f64 {
        let temperature = self.parameters.temperature;
        self.mean(|i| {
            let mut sum = 0.0;
            for k in 0..self.batch.views() {
                if k == i {
                    continue;
                }
                let released_sibling = self.released() && k == i ^ 1;
                let weight = if released_sibling { 1.0 / temperature } else { self.mask(i, k) };
                sum += (weight * self.similarity(i, k)).exp();
            }
            -((self.similarity(i, i ^ 1) / temperature).exp() / sum).ln()
        })
    }

    /// The term of view `i` attracted by view `p`.
    fn attraction(&self, i: usize, p: usize) -> f64 {
        let temperature = self.parameters.temperature;
        let mut sum = 0.0;
        for k in 0..self.batch.views() {
            sum += if k == i {
                0.0
            } else if k == i ^ 1 {
                if self.released() { 1.0 } else { 0.0 }
            } else if self.released() && k == p {
                (self.similarity(i, p) / temperature).exp()
            } else {
                (self.mask(i, k) * self.similarity(i, k)).exp()
            };
        }
        -((self.similarity(i, p) / temperature).exp() / sum).ln()
    }

    fn spa_sampled(&self, positives: &[Option<usize>]) -> f64 {
        self.mean(|i| positives[i].map_or(0.0, |p| self.attraction(i, p)))
    }

    /// What the formulation's draw can give view `i`.
    fn candidates(&self, i: usize) -> Vec<usize> {
        (0..self.batch.views())
            .filter(|&p| p / 2 != i / 2 && self.same_label(i, p))
            .filter(|&p| !self.released() || p % 2 == i % 2)
            .collect()
    }

    fn spa_expected(&self) -> f64 {
        let lonely = (0..self.batch.views()).any(|i| self.candidates(i).is_empty());
        if lonely && self.released() {
            return 0.0;
        }
        self.mean(|i| {
            let candidates = self.candidates(i);
            candidates.iter().map(|&p| self.attraction(i, p)).sum::<f64>() / candidates.len().max(1) as f64
        })
    }

    fn nt_xent(&self) -> f64 {
        let temperature = self.parameters.temperature;
        self.mean(|i| {
            let sum: f64 = (0..self.batch.views())
                .filter(|&k| k != i)
                .map(|k| (cosine(self.batch.row(i), self.batch.row(k)) / temperature).exp())
                .sum();
            -((cosine(self.batch.row(i), self.batch.row(i ^ 1)) / temperature).exp() / sum).ln()
        })
    }

    fn sup_con(&self) -> f64 {
        let temperature = self.parameters.temperature;
        let logit = |i, k| (cosine(self.batch.row(i), self.batch.row(k)) / temperature).exp();
        self.mean(|i| {
            let others: Vec<usize> = (0..self.batch.views()).filter(|&k| k != i).collect();
            let sum: f64 = others.iter().map(|&k| logit(i, k)).sum();
            let positives: Vec<usize> =
                others.into_iter().filter(|k| self.batch.class[k / 2] == self.batch.class[i / 2]).collect();
            positives.iter().map(|&p| -(logit(i, p) / sum).ln()).sum::<f64>() / positives.len() as f64
        })
    }
}

fn batches() -> impl Strategy<Value = Batch> {
    (1_usize..=7, 1_usize..=9, 1_i64..=4, prop::option::of(1_i64..=4)).prop_flat_map(
        |(images, dim, classes, aux_classes)| {
            let projections = prop::collection::vec(-1.0_f64..1.0, images * 2 * dim);
            let class = prop::collection::vec(0..classes, images);
            let aux = match aux_classes {
                Some(aux_classes) => prop::collection::vec(0..aux_classes, images).prop_map(Some).boxed(),
                None => Just(None).boxed(),
            };
            (projections, class, aux)
                .prop_filter("directions", move |(projections, _, _)| {
                    projections.chunks(dim).all(|row| row.iter().map(|x| x * x).sum::<f64>() > 1e-4)
                })
                .prop_map(move |(projections, class, aux)| Batch { images, dim, projections, class, aux })
        },
    )
}

fn parameters() -> impl Strategy<Value = Parameters> {
    let formulation = prop::sample::select(vec![Formulation::Paper, Formulation::Released]);
    (0.05_f64..1.5, 0.01_f64..0.9, 0.2_f64..1.0, 0.0_f64..3.0, formulation).prop_map(
        |(temperature, alpha, beta, spa_weight, formulation)| {
            let beta = beta / temperature;
            Parameters { temperature, alpha: alpha * beta, beta, spa_weight, formulation }
        },
    )
}

/// A difference allowed between two orders of summation.
const RELATIVE: f64 = 1e-10;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn terms_agree_with_loops_over_pairs(batch in batches(), parameters in parameters(), seed: u64) {
        let oracle = Oracle { batch: &batch, parameters };
        let loss = parameters.init();
        let exact = loss.terms(batch.tensor(DType::F64), &batch.labels(), None);
        let (ccm, spa) = (oracle.ccm(), oracle.spa_expected());
        assert_close("ccm", scalar(exact.ccm), ccm, RELATIVE);
        assert_close("spa", scalar(exact.spa), spa, RELATIVE);
        assert_close("total", scalar(exact.total), ccm + parameters.spa_weight * spa, 10.0 * RELATIVE);

        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let positives = loss.sample_positives(&batch.class, batch.aux.as_deref(), &mut rng);
        let sampled = loss.terms(batch.tensor(DType::F64), &batch.labels(), Some(&positives));
        assert_close("ccm beside sampled spa", scalar(sampled.ccm), ccm, RELATIVE);
        assert_close("sampled spa", scalar(sampled.spa), oracle.spa_sampled(&positives), RELATIVE);
    }

    #[test]
    fn nt_xent_and_sup_con_agree_with_loops_over_pairs(batch in batches(), parameters in parameters()) {
        let oracle = Oracle { batch: &batch, parameters };
        let temperature = parameters.temperature;
        let nt_xent = NtXentLossConfig::new().with_temperature(temperature).init();
        assert_close("NT-Xent", scalar(nt_xent.forward(batch.tensor(DType::F64))), oracle.nt_xent(), RELATIVE);
        let sup_con = SupConLossConfig::new().with_temperature(temperature).init();
        let value = sup_con.forward(batch.tensor(DType::F64), batch.labels().class);
        assert_close("SupCon", scalar(value), oracle.sup_con(), RELATIVE);
    }

    #[test]
    fn f32_stays_close_to_f64(batch in batches(), parameters in parameters()) {
        let loss = parameters.init();
        let labels = batch.labels();
        let (value, gradient) = batch.evaluate(DType::F64, |projections| loss.forward(projections, &labels));
        let (value32, gradient32) = batch.evaluate(DType::F32, |projections| loss.forward(projections, &labels));
        // Losses near 0 are differences of logits: the error is relative to those.
        prop_assert!((value32 - value).abs() <= 1e-5 * (1.0 + parameters.spa_weight) / parameters.temperature);
        let scale = gradient.iter().fold(1e-2_f64, |scale, value| scale.max(value.abs()));
        for (a, b) in gradient32.iter().zip(&gradient) {
            prop_assert!((a - b).abs() <= 1e-4 * scale, "{a} instead of {b}");
        }
    }

    /// The order of the images, and which view is first, are arbitrary.
    #[test]
    fn permuting_images_permutes_the_gradient_only(
        (batch, order) in batches().prop_flat_map(|batch| {
            let order = Just((0..batch.images).collect::<Vec<_>>()).prop_shuffle();
            (Just(batch), order)
        }),
        swap: bool,
        parameters in parameters(),
    ) {
        let views: Vec<usize> =
            order.iter().flat_map(|image| [2 * image + usize::from(swap), 2 * image + usize::from(!swap)]).collect();
        let permuted = Batch {
            projections: views.iter().flat_map(|&view| batch.row(view).to_vec()).collect(),
            class: order.iter().map(|&image| batch.class[image]).collect(),
            aux: batch.aux.as_ref().map(|aux| order.iter().map(|&image| aux[image]).collect()),
            ..batch.clone()
        };
        let loss = parameters.init();
        let (value, gradient) =
            batch.evaluate(DType::F64, |projections| loss.forward(projections, &batch.labels()));
        let (permuted_value, permuted_gradient) =
            permuted.evaluate(DType::F64, |projections| loss.forward(projections, &permuted.labels()));
        assert_close("loss", permuted_value, value, RELATIVE);
        let expected: Vec<f64> =
            views.iter().flat_map(|&view| gradient[view * batch.dim..(view + 1) * batch.dim].to_vec()).collect();
        prop_assert!(expected.iter().zip(&permuted_gradient).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    #[test]
    fn gradients_are_those_of_finite_differences(batch in batches(), parameters in parameters(), seed: u64) {
        // The floor of the released similarities has no derivative at the floor.
        let kinks = parameters.formulation == Formulation::Released
            && (0..batch.views()).any(|i| (0..i).any(|k| cosine(batch.row(i), batch.row(k)).abs() < 1e-4));
        prop_assume!(!kinks);
        let loss = parameters.init();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let positives = loss.sample_positives(&batch.class, batch.aux.as_deref(), &mut rng);
        let labels = batch.labels();
        for positives in [None, Some(&positives[..])] {
            let evaluate = |batch: &Batch| {
                batch.evaluate(DType::F64, |projections| loss.terms(projections, &labels, positives).total)
            };
            let (_, gradient) = evaluate(&batch);
            // Along random directions: as telling as coordinate by coordinate, and two losses each.
            let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 1);
            for _ in 0..3 {
                let direction: Vec<f64> = gradient.iter().map(|_| rng.random_range(-1.0..1.0)).collect();
                let moved = |by: f64| {
                    let mut moved = batch.clone();
                    moved.projections.iter_mut().zip(&direction).for_each(|(value, along)| *value += by * along);
                    scalar(loss.terms(moved.tensor(DType::F64), &labels, positives).total)
                };
                let step = 1e-6;
                let difference = (moved(step) - moved(-step)) / (2.0 * step);
                let slope: f64 = gradient.iter().zip(&direction).map(|(g, along)| g * along).sum();
                let scale = gradient.iter().map(|g| g.abs()).sum::<f64>().max(1.0);
                prop_assert!((slope - difference).abs() <= 1e-6 * scale, "{slope}, by differences {difference}");
            }
        }
    }
}

/// Every label has three images: each view has the same number of positives, and the mean over all of them,
/// taken in turn, is the expectation.
#[test]
fn sampled_spa_averages_to_the_expectation() {
    let images = 12;
    let batch = Batch {
        images,
        dim: 6,
        projections: (0..images * 12)
            .map(|n| (n as f64 * 1.7).sin() + 0.3 * (n as f64 * 0.61).cos())
            .collect(),
        class: (0..images as i64).map(|image| image % 2).collect(),
        aux: Some((0..images as i64).map(|image| image % 4 / 2).collect()),
    };
    for formulation in [Formulation::Paper, Formulation::Released] {
        let parameters =
            Parameters { temperature: 0.2, alpha: 0.05, beta: 2.5, spa_weight: 1.0, formulation };
        let loss = parameters.init();
        let oracle = Oracle { batch: &batch, parameters };
        let candidates: Vec<Vec<usize>> = (0..batch.views()).map(|view| oracle.candidates(view)).collect();
        let draws = candidates[0].len();
        assert!(draws > 1 && candidates.iter().all(|of_view| of_view.len() == draws));
        let terms: Vec<(f64, Vec<f64>)> = (0..draws)
            .map(|draw| {
                let positives: Vec<_> = candidates.iter().map(|of_view| Some(of_view[draw])).collect();
                batch.evaluate(DType::F64, |projections| {
                    loss.terms(projections, &batch.labels(), Some(&positives)).spa
                })
            })
            .collect();
        let (value, gradient) =
            batch.evaluate(DType::F64, |projections| loss.terms(projections, &batch.labels(), None).spa);
        let mean = terms.iter().map(|(value, _)| value).sum::<f64>() / draws as f64;
        assert_close("mean of the draws", mean, value, 1e-12);
        let mean: Vec<f64> = (0..gradient.len())
            .map(|index| terms.iter().map(|(_, gradient)| gradient[index]).sum::<f64>() / draws as f64)
            .collect();
        assert_all_close("mean gradient of the draws", &mean, &gradient, 1e-10);

        // And with random draws: each is within its spread of the expectation, their mean far closer.
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let draws = 400;
        let drawn: Vec<f64> = (0..draws)
            .map(|_| {
                let positives = loss.sample_positives(&batch.class, batch.aux.as_deref(), &mut rng);
                scalar(loss.terms(batch.tensor(DType::F64), &batch.labels(), Some(&positives)).spa)
            })
            .collect();
        let mean = drawn.iter().sum::<f64>() / f64::from(draws);
        let variance = drawn.iter().map(|drawn| (drawn - mean).powi(2)).sum::<f64>() / f64::from(draws - 1);
        let standard_error = (variance / f64::from(draws)).sqrt();
        assert!(standard_error > 0.0 && (mean - value).abs() < 4.0 * standard_error, "{mean} for {value}");
    }
}
