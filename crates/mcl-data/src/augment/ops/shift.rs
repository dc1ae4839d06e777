//! Shifts by whole pixels, with a mirrored border.

use super::Image;

/// Moves the image down by `down` pixels and to the right by `right`; negative numbers move it up and to the left. What comes
/// in at a border mirrors the image there, without repeating the pixels of the border themselves: a crop of torchvision's
/// `pad(..., padding_mode="reflect")`.
#[must_use]
pub fn shift(image: &Image, down: isize, right: isize) -> Image {
    let mut shifted = image.clone();
    Shift::default().apply(shifted.pixels_mut(), image.size(), (down, right));
    shifted
}

/// Shifts, with a buffer that is kept between calls.
#[derive(Debug, Default)]
pub(in crate::augment) struct Shift {
    plane: Vec<f32>,
}

impl Shift {
    /// Shifts pixels [3, size] in place.
    pub(in crate::augment) fn apply(
        &mut self,
        pixels: &mut [f32],
        (height, width): (usize, usize),
        (down, right): (isize, isize),
    ) {
        if (down, right) == (0, 0) {
            return;
        }
        for to in pixels.chunks_exact_mut(height * width) {
            self.plane.clear();
            self.plane.extend_from_slice(to);
            for (y, row) in to.chunks_exact_mut(width).enumerate() {
                let from = &self.plane[mirrored(y as isize - down, height) * width..][..width];
                for (x, value) in row.iter_mut().enumerate() {
                    *value = from[mirrored(x as isize - right, width)];
                }
            }
        }
    }
}

/// The place within `0..len` that is seen at `at` when the image goes on mirrored at both ends.
fn mirrored(at: isize, len: usize) -> usize {
    let last = len as isize - 1;
    if last == 0 {
        return 0;
    }
    let at = at.rem_euclid(2 * last);
    at.min(2 * last - at) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_is_mirrored() {
        let found: Vec<usize> = (-5..8).map(|at| mirrored(at, 4)).collect();
        assert_eq!(found, [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert!((-3..3).all(|at| mirrored(at, 1) == 0));
    }

    #[test]
    fn pixels_move_down_and_to_the_right() {
        let size = (3, 4);
        let image = Image::new((0..36).map(|i| i as f32 / 36.0).collect(), size).unwrap();
        for (down, right) in [(0, 0), (1, 0), (0, -2), (-1, 3), (7, -9)] {
            let shifted = shift(&image, down, right);
            for (plane, original) in shifted.pixels().chunks(12).zip(image.pixels().chunks(12)) {
                for (i, &value) in plane.iter().enumerate() {
                    let (y, x) = (i as isize / 4 - down, i as isize % 4 - right);
                    assert_eq!(value, original[mirrored(y, 3) * 4 + mirrored(x, 4)]);
                }
            }
        }
        // A row of [0, 1, 2, 3] moved to the right by one begins with the mirror image of its second pixel.
        let row = Image::new([0.0, 0.1, 0.2, 0.3].repeat(3), (1, 4)).unwrap();
        assert_eq!(shift(&row, 0, 1).pixels()[..4], [0.1, 0.0, 0.1, 0.2]);
    }
}
