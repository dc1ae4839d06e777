//! The views of a test image for self-ensemble inference: its rotations, flips and shifts.

use burn::config::Config;
use burn::tensor::Tensor;

/// Which views of a test image are scored.
///
/// The order of the views is fixed, and [`aux`](Self::aux) gives the rotation whose Gaussians score each.
///
/// For a network that was trained with rotations, these are the paper's views:
///
/// | view | image | auxiliary class |
/// |---|---|---|
/// | 0, 1, 2, 3 | rotated counterclockwise by 0, 90, 180, 270 degrees | 0, 1, 2, 3 |
/// | 4, 5, 6, 7 | mirrored left to right, then rotated by 0, 90, 180, 270 degrees | 0, 1, 2, 3 |
///
/// View 4 + r is also view r flipped horizontally for 0 and 180 degrees and vertically for 90 and 270: the
/// flips seen in training, which is why the Gaussians of rotation r know it.
///
/// For any network that was trained with flips, and for one that was trained with shifts:
///
/// | view | image | auxiliary class |
/// |---|---|---|
/// | 0, 1 | as it is, mirrored left to right | 0 |
/// | 2, 3 | views 0 and 1 moved by one pixel down and to the right | 0 |
/// | 4, 5 | views 0 and 1 moved by one pixel up and to the left | 0 |
///
/// What moves in from outside is the image reflected at its border.
#[derive(Config, Debug, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TestTimeViews {
    /// The image alone.
    Identity,
    /// Its four rotations.
    Rotations,
    /// Its four rotations and their flips.
    RotationsAndFlips,
    /// The image and its mirror image.
    Flips,
    /// The image and its mirror image, each in three places: as it is, and moved by one pixel either way along the diagonal.
    FlipsAndShifts,
}

impl TestTimeViews {
    /// The paper's kinds, from one view to eight.
    pub const ALL: &[Self] = &[Self::Identity, Self::Rotations, Self::RotationsAndFlips];

    /// The kinds whose views are the first of these, from one view to all of these.
    pub fn prefixes(&self) -> &'static [Self] {
        match self {
            Self::Identity => &[Self::Identity],
            Self::Rotations => &[Self::Identity, Self::Rotations],
            Self::RotationsAndFlips => Self::ALL,
            Self::Flips => &[Self::Identity, Self::Flips],
            Self::FlipsAndShifts => &[Self::Identity, Self::Flips, Self::FlipsAndShifts],
        }
    }

    /// The most views that every network with `aux_classes` auxiliary classes can score: without rotations, the image alone.
    /// [`Flips`](Self::Flips) and [`FlipsAndShifts`](Self::FlipsAndShifts) suit a network that has seen the like in training.
    pub fn most(aux_classes: usize) -> Self {
        if aux_classes < 4 { Self::Identity } else { Self::RotationsAndFlips }
    }

    /// The auxiliary class (rotation in quarter turns) of each view.
    pub fn aux(&self) -> &'static [usize] {
        match self {
            Self::Identity => &[0],
            Self::Rotations => &[0, 1, 2, 3],
            Self::RotationsAndFlips => &[0, 1, 2, 3, 0, 1, 2, 3],
            Self::Flips => &[0; 2],
            Self::FlipsAndShifts => &[0; 6],
        }
    }

    /// Whether images are rotated, so that they must be square.
    pub fn rotates(&self) -> bool {
        matches!(self, Self::Rotations | Self::RotationsAndFlips)
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
            !self.rotates() || height == width,
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
            Self::Flips => flips(images).into(),
            Self::FlipsAndShifts => {
                let [image, mirrored] = flips(images);
                let moved = |forward| [&image, &mirrored].map(|view| shifted(view.clone(), forward));
                [[image.clone(), mirrored.clone()], moved(true), moved(false)].concat()
            }
        };
        Tensor::stack(views, 1)
    }
}

/// As they are, and mirrored left to right.
fn flips(images: Tensor<4>) -> [Tensor<4>; 2] {
    [images.clone(), images.flip([3])]
}

/// Moved by one pixel down and to the right, or up and to the left, reflected at the border.
fn shifted(images: Tensor<4>, forward: bool) -> Tensor<4> {
    [2, 3].into_iter().fold(images, |images, axis| {
        let size = images.dims()[axis];
        if size < 2 {
            return images;
        }
        let kept = images.clone().narrow(axis, usize::from(!forward), size - 1);
        let reflected = images.narrow(axis, if forward { 1 } else { size - 2 }, 1);
        Tensor::cat(if forward { vec![reflected, kept] } else { vec![kept, reflected] }, axis)
    })
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
    fn prefixes_are_the_first_of_more() {
        for kind in [TestTimeViews::RotationsAndFlips, TestTimeViews::FlipsAndShifts] {
            let all = kind.expand(images());
            assert_eq!(kind.prefixes().last(), Some(&kind));
            for fewer in kind.prefixes() {
                let count = fewer.aux().len();
                assert_eq!(fewer.aux(), &kind.aux()[..count]);
                let views = fewer.expand(images());
                assert_eq!(views.dims(), [1, count, 1, 2, 2]);
                views.into_data().assert_eq(&all.clone().narrow(1, 0, count).into_data(), true);
                assert!(fewer.prefixes().iter().all(|first| kind.prefixes().contains(first)));
            }
        }
    }

    #[test]
    fn six_views_are_flips_and_shifts() {
        // Reference from PyTorch: F.pad(x, (1, 1, 1, 1), "reflect")[:, :, t : t + 3, t : t + 2] for t = 0 and 2.
        let images = Tensor::<4>::from_data([[[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]]], &Device::flex());
        let expected = TensorData::from([[
            [[[0.0f32, 1.0], [2.0, 3.0], [4.0, 5.0]]],
            [[[1.0, 0.0], [3.0, 2.0], [5.0, 4.0]]],
            [[[3.0, 2.0], [1.0, 0.0], [3.0, 2.0]]],
            [[[2.0, 3.0], [0.0, 1.0], [2.0, 3.0]]],
            [[[3.0, 2.0], [5.0, 4.0], [3.0, 2.0]]],
            [[[2.0, 3.0], [4.0, 5.0], [2.0, 3.0]]],
        ]]);
        TestTimeViews::FlipsAndShifts.expand(images).into_data().assert_eq(&expected, true);
    }

    #[test]
    fn an_image_of_one_pixel_stays_where_it_is() {
        let views = TestTimeViews::FlipsAndShifts.expand(Tensor::ones([1, 3, 1, 1], &Device::flex()));
        views.into_data().assert_eq(&TensorData::from([[[[[1.0f32]]; 3]; 6]]), true);
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
    fn views_without_rotations_take_any_size() {
        for kind in [TestTimeViews::Identity, TestTimeViews::Flips, TestTimeViews::FlipsAndShifts] {
            let images = Tensor::<4>::zeros([2, 3, 4, 6], &Device::flex());
            assert_eq!(kind.expand(images).dims(), [2, kind.aux().len(), 3, 4, 6]);
        }
    }

    #[test]
    #[should_panic(expected = "images of 4 x 6 cannot be rotated")]
    fn rotations_need_squares() {
        TestTimeViews::Rotations.expand(Tensor::<4>::zeros([2, 3, 4, 6], &Device::flex()));
    }
}
