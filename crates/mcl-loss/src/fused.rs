//! MCL on Burn's CPU backend, flex, in loops of our own over pairs of views.

use burn::tensor::{Int, Tensor};
use pulp::Arch;

use crate::{
    batch::Batch,
    ccm, flex,
    formulation::Formulation,
    labels::ViewLabels,
    parameters::{Parameters, RELEASED_FLOOR},
    spa::sampled,
    terms::MclTerms,
};

#[cfg(test)]
mod tests;

/// Whether [`terms`] may be called.
///
/// The expected SPA of the released code is left to tensor operations: each pair has a denominator of its
/// own.
pub(crate) fn supports(parameters: &Parameters, batch: &Batch) -> bool {
    let expected_release = parameters.formulation == Formulation::Released && batch.positives.is_none();
    flex::takes(batch.views.unit()) && parameters.largest_logit() <= flex::LARGEST_WEIGHT && !expected_release
}

/// The loss and its parts.
pub(crate) fn terms(parameters: &Parameters, batch: &Batch) -> MclTerms {
    terms_on(Arch::new(), parameters, batch)
}

/// By the vectors of `arch`.
fn terms_on(arch: Arch, parameters: &Parameters, batch: &Batch) -> MclTerms {
    let Batch { views, labels, positives } = batch;
    let of_views = flex::pairwise_terms(views.unit().clone(), of_pairs(parameters, labels), arch);
    let column = |term| of_views.clone().narrow(0, term, 1).reshape([views.len(), 1]);
    let log_others = column(0);
    let ccm = ccm::per_view(parameters, &log_others, &parameters.floored(column(2)));
    let spa = match positives {
        Some(positives) => {
            let attraction = parameters.floored(views.to_partners(&positives.index));
            sampled::per_view(parameters, &log_others, [labels, labels], positives, attraction)
        }
        None => column(1),
    };
    MclTerms::new(ccm.mean(), spa.mean(), parameters.spa_weight)
}

/// What the loops need to know of labels and parameters.
fn of_pairs(parameters: &Parameters, labels: &ViewLabels) -> flex::Labels {
    let mask = parameters.mask_weights();
    let weights = flex::Weights {
        same_label: mask.same_label as f32,
        same_class: mask.same_class as f32,
        other_class: mask.other_class as f32,
        floor: match parameters.formulation {
            Formulation::Paper => f32::NEG_INFINITY,
            Formulation::Released => RELEASED_FLOOR as f32,
        },
    };
    let aux = labels.aux.as_ref().map(read);
    flex::Labels::new(&read(&labels.class), aux.as_deref(), weights, parameters.temperature as f32)
}

fn read(labels: &Tensor<1, Int>) -> Vec<i64> {
    labels.clone().into_data_as::<i64>().try_to_vec().expect("integers of the type they were read as")
}
