//! The labels of a batch, one per image.

use core::ops::Range;

use burn::tensor::{Device, Int, Tensor};

use crate::views::VIEWS;

/// Class labels of a batch and, optionally, auxiliary labels (section 2.4 of the paper: the rotation of each
/// image).
///
/// Only equality of labels matters: any integers will do. Both tensors have shape `[images]`. Labels on
/// another device than the projections are copied to theirs at each use; [`to_device`](Self::to_device)
/// copies them once.
///
/// ```
/// use burn::tensor::{Int, Tensor};
/// use mcl_loss::MclLabels;
///
/// # let device = burn::tensor::Device::flex();
/// let class = Tensor::<1, Int>::from_ints([3, 3, 7, 7], &device);
/// let rotation = Tensor::<1, Int>::from_ints([0, 1, 0, 1], &device);
/// let labels = MclLabels::new(class).with_aux(rotation);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MclLabels {
    /// Class of each image, `[images]`.
    pub class: Tensor<1, Int>,
    /// Auxiliary label of each image, `[images]`. Without it, two images of one class have the same label.
    pub aux: Option<Tensor<1, Int>>,
}

impl MclLabels {
    /// Class labels alone: every pair of one class takes the weight `alpha` (Eq. 4).
    pub fn new(class: Tensor<1, Int>) -> Self {
        Self { class, aux: None }
    }

    /// Adds auxiliary labels: pairs of one class take `alpha` or `beta` (Eq. 11).
    pub fn with_aux(self, aux: Tensor<1, Int>) -> Self {
        Self { aux: Some(aux), ..self }
    }

    /// The same labels on another device.
    pub fn to_device(self, device: &Device) -> Self {
        let Self { class, aux } = self;
        Self { class: class.to_device(device), aux: aux.map(|aux| aux.to_device(device)) }
    }
}

/// What distinguishes the views of a batch, `[2N]` each, in the row order of the similarity matrix.
///
/// Kept out of autodiff: constants of the loss.
#[derive(Debug, Clone)]
pub(crate) struct ViewLabels {
    pub(crate) class: Tensor<1, Int>,
    pub(crate) aux: Option<Tensor<1, Int>>,
    /// Which image: 0, 0, 1, 1, ...
    pub(crate) image: Tensor<1, Int>,
    /// Which of its views: 0, 1, 0, 1, ...
    pub(crate) position: Tensor<1, Int>,
}

impl ViewLabels {
    /// The labels on `device`.
    ///
    /// # Panics
    ///
    /// If a label tensor does not hold exactly one label for each of the `images`.
    pub(crate) fn new(labels: &MclLabels, images: usize, device: &Device) -> Self {
        let per_view = |name, labels: &Tensor<1, Int>| {
            let [count] = labels.dims();
            assert!(
                count == images,
                "{count} {name} labels for {images} images: give one label per image, not per view"
            );
            repeat_for_views(labels.clone().inner().to_device(device))
        };
        Self {
            class: per_view("class", &labels.class),
            aux: labels.aux.as_ref().map(|aux| per_view("aux", aux)),
            image: repeat_for_views(Tensor::arange(0..images as i64, device).inner()),
            position: Tensor::arange(0..VIEWS as i64, device).inner().repeat_dim(0, images),
        }
    }

    /// The labels of a range of views.
    pub(crate) fn narrow(&self, rows: &Range<usize>) -> Self {
        self.map(|labels| labels.narrow(0, rows.start, rows.len()))
    }

    /// The labels of the given views, in their order.
    pub(crate) fn select(&self, views: &Tensor<1, Int>) -> Self {
        self.map(|labels| labels.select(0, views.clone()))
    }

    fn map(&self, change: impl Fn(Tensor<1, Int>) -> Tensor<1, Int>) -> Self {
        Self {
            class: change(self.class.clone()),
            aux: self.aux.clone().map(&change),
            image: change(self.image.clone()),
            position: change(self.position.clone()),
        }
    }
}

/// Repeats each image's value for its views: `[N] -> [2N]`.
fn repeat_for_views(values: Tensor<1, Int>) -> Tensor<1, Int> {
    let [images] = values.dims();
    values.reshape([images, 1]).repeat_dim(1, VIEWS).reshape([images * VIEWS])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    #[test]
    fn both_views_take_the_label_of_their_image() {
        let device = Device::flex();
        let labels = MclLabels::new(Tensor::from_ints([5, -2, 5], &device));
        let views = ViewLabels::new(&labels, 3, &device);
        views.class.into_data().assert_eq(&TensorData::from([5, 5, -2, -2, 5, 5]), false);
        views.image.into_data().assert_eq(&TensorData::from([0, 0, 1, 1, 2, 2]), false);
        views.position.into_data().assert_eq(&TensorData::from([0, 1, 0, 1, 0, 1]), false);
        assert!(views.aux.is_none());
    }

    #[test]
    #[should_panic(expected = "6 class labels for 3 images: give one label per image")]
    fn labels_per_view_are_refused() {
        let device = Device::flex();
        let labels = MclLabels::new(Tensor::from_ints([5, 5, 2, 2, 1, 1], &device));
        ViewLabels::new(&labels, 3, &device);
    }
}
