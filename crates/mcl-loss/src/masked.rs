//! CCM and SPA (Eq. 6 and 9) by tensor operations, for any backend.

use core::ops::Range;

use burn::tensor::{Bool, Tensor};

use crate::{
    batch::Batch,
    blockwise::{self, Means},
    ccm, dense,
    formulation::Formulation,
    labels::ViewLabels,
    mask::{PairLabels, same_image, same_position},
    pair_loss::PairLoss,
    pairs::{Pairs, Weights},
    parameters::{Parameters, RELEASED_FLOOR},
    similarity::{Block, Views},
    spa::{expected, sampled},
    terms::MclTerms,
};

/// CCM and SPA of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Masked<'a> {
    parameters: &'a Parameters,
    batch: &'a Batch,
    /// 0 if a view without a candidate drops SPA from the loss, else 1, `[1]`; `None` where no view can.
    complete: Option<Tensor<1>>,
}

impl<'a> Masked<'a> {
    pub(crate) fn new(parameters: &'a Parameters, batch: &'a Batch) -> Self {
        Self { parameters, batch, complete: None }
    }

    /// The loss and its parts from one matrix of all pairs.
    pub(crate) fn dense(&self) -> MclTerms {
        let [ccm, spa] = dense::means(&self.with_complete(self.batch.views.len()));
        MclTerms::new(ccm, spa, self.parameters.spa_weight)
    }

    /// The total with its gradient from blocks of rows; its parts are constants.
    pub(crate) fn total_by_blocks(&self, rows_per_block: usize) -> MclTerms {
        let loss = self.with_complete(rows_per_block);
        let Means { terms: [ccm, spa], objectives: [total] } =
            blockwise::means(&loss, rows_per_block, [[1.0, self.parameters.spa_weight]]);
        MclTerms { ccm, spa, total }
    }

    /// The total and its parts with their gradients from blocks of rows.
    pub(crate) fn terms_by_blocks(&self, rows_per_block: usize) -> MclTerms {
        let loss = self.with_complete(rows_per_block);
        let Means { objectives: [ccm, spa], .. } =
            blockwise::means(&loss, rows_per_block, [[1.0, 0.0], [0.0, 1.0]]);
        MclTerms::new(ccm, spa, self.parameters.spa_weight)
    }

    /// Finds out from the labels whether SPA counts: blocks need to know before the last of them is seen.
    ///
    /// In the expectation of the released code a view without a candidate drops it.
    fn with_complete(&self, rows_per_block: usize) -> Self {
        let Batch { views, labels, positives } = self.batch;
        let can_drop = self.parameters.formulation == Formulation::Released && positives.is_none();
        let complete = can_drop.then(|| {
            let of_blocks = blockwise::ranges(views.len(), rows_per_block).map(|rows| {
                let shared = PairLabels::between(&labels.narrow(&rows), labels);
                let missing = self.candidates(&rows, &shared).any_dim(1).bool_not();
                views.narrow(&rows).inner().narrow(1, 0, 1).ones_like().mask_fill(missing, 0.0)
            });
            Tensor::cat(of_blocks.collect(), 0).min()
        });
        Self { complete, ..self.clone() }
    }

    /// The views that SPA can draw for each of some rows, `[rows, 2N]`.
    fn candidates(&self, rows: &Range<usize>, shared: &PairLabels) -> Tensor<2, Bool> {
        let (rows, columns) = (self.batch.labels.narrow(rows), &self.batch.labels);
        let candidates = shared.same_label().bool_and(same_image(&rows, columns).bool_not());
        match self.parameters.formulation {
            Formulation::Paper => candidates,
            Formulation::Released => candidates.bool_and(same_position(&rows, columns)),
        }
    }
}

impl PairLoss<2> for Masked<'_> {
    fn views(&self) -> &Views {
        &self.batch.views
    }

    fn partners(&self) -> Vec<Tensor<2>> {
        let Batch { views, positives, .. } = self.batch;
        let positives = positives.iter().map(|positives| views.to_partners(&positives.index));
        std::iter::once(views.siblings())
            .chain(positives)
            .map(|similarity| self.parameters.floored(similarity))
            .collect()
    }

    fn pairs(&self, block: &Block) -> Pairs {
        let columns = &self.batch.labels;
        let rows = columns.narrow(&block.range);
        let similarity = self.parameters.floored(block.similarity());
        let shared = PairLabels::between(&rows, columns);
        let mask = shared.mask(self.parameters.mask_weights(), &similarity);
        let same_image = same_image(&rows, columns);
        let pairs = Pairs::new(similarity, Weights::Mask(mask), same_image, self.parameters.largest_logit());
        let pairs = match self.parameters.formulation {
            Formulation::Paper => pairs,
            Formulation::Released => pairs.with_floor(RELEASED_FLOOR),
        };
        match self.batch.positives {
            Some(_) => pairs,
            None => pairs.with_candidates(self.candidates(&block.range, &shared)),
        }
    }

    fn terms(&self, rows: &Range<usize>, pairs: &Pairs, partners: &[Tensor<2>]) -> [Tensor<2>; 2] {
        let parameters = self.parameters;
        let ccm = ccm::per_view(parameters, &pairs.log_sum, &partners[0]);
        let spa = match &self.batch.positives {
            Some(positives) => {
                let labels: [&ViewLabels; 2] = [&self.batch.labels.narrow(rows), &self.batch.labels];
                let positives = positives.narrow(rows);
                sampled::per_view(parameters, &pairs.log_sum, labels, &positives, partners[1].clone())
            }
            None => expected::per_view(parameters, pairs),
        };
        let spa = match &self.complete {
            Some(complete) => spa * complete.clone().unsqueeze(),
            None => spa,
        };
        [ccm, spa]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Formulation, MclLabels, MclLossConfig};
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

    fn evaluate(projections: &Tensor<3>, loss: impl Fn(Tensor<3>) -> Tensor<1>) -> (f64, Vec<f64>) {
        // Another use of the loss after it: the gradient must scale with what comes back.
        let value = loss(projections.clone()).mul_scalar(3.0);
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

    type Part = fn(MclTerms) -> Tensor<1>;
    const PARTS: [(&str, Part); 3] = [("ccm", |t| t.ccm), ("spa", |t| t.spa), ("total", |t| t.total)];

    fn assert_blocks_equal_dense(loss: &Parameters, labels: &MclLabels, positives: Option<&[Option<usize>]>) {
        for (dtype, relative) in [(DType::F64, 1e-11), (DType::F32, 1e-5)] {
            let input = projections(dtype);
            let batch = |projections| Batch::new(projections, labels, positives);
            let expected = PARTS.map(|(_, part)| {
                evaluate(&input, |projections| part(Masked::new(loss, &batch(projections)).dense()))
            });
            for rows in [1, 4, 7, 18] {
                for ((name, part), expected) in PARTS.iter().zip(&expected) {
                    let terms = evaluate(&input, |projections| {
                        part(Masked::new(loss, &batch(projections)).terms_by_blocks(rows))
                    });
                    let name = format!("{name} of {loss:?}, {dtype:?}, sampled {}", positives.is_some());
                    assert_equal(&terms, expected, relative, &name);
                }
                let total = evaluate(&input, |projections| {
                    Masked::new(loss, &batch(projections)).total_by_blocks(rows).total
                });
                assert_equal(&total, &expected[2], relative, "total alone");
            }
        }
    }

    #[test]
    fn blocks_of_any_size_give_the_dense_loss_and_gradient() {
        for formulation in [Formulation::Paper, Formulation::Released] {
            for temperature in [0.2, 0.02] {
                let config = MclLossConfig::new().with_formulation(formulation).with_temperature(temperature);
                let loss = config.with_spa_weight(0.7).init().parameters;
                for labels in labels() {
                    assert_blocks_equal_dense(&loss, &labels, None);
                    assert_blocks_equal_dense(&loss, &labels, Some(&positives()));
                }
            }
        }
    }

    #[test]
    fn blocks_work_without_autodiff() {
        let loss = MclLossConfig::new().init().parameters;
        // And with autodiff, but nothing to differentiate.
        for projections in [projections(DType::F64).inner(), projections(DType::F64).inner().autodiff()] {
            let batch = Batch::new(projections, &labels()[0], None);
            let expected = read(Masked::new(&loss, &batch).dense().total)[0];
            for value in [
                Masked::new(&loss, &batch).total_by_blocks(4).total,
                Masked::new(&loss, &batch).terms_by_blocks(4).total,
            ] {
                assert!(!value.is_tracked());
                assert!((read(value)[0] - expected).abs() < 1e-12);
            }
        }
    }
}
