//! MCL of large batches from blocks of rows, in memory that grows as 2N.

use burn::tensor::Tensor;

use crate::{
    batch::Batch,
    blocks,
    dense::{ccm, complete, drops_spa, spa},
    pairs::{Pairs, candidates_by_label},
    parameters::Parameters,
    similarity::Block,
    terms::MclTerms,
};

/// The total with its gradient; its parts are constants.
pub(crate) fn total(parameters: &Parameters, batch: &Batch, rows_per_block: usize) -> MclTerms {
    let complete = of_all_blocks_complete(parameters, batch, rows_per_block);
    let [total, ccm, spa] = blocks::means(&batch.views, rows_per_block, |block| {
        let pairs = Pairs::new(parameters, block, &batch.labels);
        let ccm = ccm(parameters, &pairs);
        let spa = spa_if(complete.as_ref(), spa(parameters, batch, block, &pairs));
        [ccm.clone() + spa.clone().mul_scalar(parameters.spa_weight), ccm, spa]
    });
    MclTerms { ccm, spa, total }
}

/// The total and its parts with their gradients, at twice the cost of [`total`].
pub(crate) fn terms(parameters: &Parameters, batch: &Batch, rows_per_block: usize) -> MclTerms {
    if !batch.views.unit().is_tracked() {
        return total(parameters, batch, rows_per_block);
    }
    let complete = of_all_blocks_complete(parameters, batch, rows_per_block);
    let pairs = |block: &Block| Pairs::new(parameters, block, &batch.labels);
    let [ccm] = blocks::means(&batch.views, rows_per_block, |block| [ccm(parameters, &pairs(block))]);
    let [spa] = blocks::means(&batch.views, rows_per_block, |block| {
        [spa_if(complete.as_ref(), spa(parameters, batch, block, &pairs(block)))]
    });
    MclTerms::new(ccm, spa, parameters.spa_weight)
}

/// Whether SPA counts, `[1]`: the blocks need it before the last of them is seen. `None` where SPA always counts.
fn of_all_blocks_complete(
    parameters: &Parameters,
    batch: &Batch,
    rows_per_block: usize,
) -> Option<Tensor<1>> {
    drops_spa(parameters, batch).then(|| {
        let of_blocks = blocks::ranges(batch.views.len(), rows_per_block).map(|rows| {
            let labels = [&batch.labels.narrow(&rows), &batch.labels];
            complete(candidates_by_label(parameters.formulation, labels), &batch.views.narrow(&rows))
        });
        Tensor::cat(of_blocks.collect(), 0).min()
    })
}

/// SPA of some views, `[rows, 1]`, times whether it counts.
fn spa_if(complete: Option<&Tensor<1>>, spa: Tensor<2>) -> Tensor<2> {
    match complete {
        Some(complete) => spa * complete.clone().unsqueeze(),
        None => spa,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Formulation, MclLabels, MclLossConfig, dense};
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
                evaluate(&input, |projections| part(dense::terms(loss, &batch(projections))))
            });
            for rows in [1, 4, 7, 18] {
                for ((name, part), expected) in PARTS.iter().zip(&expected) {
                    let terms = evaluate(&input, |projections| part(terms(loss, &batch(projections), rows)));
                    let name = format!("{name} of {loss:?}, {dtype:?}, sampled {}", positives.is_some());
                    assert_equal(&terms, expected, relative, &name);
                }
                let total = evaluate(&input, |projections| total(loss, &batch(projections), rows).total);
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
        for projections in [projections(DType::F64).inner(), projections(DType::F64).detach()] {
            let batch = Batch::new(projections, &labels()[0], None);
            let expected = read(dense::terms(&loss, &batch).total)[0];
            for value in [total(&loss, &batch, 4).total, terms(&loss, &batch, 4).total] {
                assert!(!value.is_tracked());
                assert!((read(value)[0] - expected).abs() < 1e-12);
            }
        }
    }
}
