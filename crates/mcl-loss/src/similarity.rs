//! Cosine similarities of the views of a batch (the `sim` of Eq. 1), safe for rows of any scale.

use core::ops::Range;

use burn::tensor::{DType, Int, Tensor};

#[cfg(feature = "flex")]
use crate::flex;
use crate::views::VIEWS;

/// The unit vectors of a batch: rows `2k` and `2k + 1` are the two views of image `k`.
#[derive(Debug, Clone)]
pub(crate) struct Views {
    unit: Tensor<2>,
}

impl Views {
    /// `[images, 2, dim]` projections of any scale to `[2 * images, dim]` unit rows.
    ///
    /// # Panics
    ///
    /// If there is no image, or not two views of each, or no dimension.
    pub(crate) fn new(projections: Tensor<3>) -> Self {
        let [images, views, dim] = projections.dims();
        assert!(
            images > 0 && views == VIEWS && dim > 0,
            "projections have shape [{images}, {views}, {dim}]: expected [images, views = {VIEWS}, dim] with at \
             least one image and dimension"
        );
        // Exponentials of 16-bit logits lose the loss; a cast is differentiable and costs 2N x dim. Flex32
        // computes like f16.
        let projections = match projections.dtype() {
            DType::F16 | DType::BF16 | DType::Flex32 => projections.cast(DType::F32),
            _ => projections,
        };
        Self { unit: unit_rows(projections.reshape([images * VIEWS, dim])) }
    }

    /// Number of views, 2N.
    pub(crate) fn len(&self) -> usize {
        self.unit.dims()[0]
    }

    /// Number of images, N.
    pub(crate) fn images(&self) -> usize {
        self.len() / VIEWS
    }

    /// The unit rows `[2N, dim]`.
    pub(crate) fn unit(&self) -> &Tensor<2> {
        &self.unit
    }

    /// The unit rows of a range of views, `[rows, dim]`.
    pub(crate) fn narrow(&self, rows: &Range<usize>) -> Tensor<2> {
        self.unit.clone().narrow(0, rows.start, rows.len())
    }

    /// All views as the rows of one block.
    pub(crate) fn all(&self) -> Block {
        Block { rows: self.unit.clone(), columns: self.unit.clone(), range: 0..self.len() }
    }

    /// A range of views as the rows of a block, without an autodiff association.
    pub(crate) fn block(&self, range: Range<usize>) -> Block {
        Block { rows: self.narrow(&range).inner(), columns: self.unit.clone().inner(), range }
    }

    /// Similarity of each view to the other view of its image, `[2N, 1]`.
    pub(crate) fn siblings(&self) -> Tensor<2> {
        let [views, dim] = self.unit.dims();
        let images = self.unit.clone().reshape([views / VIEWS, VIEWS, dim]);
        let first = images.clone().narrow(1, 0, 1);
        let second = images.narrow(1, 1, 1);
        // [N, 1, dim] -> [N, 1] -> [2N, 1]: both views of an image have the same sibling similarity.
        let similarity: Tensor<2> = (first * second).sum_dim(2).squeeze_dim(2);
        similarity.repeat_dim(1, VIEWS).reshape([views, 1])
    }

    /// Similarity of view `i` to view `partners[i]`, `[2N, 1]`.
    pub(crate) fn to_partners(&self, partners: &Tensor<1, Int>) -> Tensor<2> {
        (self.unit.clone() * self.unit.clone().select(0, partners.clone())).sum_dim(1)
    }
}

/// Some views of a batch, the rows, beside all of its views, the columns.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Unit rows of the range, `[rows, dim]`.
    pub(crate) rows: Tensor<2>,
    /// Unit rows of all views, `[2N, dim]`.
    pub(crate) columns: Tensor<2>,
    /// Which views the rows are.
    pub(crate) range: Range<usize>,
}

impl Block {
    /// Similarity of each row to each column, `[rows, 2N]`.
    pub(crate) fn similarity(&self) -> Tensor<2> {
        self.rows.clone().matmul(self.columns.clone().transpose())
    }
}

/// Divides each row by its Euclidean norm; rows of zeros stay zero and pass no gradient.
///
/// The row is divided by its largest magnitude first, so that the squares neither overflow nor vanish. The
/// direction does not depend on that divisor, so it is a constant to the gradient.
fn unit_rows(rows: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if flex::takes(&rows) {
        return flex::unit_rows(rows);
    }
    let magnitude = rows.clone().inner().max_abs_dim(1); // [rows, 1]
    // Below the smallest normal number a row has no direction left worth keeping, and 1 / magnitude
    // overflows.
    let vanished = magnitude.clone().lower_scalar(f32::MIN_POSITIVE);
    let magnitude = magnitude.mask_fill(vanished.clone(), 1.0);
    let scaled = rows / magnitude;
    // At least 1 for rows that have not vanished; the floor keeps the square root differentiable for the
    // others.
    let norm = scaled.clone().square().sum_dim(1).clamp_min(0.25).sqrt();
    let unit = scaled / norm;
    let dims = unit.dims();
    unit.mask_fill(vanished.expand(dims), 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData, Tolerance};

    // With the feature `flex`, f32 takes another way than f64.
    const PRECISIONS: [DType; 2] = [DType::F32, DType::F64];

    #[test]
    fn rows_of_any_scale_become_unit_rows() {
        let device = Device::flex();
        for dtype in PRECISIONS {
            for scale in [1e-37_f32, 1e-20, 1e-3, 1.0, 1e3, 1e20, 1e38] {
                let rows = TensorData::from([[3.0 * scale, 0.0], [0.6 * scale, -0.8 * scale]]);
                unit_rows(Tensor::from_data(rows, (&device, dtype))).into_data_as::<f32>().assert_approx_eq(
                    &TensorData::from([[1.0, 0.0], [0.6, -0.8]]),
                    Tolerance::<f32>::relative(1e-6),
                );
            }
        }
    }

    #[test]
    fn zero_rows_stay_zero_without_a_gradient() {
        let device = Device::flex().autodiff();
        for dtype in PRECISIONS {
            let rows = TensorData::from([[0.0, 0.0], [3.0, 4.0]]);
            let rows = Tensor::<2>::from_data(rows, (&device, dtype)).require_grad();
            let unit = unit_rows(rows.clone());
            let target = Tensor::from_data(TensorData::from([[1.0, 2.0], [1.0, 2.0]]), (&device, dtype));
            let gradients = (unit.clone() * target).sum().backward();
            unit.into_data_as::<f32>().assert_approx_eq(
                &TensorData::from([[0.0, 0.0], [0.6, 0.8]]),
                Tolerance::<f32>::relative(1e-6),
            );
            // d(u . t) / dx = (t - (u . t) u) / |x| with u = (0.6, 0.8), t = (1, 2), |x| = 5.
            rows.grad(&gradients).unwrap().into_data_as::<f32>().assert_approx_eq(
                &TensorData::from([[0.0, 0.0], [-0.064, 0.048]]),
                Tolerance::<f32>::relative(1e-5),
            );
        }
    }

    #[test]
    fn siblings_and_partners_are_entries_of_all_pairs() {
        let device = Device::flex();
        let projections =
            Tensor::<3>::from_floats([[[1.0, 2.0], [-1.0, 0.5]], [[0.3, 0.1], [2.0, -2.0]]], &device);
        let views = Views::new(projections);
        let pairs = views.all().similarity();
        let entries = |columns: [i32; 4]| {
            let columns = Tensor::<1, Int>::from_ints(columns, &device).reshape([4, 1]);
            pairs.clone().gather(1, columns).into_data()
        };
        let tolerance = Tolerance::<f32>::relative(1e-5);
        views.siblings().into_data().assert_approx_eq(&entries([1, 0, 3, 2]), tolerance);
        let partners = Tensor::from_ints([2, 3, 1, 0], &device);
        views.to_partners(&partners).into_data().assert_approx_eq(&entries([2, 3, 1, 0]), tolerance);
    }

    #[test]
    #[should_panic(expected = "projections have shape [4, 3, 2]")]
    fn three_views_are_refused() {
        Views::new(Tensor::zeros([4, 3, 2], &Device::flex()));
    }
}
