//! Flips and quarter turns: moves of pixels, without arithmetic.

use super::Image;
use super::image::Channel;

/// Mirrors left and right.
#[must_use]
pub fn horizontal_flip(image: &Image) -> Image {
    moved(image, Walk::new(image.size(), 0).flip_horizontally())
}

/// Mirrors top and bottom.
#[must_use]
pub fn vertical_flip(image: &Image) -> Image {
    moved(image, Walk::new(image.size(), 0).flip_vertically())
}

/// Turns counterclockwise by `quarter_turns` times 90 degrees, as `torch.rot90` does. Odd turns swap height and width.
#[must_use]
pub fn rotate90(image: &Image, quarter_turns: usize) -> Image {
    moved(image, Walk::new(image.size(), quarter_turns))
}

fn moved(image: &Image, walk: Walk) -> Image {
    let (height, width) = walk.size();
    let mut pixels = vec![0.0; 3 * height * width];
    let planes = image.pixels().chunks_exact(height * width).zip(pixels.chunks_exact_mut(height * width));
    for (from, to) in planes {
        for (y, row) in to.chunks_exact_mut(width).enumerate() {
            walk.read_row(from, y, 0, row);
        }
    }
    Image::from_parts(pixels, (height, width))
}

/// How to read a plane as if it had been turned, then flipped: pixel (y, x) of the result is at
/// `start + y * down + x * right` of the source. Turning while reading saves a pass over the image.
#[derive(Debug, Clone, Copy)]
pub(in crate::augment) struct Walk {
    size: (usize, usize), // of the result
    start: isize,
    down: isize,
    right: isize,
}

impl Walk {
    /// Reads a plane of `height` x `width`, turned counterclockwise.
    pub(in crate::augment) fn new((height, width): (usize, usize), quarter_turns: usize) -> Self {
        let (h, w) = (height as isize, width as isize);
        let upright = (height, width);
        let lying = (width, height);
        match quarter_turns % 4 {
            0 => Self { size: upright, start: 0, down: w, right: 1 },
            1 => Self { size: lying, start: w - 1, down: -1, right: w },
            2 => Self { size: upright, start: h * w - 1, down: -w, right: -1 },
            _ => Self { size: lying, start: (h - 1) * w, down: 1, right: -w },
        }
    }

    /// Then mirrors left and right.
    pub(in crate::augment) fn flip_horizontally(self) -> Self {
        let across = (self.size.1 as isize - 1) * self.right;
        Self { start: self.start + across, right: -self.right, ..self }
    }

    /// Then mirrors top and bottom.
    pub(in crate::augment) fn flip_vertically(self) -> Self {
        let along = (self.size.0 as isize - 1) * self.down;
        Self { start: self.start + along, down: -self.down, ..self }
    }

    /// Height and width of the result.
    pub(in crate::augment) fn size(&self) -> (usize, usize) {
        self.size
    }

    /// Reads `out.len()` pixels of row `y` of the result, from column `left` on.
    pub(in crate::augment) fn read_row<T: Channel>(
        &self,
        plane: &[T],
        y: usize,
        left: usize,
        out: &mut [f32],
    ) {
        debug_assert!(y < self.size.0 && left + out.len() <= self.size.1);
        let first = (self.start + y as isize * self.down + left as isize * self.right) as usize;
        let step = self.right.unsigned_abs();
        match (self.right > 0, step) {
            (true, 1) => copy(out, plane[first..].iter()),
            (true, _) => copy(out, plane[first..].iter().step_by(step)),
            (false, 1) => copy(out, plane[..=first].iter().rev()),
            (false, _) => copy(out, plane[..=first].iter().rev().step_by(step)),
        }
    }
}

#[inline(always)]
fn copy<'a, T: Channel + 'a>(out: &mut [f32], values: impl Iterator<Item = &'a T>) {
    for (to, from) in out.iter_mut().zip(values) {
        *to = from.unit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(size: (usize, usize)) -> Image {
        let n = 3 * size.0 * size.1;
        Image::new((0..n).map(|i| i as f32 / n as f32).collect(), size).unwrap()
    }

    fn at(image: &Image, channel: usize, y: usize, x: usize) -> f32 {
        let (height, width) = image.size();
        image.pixels()[(channel * height + y) * width + x]
    }

    #[test]
    fn pixels_go_where_they_should() {
        for size in [(1, 1), (3, 3), (2, 5), (4, 3)] {
            let (height, width) = size;
            let image = numbered(size);
            let [left, up, upside_down, right] =
                [1, 0, 2, 3].map(|quarter_turns| rotate90(&image, quarter_turns));
            let (mirrored, hanging) = (horizontal_flip(&image), vertical_flip(&image));
            assert_eq!((left.size(), right.size()), ((width, height), (width, height)));
            assert_eq!(up, image);
            for (channel, y, x) in
                (0..3).flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))))
            {
                let value = at(&image, channel, y, x);
                assert_eq!(at(&left, channel, width - 1 - x, y), value);
                assert_eq!(at(&upside_down, channel, height - 1 - y, width - 1 - x), value);
                assert_eq!(at(&right, channel, x, height - 1 - y), value);
                assert_eq!(at(&mirrored, channel, y, width - 1 - x), value);
                assert_eq!(at(&hanging, channel, height - 1 - y, x), value);
            }
        }
    }

    #[test]
    fn turns_and_flips_undo_themselves() {
        let image = numbered((3, 5));
        assert_eq!(horizontal_flip(&horizontal_flip(&image)), image);
        assert_eq!(vertical_flip(&vertical_flip(&image)), image);
        let mut turned = image.clone();
        for quarter_turns in 1..=4 {
            turned = rotate90(&turned, 1);
            assert_eq!(turned, rotate90(&image, quarter_turns));
        }
        assert_eq!(turned, image);
    }

    #[test]
    fn a_flip_of_a_turned_image_is_the_turn_of_a_mirrored_one() {
        let image = numbered((4, 4));
        for quarter_turns in 0..4 {
            let walk = Walk::new(image.size(), quarter_turns);
            let flipped =
                if quarter_turns % 2 == 0 { walk.flip_horizontally() } else { walk.flip_vertically() };
            assert_eq!(moved(&image, flipped), rotate90(&horizontal_flip(&image), quarter_turns));
        }
    }
}
