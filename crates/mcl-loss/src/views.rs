//! The two views of each image.

use burn::tensor::Tensor;

/// Views of each image.
pub(crate) const VIEWS: usize = 2;

/// First and second views, `[images, dim]` each, to `[images, 2, dim]`.
///
/// # Panics
///
/// If the shapes differ.
pub(crate) fn stack(first: Tensor<2>, second: Tensor<2>) -> Tensor<3> {
    let shapes = [first.dims(), second.dims()];
    assert!(
        shapes[0] == shapes[1],
        "first views have shape {:?} and second views {:?}: give both views of the same images, [images, dim] each",
        shapes[0],
        shapes[1]
    );
    Tensor::stack(vec![first, second], 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn views_of_an_image_become_neighbours() {
        let device = Device::flex();
        let first = Tensor::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
        let second = Tensor::from_floats([[5.0, 6.0], [7.0, 8.0]], &device);
        let stacked = TensorData::from([[[1.0_f32, 2.0], [5.0, 6.0]], [[3.0, 4.0], [7.0, 8.0]]]);
        stack(first, second).into_data().assert_eq(&stacked, true);
    }

    #[test]
    #[should_panic(expected = "first views have shape [2, 3] and second views [4, 3]")]
    fn views_of_unequal_number_are_refused() {
        let device = Device::flex();
        stack(Tensor::zeros([2, 3], &device), Tensor::zeros([4, 3], &device));
    }
}
