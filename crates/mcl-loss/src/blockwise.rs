//! MCL of large batches: the same loss from blocks of rows, with its gradient in closed form.
//!
//! Autodiff would keep every intermediate `[2N, 2N]` matrix until the backward pass. Here each block of rows is
//! reduced to its share of the loss and of the gradient at once, and dropped: memory grows as 2N, not (2N)^2, on any
//! backend. The gradient joins the graph as a linear function ([`Slopes::attach`]).

use burn::tensor::Tensor;

use crate::{
    batch::Batch,
    ccm,
    formulation::Formulation,
    mcl::{MclLoss, MclTerms},
    pairs::Pairs,
    slopes::{Slopes, Tracked},
    spa::{Expected, Sampled, SpaTerms},
};

/// Entries of one block of the similarity matrix, of which some ten exist at a time: more leave the processor's
/// cache, fewer do not fill a GPU.
const BLOCK_ENTRIES: usize = 1 << 20;

/// Least rows of a block: each block also updates a `[2N, dim]` gradient, at a cost that its rows share.
const LEAST_ROWS: usize = 64;

/// Views from which on the loss is computed block by block.
pub(crate) const FROM_VIEWS: usize = 2048;

/// Rows of a block in a batch of `views`.
pub(crate) fn rows_per_block(views: usize) -> usize {
    (BLOCK_ENTRIES / views).max(LEAST_ROWS)
}

/// A batch to be taken block by block.
#[derive(Debug)]
pub(crate) struct Blockwise<'a> {
    loss: &'a MclLoss,
    batch: &'a Batch,
    tracked: Tracked,
    rows_per_block: usize,
}

/// The means over all views, constants, and the derivatives of what was asked for.
#[derive(Debug)]
struct Evaluation<const OBJECTIVES: usize> {
    ccm: Tensor<1>,
    spa: Tensor<1>,
    /// 0 if a view silences SPA, else 1.
    complete: Tensor<1>,
    slopes: [Slopes; OBJECTIVES],
}

impl<'a> Blockwise<'a> {
    pub(crate) fn new(loss: &'a MclLoss, batch: &'a Batch, rows_per_block: usize) -> Self {
        let views = &batch.views;
        let tracked = Tracked {
            unit: views.unit().clone(),
            siblings: loss.floored(views.siblings()),
            attraction: batch
                .positives
                .as_ref()
                .map(|positives| loss.floored(views.to_partners(&positives.index))),
        };
        Self { loss, batch, tracked, rows_per_block }
    }

    /// The total alone: one gradient.
    pub(crate) fn total(&self) -> Tensor<1> {
        if self.loss.formulation == Formulation::Released && self.batch.positives.is_none() {
            // Whether SPA counts at all is known only after the last block.
            return self.terms().total;
        }
        let spa_weight = self.loss.spa_weight;
        let Evaluation { ccm, spa, slopes: [slopes], .. } = self.evaluate([Slopes::of(1.0, spa_weight)]);
        slopes.attach(ccm + spa.mul_scalar(spa_weight), &self.tracked)
    }

    /// The total and its parts: two gradients.
    pub(crate) fn terms(&self) -> MclTerms {
        let evaluation = self.evaluate([Slopes::of(1.0, 0.0), Slopes::of(0.0, 1.0)]);
        let [ccm, spa] = evaluation.slopes;
        let ccm = ccm.attach(evaluation.ccm, &self.tracked);
        let spa = spa.attach(evaluation.spa, &self.tracked) * evaluation.complete;
        MclTerms::new(ccm, spa, self.loss.spa_weight)
    }

    /// Runs over the blocks; without autodiff the slopes stay empty.
    fn evaluate<const OBJECTIVES: usize>(&self, mut slopes: [Slopes; OBJECTIVES]) -> Evaluation<OBJECTIVES> {
        let differentiate = self.tracked.unit.is_autodiff();
        let views = self.batch.views.inner();
        let siblings = self.tracked.siblings.clone().inner();
        let (mut ccm, mut spa, mut complete) = (Vec::new(), Vec::new(), Vec::new());
        for start in (0..views.len()).step_by(self.rows_per_block) {
            let rows = start..views.len().min(start + self.rows_per_block);
            let pairs = Pairs::new(self.loss, &views, &self.batch.labels, &siblings, &rows);
            let spa_terms = self.spa(&pairs, start);
            if differentiate {
                for slopes in &mut slopes {
                    slopes.add(self.loss, &views, &rows, &pairs, &spa_terms);
                }
            }
            ccm.push(ccm::per_view(self.loss, &pairs.log_others, &pairs.siblings));
            spa.push(spa_terms.per_view);
            complete.push(spa_terms.complete);
        }
        Evaluation {
            ccm: Tensor::cat(ccm, 0).mean(),
            spa: Tensor::cat(spa, 0).mean(),
            complete: Tensor::cat(complete, 0).min(),
            slopes,
        }
    }

    /// SPA of the block whose first row is `start`.
    fn spa(&self, pairs: &Pairs, start: usize) -> SpaTerms {
        match (&self.batch.positives, &self.tracked.attraction) {
            (Some(positives), Some(attraction)) => {
                let [rows, _] = pairs.siblings.dims();
                let attraction = attraction.clone().inner().narrow(0, start, rows);
                let positives = positives.narrow(&(start..start + rows));
                let labels = [&pairs.rows, &pairs.columns];
                Sampled::new(self.loss, &pairs.log_others, labels, &positives, attraction).terms(self.loss)
            }
            _ => Expected::new(self.loss, pairs).terms(self.loss),
        }
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

    fn assert_blocks_equal_dense(loss: &MclLoss, labels: &MclLabels, positives: Option<&[Option<usize>]>) {
        for (dtype, relative) in [(DType::F64, 1e-11), (DType::F32, 1e-5)] {
            let input = projections(dtype);
            let batch = |projections| Batch::new(projections, labels, positives);
            let expected = PARTS.map(|(_, part)| {
                evaluate(&input, |projections| part(dense::terms(loss, &batch(projections))))
            });
            for rows in [1, 4, 7, 18] {
                for ((name, part), expected) in PARTS.iter().zip(&expected) {
                    let terms = evaluate(&input, |projections| {
                        part(Blockwise::new(loss, &batch(projections), rows).terms())
                    });
                    let name = format!("{name} of {loss:?}, {dtype:?}, sampled {}", positives.is_some());
                    assert_equal(&terms, expected, relative, &name);
                }
                let total =
                    evaluate(&input, |projections| Blockwise::new(loss, &batch(projections), rows).total());
                assert_equal(&total, &expected[2], relative, "total alone");
            }
        }
    }

    #[test]
    fn blocks_of_any_size_give_the_dense_loss_and_gradient() {
        for formulation in [Formulation::Paper, Formulation::Released] {
            for temperature in [0.2, 0.02] {
                let config = MclLossConfig::new().with_formulation(formulation).with_temperature(temperature);
                let loss = config.with_spa_weight(0.7).init();
                for labels in labels() {
                    assert_blocks_equal_dense(&loss, &labels, None);
                    assert_blocks_equal_dense(&loss, &labels, Some(&positives()));
                }
            }
        }
    }

    #[test]
    fn blocks_work_without_autodiff() {
        let loss = MclLossConfig::new().init();
        let batch = Batch::new(projections(DType::F64).inner(), &labels()[0], None);
        let expected = read(dense::terms(&loss, &batch).total)[0];
        let value = Blockwise::new(&loss, &batch, 4).total();
        assert!(!value.is_autodiff());
        assert!((read(value)[0] - expected).abs() < 1e-12);
    }

    #[test]
    fn blocks_keep_to_their_size() {
        assert_eq!(rows_per_block(FROM_VIEWS) * FROM_VIEWS, BLOCK_ENTRIES);
        assert_eq!(rows_per_block(BLOCK_ENTRIES), LEAST_ROWS);
    }
}
