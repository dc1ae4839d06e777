//! The mask: how strongly each pair of views repels (Eq. 4; with auxiliary labels Eq. 11).
//!
//! ```text
//!            alpha            same class, same auxiliary label
//! m(i, k) =  beta             same class, other auxiliary label
//!            1 / temperature  other class
//! ```

use core::ops::Range;

use burn::tensor::{Bool, Int, Tensor};

use crate::{labels::ViewLabels, similarity::Block};

/// The three weights of the mask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaskWeights {
    pub(crate) same_label: f64,
    pub(crate) same_class: f64,
    pub(crate) other_class: f64,
}

/// Which pairs of views share a class, and which share class and auxiliary label.
#[derive(Debug, Clone)]
pub(crate) struct PairLabels {
    same_class: Tensor<2, Bool>,
    same_label: Tensor<2, Bool>,
}

impl PairLabels {
    /// Every row with every column, `[rows, columns]`.
    pub(crate) fn between(rows: &ViewLabels, columns: &ViewLabels) -> Self {
        Self::compare(rows, columns, all_pairs_equal)
    }

    /// Each of some views with one partner, `[rows, 1]`.
    pub(crate) fn paired(rows: &ViewLabels, partners: &ViewLabels) -> Self {
        Self::compare(rows, partners, |rows, partners| rows.equal(partners).unsqueeze_dim(1))
    }

    fn compare(
        left: &ViewLabels,
        right: &ViewLabels,
        equal: impl Fn(Tensor<1, Int>, Tensor<1, Int>) -> Tensor<2, Bool>,
    ) -> Self {
        let same_class = equal(left.class.clone(), right.class.clone());
        let same_label = match (&left.aux, &right.aux) {
            (Some(left), Some(right)) => same_class.clone().bool_and(equal(left.clone(), right.clone())),
            _ => same_class.clone(),
        };
        Self { same_class, same_label }
    }

    /// The pairs of one class and one auxiliary label.
    pub(crate) fn same_label(&self) -> Tensor<2, Bool> {
        self.same_label.clone()
    }

    /// The mask `m`, a constant of the shape and type of `similarity`.
    pub(crate) fn mask(&self, weights: MaskWeights, similarity: &Tensor<2>) -> Tensor<2> {
        similarity
            .clone()
            .inner()
            .full_like(weights.other_class)
            .mask_fill(self.same_class.clone(), weights.same_class)
            .mask_fill(self.same_label.clone(), weights.same_label)
    }
}

/// Pairs of views of one image, a view with itself included: `[rows, columns]`.
pub(crate) fn same_image(rows: &ViewLabels, columns: &ViewLabels) -> Tensor<2, Bool> {
    all_pairs_equal(rows.image.clone(), columns.image.clone())
}

/// Pairs of two first views or of two second views: `[rows, columns]`.
pub(crate) fn same_position(rows: &ViewLabels, columns: &ViewLabels) -> Tensor<2, Bool> {
    all_pairs_equal(rows.position.clone(), columns.position.clone())
}

/// Pairs of a view with itself: `[rows, 2N]`.
pub(crate) fn same_view(block: &Block) -> Tensor<2, Bool> {
    let device = block.columns.device();
    let [views, _] = block.columns.dims();
    let numbers = |views: Range<usize>| Tensor::arange(views.start as i64..views.end as i64, &device).inner();
    all_pairs_equal(numbers(block.range.clone()), numbers(0..views))
}

/// `[rows]`, `[columns]` -> `[rows, columns]`.
fn all_pairs_equal(rows: Tensor<1, Int>, columns: Tensor<1, Int>) -> Tensor<2, Bool> {
    rows.unsqueeze_dim::<2>(1).equal(columns.unsqueeze_dim::<2>(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{labels::MclLabels, similarity::Views};
    use burn::tensor::{Device, TensorData};

    const WEIGHTS: MaskWeights = MaskWeights { same_label: 0.05, same_class: 2.5, other_class: 5.0 };

    fn labels(device: &Device) -> MclLabels {
        MclLabels::new(Tensor::from_ints([0, 0, 1], device))
    }

    fn all_pairs(labels: &ViewLabels) -> PairLabels {
        PairLabels::between(labels, labels)
    }

    fn first_views(mask: Tensor<2>) -> TensorData {
        mask.reshape([3, 2, 6]).narrow(1, 0, 1).reshape([3, 3, 2]).narrow(2, 1, 1).reshape([3, 3]).into_data()
    }

    #[test]
    fn without_auxiliary_labels_one_class_takes_alpha() {
        let device = Device::flex();
        let pairs = all_pairs(&ViewLabels::new(&labels(&device), 3, &device));
        let mask = pairs.mask(WEIGHTS, &Tensor::zeros([6, 6], &device));
        first_views(mask)
            .assert_eq(&TensorData::from([[0.05_f32, 0.05, 5.0], [0.05, 0.05, 5.0], [5.0, 5.0, 0.05]]), true);
    }

    #[test]
    fn auxiliary_labels_part_alpha_from_beta() {
        let device = Device::flex();
        let labels = labels(&device).with_aux(Tensor::from_ints([0, 1, 1], &device));
        let pairs = all_pairs(&ViewLabels::new(&labels, 3, &device));
        let mask = pairs.mask(WEIGHTS, &Tensor::zeros([6, 6], &device));
        // Image 2 shares only the auxiliary label with image 1: another class still.
        first_views(mask)
            .assert_eq(&TensorData::from([[0.05_f32, 2.5, 5.0], [2.5, 0.05, 5.0], [5.0, 5.0, 0.05]]), true);
    }

    #[test]
    fn pair_masks_mark_views_images_and_positions() {
        let device = Device::flex();
        let labels = ViewLabels::new(&MclLabels::new(Tensor::from_ints([0, 0], &device)), 2, &device);
        let (image, position) = (same_image(&labels, &labels), same_position(&labels, &labels));
        let view = same_view(&Views::new(Tensor::ones([2, 2, 3], &device)).all());
        let rows = |mask: &Tensor<2, Bool>| mask.clone().int().sum_dim(1).reshape([4]).into_data();
        rows(&view).assert_eq(&TensorData::from([1, 1, 1, 1]), false);
        rows(&image).assert_eq(&TensorData::from([2, 2, 2, 2]), false);
        rows(&position).assert_eq(&TensorData::from([2, 2, 2, 2]), false);
        image.bool_and(position).equal(view).all().into_data().assert_eq(&TensorData::from([true]), false);
    }
}
