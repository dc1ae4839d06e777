//! The views of a test image for self-ensemble inference: its rotations, and their flips.

use burn::config::Config;
use burn::tensor::Tensor;

/// Which views of a test image are scored.
///
/// The order of the views is fixed, and [`aux`](Self::aux) gives the rotation whose Gaussians score each:
///
/// | view | image | auxiliary class |
/// |---|---|---|
/// | 0, 1, 2, 3 | rotated counterclockwise by 0, 90, 180, 270 degrees | 0, 1, 2, 3 |
/// | 4, 5, 6, 7 | mirrored left to right, then rotated by 0, 90, 180, 270 degrees | 0, 1, 2, 3 |
///
/// View 4 + r is also view r flipped horizontally for 0 and 180 degrees and vertically for 90 and 270: the
/// flips seen in training, which is why the Gaussians of rotation r know it.
#[derive(Config, Debug, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TestTimeViews {
    /// The image alone.
    Identity,
    /// Its four rotations.
    Rotations,
    /// Its four rotations and their flips.
    RotationsAndFlips,
}

impl TestTimeViews {
    /// All of them, from one view to eight.
    pub const ALL: &[Self] = &[Self::Identity, Self::Rotations, Self::RotationsAndFlips];

    /// The most views whose auxiliary classes are all below `aux_classes`: of statistics without rotations, the image
    /// alone.
    pub fn most(aux_classes: usize) -> Self {
        if aux_classes < 4 { Self::Identity } else { Self::RotationsAndFlips }
    }

    /// The auxiliary class (rotation in quarter turns) of each view.
    pub fn aux(&self) -> &'static [usize] {
        match self {
            Self::Identity => &[0],
            Self::Rotations => &[0, 1, 2, 3],
            Self::RotationsAndFlips => &[0, 1, 2, 3, 0, 1, 2, 3],
        }
    }

    /// Makes the views.
    ///
    /// # Shapes
    ///
    /// - images: `[images, channels, size, size]`
    /// - output: `[images, views, channels, size, size]`
    ///
    /// # Panics
    ///
    /// When images to be rotated are not square: an image and its quarter turn would not fit one tensor.
    pub fn expand(&self, images: Tensor<4>) -> Tensor<5> {
        let [_, _, height, width] = images.dims();
        assert!(
            *self == Self::Identity || height == width,
            "images of {height} x {width} cannot be rotated by 90 degrees into one tensor: crop them to a square, \
             or use TestTimeViews::Identity"
        );
        let views = match self {
            Self::Identity => vec![images],
            Self::Rotations => rotations(images).into(),
            Self::RotationsAndFlips => {
                let mirrored = images.clone().flip([3]);
                [rotations(images), rotations(mirrored)].concat()
            }
        };
        Tensor::stack(views, 1)
    }
}

/// By 0, 90, 180 and 270 degrees counterclockwise: `torch.rot90(images, k, (2, 3))`.
fn rotations(images: Tensor<4>) -> [Tensor<4>; 4] {
    [
        images.clone(),
        images.clone().flip([3]).swap_dims(2, 3),
        images.clone().flip([2, 3]),
        images.flip([2]).swap_dims(2, 3),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn images() -> Tensor<4> {
        // 0 1
        // 2 3
        Tensor::from_data([[[[0.0, 1.0], [2.0, 3.0]]]], &Device::flex())
    }

    #[test]
    fn eight_views_in_order() {
        // Reference from PyTorch: torch.rot90(x, k, (2, 3)), then the same of x.flip(3).
        let expected = TensorData::from([[
            [[[0.0f32, 1.0], [2.0, 3.0]]],
            [[[1.0, 3.0], [0.0, 2.0]]],
            [[[3.0, 2.0], [1.0, 0.0]]],
            [[[2.0, 0.0], [3.0, 1.0]]],
            [[[1.0, 0.0], [3.0, 2.0]]],
            [[[0.0, 2.0], [1.0, 3.0]]],
            [[[2.0, 3.0], [0.0, 1.0]]],
            [[[3.0, 1.0], [2.0, 0.0]]],
        ]]);
        TestTimeViews::RotationsAndFlips.expand(images()).into_data().assert_eq(&expected, true);
    }

    #[test]
    fn fewer_views_are_the_first_of_more() {
        let all = TestTimeViews::RotationsAndFlips.expand(images());
        for &kind in TestTimeViews::ALL {
            let views = kind.expand(images());
            let count = kind.aux().len();
            assert_eq!(views.dims(), [1, count, 1, 2, 2]);
            assert_eq!(kind.aux(), &TestTimeViews::RotationsAndFlips.aux()[..count]);
            views.into_data().assert_eq(&all.clone().narrow(1, 0, count).into_data(), true);
        }
    }

    #[test]
    fn flips_are_those_of_training() {
        // Horizontal for 0 and 180 degrees, vertical for 90 and 270.
        let views = TestTimeViews::RotationsAndFlips.expand(images());
        let view = |v| views.clone().narrow(1, v, 1).reshape([1, 1, 2, 2]);
        for (rotation, axis) in [(0, 3), (1, 2), (2, 3), (3, 2)] {
            let flipped: Tensor<4> = view(rotation).flip([axis]);
            view(4 + rotation).into_data().assert_eq(&flipped.into_data(), true);
        }
    }

    #[test]
    fn identity_takes_any_size() {
        let images = Tensor::<4>::zeros([2, 3, 4, 6], &Device::flex());
        assert_eq!(TestTimeViews::Identity.expand(images).dims(), [2, 1, 3, 4, 6]);
    }

    #[test]
    #[should_panic(expected = "images of 4 x 6 cannot be rotated")]
    fn rotations_need_squares() {
        TestTimeViews::Rotations.expand(Tensor::<4>::zeros([2, 3, 4, 6], &Device::flex()));
    }
}
