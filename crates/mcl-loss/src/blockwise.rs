//! MCL of large batches: the same loss from blocks of rows, with its gradient in closed form.
//!
//! Autodiff would keep every intermediate `[2N, 2N]` matrix until the backward pass. Here each block of rows is
//! reduced to its share of the loss and of the gradient towards the unit rows at once, and dropped: memory grows as
//! 2N, not (2N)^2, on any backend. The gradient enters the graph as the linear function that has it: `surrogate(z) =
//! sum(z * dz)` with `dz` constant, minus its own value. Terms of single pairs (siblings, sampled positives) go
//! through autodiff as they are, weighted by their derivative.

use core::ops::Range;

use burn::tensor::Tensor;

use crate::{
    ccm,
    formulation::Formulation,
    labels::ViewLabels,
    mcl::{MclLoss, MclTerms},
    pairs::{Pairs, RELEASED_FLOOR},
    positives::Positives,
    similarity::Views,
    spa::{Expected, Sampled},
};

/// Entries of one block of the similarity matrix, of which some ten exist at a time: more leave the processor's
/// cache, fewer do not fill a GPU.
const BLOCK_ENTRIES: usize = 1 << 20;

/// Least rows of a block: each block also updates a `[2N, dim]` gradient, at a cost that its rows share.
const LEAST_ROWS: usize = 64;

/// Views from which on the loss is computed block by block; on a CPU it is the faster way there, too.
pub(crate) const FROM_VIEWS: usize = 2048;

/// Rows of a block in a batch of `views`.
pub(crate) fn rows_per_block(views: usize) -> usize {
    (BLOCK_ENTRIES / views).max(LEAST_ROWS)
}

/// A batch to be taken block by block.
#[derive(Debug)]
pub(crate) struct Blockwise<'a> {
    loss: &'a MclLoss,
    /// The parts that autodiff sees: unit rows, similarities of siblings, similarities to sampled positives.
    views: &'a Views,
    siblings: Tensor<2>,
    attraction: Option<Tensor<2>>,
    labels: ViewLabels,
    positives: Option<&'a Positives>,
    rows_per_block: usize,
}

/// How much CCM and SPA count in what is differentiated.
#[derive(Debug, Clone, Copy)]
struct Objective {
    ccm: f64,
    spa: f64,
}

/// Derivatives of an objective, all constants.
#[derive(Debug)]
struct Slopes {
    /// Towards the unit rows, by their place as rows of the matrix of all pairs and as its columns, `[2N, dim]`.
    rows: Vec<Tensor<2>>,
    columns: Option<Tensor<2>>,
    /// Towards the similarities of siblings, `[2N, 1]`.
    siblings: Vec<Tensor<2>>,
    /// Towards the similarities to sampled positives, `[2N, 1]`.
    attraction: Vec<Tensor<2>>,
}

/// The terms of all views, and the derivatives of each objective's mean.
#[derive(Debug)]
struct Evaluation {
    ccm: Tensor<1>,
    spa: Tensor<1>,
    /// 0 if a view silences SPA, else 1.
    complete: Tensor<1>,
    slopes: Vec<Slopes>,
}

/// SPA of one block.
struct SpaBlock {
    per_view: Tensor<2>,
    complete: Tensor<2>,
    others: Tensor<2>,
    /// Towards the similarities of the block, for the expectation.
    pairs: Option<Tensor<2>>,
    /// Towards the similarities to the sampled positives.
    attraction: Option<Tensor<2>>,
}

impl<'a> Blockwise<'a> {
    pub(crate) fn new(
        loss: &'a MclLoss,
        views: &'a Views,
        labels: &ViewLabels,
        positives: Option<&'a Positives>,
        rows_per_block: usize,
    ) -> Self {
        Self {
            loss,
            views,
            siblings: loss.floored(views.siblings()),
            attraction: positives.map(|positives| loss.floored(views.to_partners(&positives.index))),
            labels: labels.clone(),
            positives,
            rows_per_block,
        }
    }

    /// The total alone: one gradient.
    pub(crate) fn total(&self) -> Tensor<1> {
        if self.loss.formulation == Formulation::Released && self.positives.is_none() {
            // Whether SPA counts at all is known only after the last block.
            return self.terms().total;
        }
        let spa_weight = self.loss.spa_weight;
        let evaluation = self.evaluate(&[Objective { ccm: 1.0, spa: spa_weight }]);
        self.attach(
            evaluation.ccm + evaluation.spa.mul_scalar(spa_weight),
            evaluation.slopes.into_iter().next(),
        )
    }

    /// The total and its parts: two gradients.
    pub(crate) fn terms(&self) -> MclTerms {
        let evaluation = self.evaluate(&[Objective { ccm: 1.0, spa: 0.0 }, Objective { ccm: 0.0, spa: 1.0 }]);
        let mut slopes = evaluation.slopes.into_iter();
        let ccm = self.attach(evaluation.ccm, slopes.next());
        let spa = self.attach(evaluation.spa, slopes.next()) * evaluation.complete;
        MclTerms::new(ccm, spa, self.loss.spa_weight)
    }

    /// Runs over the blocks. Without autodiff there are no slopes.
    fn evaluate(&self, objectives: &[Objective]) -> Evaluation {
        let objectives = if self.views.unit().is_autodiff() { objectives } else { &[] };
        let views = self.views.inner();
        let siblings = self.siblings.clone().inner();
        let (mut ccm, mut spa, mut complete) = (Vec::new(), Vec::new(), Vec::new());
        let mut slopes: Vec<Slopes> = objectives.iter().map(|_| Slopes::new()).collect();
        for start in (0..views.len()).step_by(self.rows_per_block) {
            let rows = start..views.len().min(start + self.rows_per_block);
            let pairs = Pairs::new(self.loss, &views, &self.labels, &siblings, &rows);
            let of_spa = self.spa(&pairs, &rows);
            for (objective, slopes) in objectives.iter().zip(&mut slopes) {
                self.add_slopes(slopes, *objective, &views, &pairs, &of_spa, &rows);
            }
            ccm.push(ccm::per_view(self.loss, &pairs));
            spa.push(of_spa.per_view);
            complete.push(of_spa.complete);
        }
        Evaluation {
            ccm: Tensor::cat(ccm, 0).mean(),
            complete: Tensor::cat(complete, 0).min(),
            spa: Tensor::cat(spa, 0).mean(),
            slopes,
        }
    }

    fn spa(&self, pairs: &Pairs, rows: &Range<usize>) -> SpaBlock {
        match (self.positives, &self.attraction) {
            (Some(positives), Some(attraction)) => {
                let attraction = attraction.clone().inner().narrow(0, rows.start, rows.len());
                let labels = self.labels.narrow(rows);
                let sampled = Sampled::new(
                    self.loss,
                    pairs,
                    &labels,
                    &self.labels,
                    &positives.narrow(rows),
                    attraction,
                );
                let (others, attraction) = sampled.slopes(self.loss);
                let per_view = sampled.per_view(self.loss);
                SpaBlock {
                    complete: per_view.ones_like(),
                    per_view,
                    others,
                    pairs: None,
                    attraction: Some(attraction),
                }
            }
            _ => {
                let expected = Expected::new(self.loss, pairs);
                let (others, towards_pairs) = expected.slopes(self.loss);
                let (per_view, complete) = (expected.per_view(self.loss), expected.complete(self.loss));
                SpaBlock { per_view, complete, others, pairs: Some(towards_pairs), attraction: None }
            }
        }
    }

    /// Adds the derivatives of the block's share in the mean over all views.
    fn add_slopes(
        &self,
        slopes: &mut Slopes,
        objective: Objective,
        views: &Views,
        pairs: &Pairs,
        spa: &SpaBlock,
        rows: &Range<usize>,
    ) {
        let share = 1.0 / views.len() as f64;
        let (ccm_share, spa_share) = (objective.ccm * share, objective.spa * share);
        let ccm = ccm::slopes(self.loss, pairs);
        // d log_others / d sim(i, k) = m(i, k) exp(m(i, k) sim(i, k)) / sum
        let others = ccm.others.mul_scalar(ccm_share) + spa.others.clone().mul_scalar(spa_share);
        let mut towards_pairs =
            pairs.others.exponentials.clone() * pairs.mask.clone() * (others / pairs.others.sum.clone());
        if let Some(of_spa) = &spa.pairs {
            towards_pairs = towards_pairs + of_spa.clone().mul_scalar(spa_share);
        }
        if self.loss.formulation == Formulation::Released {
            let floored = pairs.similarity.clone().lower_equal_scalar(RELEASED_FLOOR);
            towards_pairs = towards_pairs.mask_fill(floored, 0.0);
        }
        // Each pair counts for its row, [rows, 2N] x [2N, dim], and for its column, [2N, rows] x [rows, dim].
        slopes.rows.push(towards_pairs.clone().matmul(views.unit().clone()));
        let columns = towards_pairs.transpose().matmul(views.narrow(rows));
        slopes.columns = Some(match slopes.columns.take() {
            Some(sum) => sum + columns,
            None => columns,
        });
        slopes.siblings.push(ccm.siblings.mul_scalar(ccm_share));
        slopes.attraction.extend(spa.attraction.clone().map(|attraction| attraction.mul_scalar(spa_share)));
    }

    /// Gives `value` the gradient `slopes`.
    fn attach(&self, value: Tensor<1>, slopes: Option<Slopes>) -> Tensor<1> {
        let Some(Slopes { rows, columns: Some(columns), siblings, attraction }) = slopes else {
            return value;
        };
        let along = |parts: &Tensor<2>, slope: Tensor<2>| (parts.clone() * slope).sum();
        let mut surrogate = along(self.views.unit(), Tensor::cat(rows, 0) + columns);
        surrogate = surrogate + along(&self.siblings, Tensor::cat(siblings, 0));
        if let Some(similarity) = &self.attraction {
            surrogate = surrogate + along(similarity, Tensor::cat(attraction, 0));
        }
        surrogate.clone() - surrogate.detach() + value
    }
}

impl Slopes {
    fn new() -> Self {
        Self { rows: Vec::new(), columns: None, siblings: Vec::new(), attraction: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MclLabels, MclLossConfig, dense};
    use burn::tensor::{DType, Device, Tensor, TensorData};

    const IMAGES: usize = 9;

    fn projections(dtype: DType) -> Tensor<3> {
        let values: Vec<f64> =
            (0..IMAGES * 2 * 5).map(|n| (n as f64 * 1.7).sin() + (n as f64 * 0.3).cos()).collect();
        Tensor::from_data(TensorData::new(values, [IMAGES, 2, 5]), (&Device::flex().autodiff(), dtype))
            .require_grad()
    }

    /// Labels with partners for all, and with a lonely image.
    fn labels() -> [MclLabels; 2] {
        let device = Device::flex();
        let labels = MclLabels::new(Tensor::from_ints([0, 1, 0, 1, 1, 0, 0, 1, 1], &device));
        let aux = Tensor::from_ints([0, 1, 0, 1, 0, 1, 1, 0, 0], &device);
        let lonely = Tensor::from_ints([0, 1, 0, 7, 1, 0, 0, 1, 1], &device);
        [labels.with_aux(aux), MclLabels::new(lonely)]
    }

    fn positives() -> Vec<Option<usize>> {
        let mut positives: Vec<_> = (0..2 * IMAGES).map(|view| Some((view + 4) % (2 * IMAGES))).collect();
        positives[5] = None;
        positives
    }

    fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.into_data_as::<f64>().try_to_vec().unwrap()
    }

    fn evaluate(dtype: DType, loss: impl Fn(&Views) -> Tensor<1>) -> (f64, Vec<f64>) {
        let projections = projections(dtype);
        // Another use of the loss after it: the gradient must scale with what comes back.
        let value = loss(&Views::new(projections.clone())).mul_scalar(3.0);
        let gradient = projections.grad(&value.backward()).unwrap();
        (read(value)[0], read(gradient))
    }

    fn assert_equal(
        (value, gradient): &(f64, Vec<f64>),
        expected: &(f64, Vec<f64>),
        relative: f64,
        name: &str,
    ) {
        assert!(
            (value - expected.0).abs() <= relative * expected.0.abs(),
            "{name}: {value} instead of {}",
            expected.0
        );
        let scale = expected.1.iter().fold(0.0_f64, |scale, value| scale.max(value.abs()));
        for (value, expected) in gradient.iter().zip(&expected.1) {
            assert!((value - expected).abs() <= relative * scale, "{name}: {value} instead of {expected}");
        }
    }

    fn assert_blocks_equal_dense(
        loss: &MclLoss,
        labels: &ViewLabels,
        positives: Option<&Positives>,
        name: &str,
    ) {
        type Part = fn(MclTerms) -> Tensor<1>;
        let parts: [(&str, Part); 3] = [("ccm", |t| t.ccm), ("spa", |t| t.spa), ("total", |t| t.total)];
        for (dtype, relative) in [(DType::F64, 1e-11), (DType::F32, 1e-5)] {
            for (part_name, part) in parts {
                let name = format!("{part_name}, {dtype:?}, {name}");
                let expected = evaluate(dtype, |views| part(dense::terms(loss, views, labels, positives)));
                for rows in [1, 4, 7, 18] {
                    let terms = |views: &Views| Blockwise::new(loss, views, labels, positives, rows).terms();
                    assert_equal(&evaluate(dtype, |views| part(terms(views))), &expected, relative, &name);
                    if part_name == "total" {
                        let total =
                            |views: &Views| Blockwise::new(loss, views, labels, positives, rows).total();
                        assert_equal(&evaluate(dtype, total), &expected, relative, &name);
                    }
                }
            }
        }
    }

    #[test]
    fn blocks_of_any_size_give_the_dense_loss_and_gradient() {
        let sampled = Positives::new(&positives(), 2 * IMAGES, &Device::flex());
        for formulation in [Formulation::Paper, Formulation::Released] {
            for temperature in [0.2, 0.02] {
                let config = MclLossConfig::new().with_formulation(formulation).with_temperature(temperature);
                let loss = config.with_spa_weight(0.7).init();
                for labels in labels().map(|labels| ViewLabels::new(&labels, IMAGES)) {
                    for positives in [None, Some(&sampled)] {
                        let name = format!("{formulation:?}, {temperature}, sampled {}", positives.is_some());
                        assert_blocks_equal_dense(&loss, &labels, positives, &name);
                    }
                }
            }
        }
    }

    #[test]
    fn blocks_work_without_autodiff() {
        let loss = MclLossConfig::new().init();
        let labels = ViewLabels::new(&labels()[0], IMAGES);
        let views = Views::new(projections(DType::F64).inner());
        let expected = read(dense::terms(&loss, &views, &labels, None).total)[0];
        let value = Blockwise::new(&loss, &views, &labels, None, 4).total();
        assert!(!value.is_autodiff());
        assert!((read(value)[0] - expected).abs() < 1e-12);
    }

    #[test]
    fn blocks_keep_to_their_size() {
        assert_eq!(rows_per_block(FROM_VIEWS) * FROM_VIEWS, BLOCK_ENTRIES);
        assert_eq!(rows_per_block(BLOCK_ENTRIES), LEAST_ROWS);
    }
}
