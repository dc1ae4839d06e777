//! The image that the operations work on.

use crate::DataError;

/// An RGB image: f32, planar, [3, height, width], values in [0, 1].
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    pixels: Vec<f32>,
    size: (usize, usize),
}

impl Image {
    /// Makes an image of its pixels.
    ///
    /// # Shapes
    /// - pixels: `[3, height, width]`, row-major
    /// - size: (height, width)
    ///
    /// # Errors
    /// [`DataError::Setting`] if a side is zero, the pixels are not `3 * height * width`, or one is not in [0, 1].
    pub fn new(pixels: Vec<f32>, size: (usize, usize)) -> Result<Self, DataError> {
        check_count(pixels.len(), size)?;
        if let Some(bad) = pixels.iter().find(|value| !(0.0..=1.0).contains(*value)) {
            return Err(DataError::Setting {
                name: "pixels",
                value: bad.to_string(),
                requirement: "each must be in [0, 1]; divide 8-bit values by 255",
            });
        }
        Ok(Self { pixels, size })
    }

    /// Makes an image of 8-bit pixels, divided by 255.
    ///
    /// # Errors
    /// [`DataError::Setting`] if a side is zero or the pixels are not `3 * height * width`.
    pub fn from_u8(pixels: &[u8], size: (usize, usize)) -> Result<Self, DataError> {
        check_count(pixels.len(), size)?;
        Ok(Self { pixels: pixels.iter().map(|&value| value.unit()).collect(), size })
    }

    /// The pixels, [3, height, width].
    #[must_use]
    pub fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    /// Height and width.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// The pixels, [3, height, width], given away.
    #[must_use]
    pub fn into_pixels(self) -> Vec<f32> {
        self.pixels
    }

    /// For operations, whose results are in range by construction.
    pub(in crate::augment) fn from_parts(pixels: Vec<f32>, size: (usize, usize)) -> Self {
        debug_assert_eq!(pixels.len(), 3 * size.0 * size.1);
        Self { pixels, size }
    }

    pub(in crate::augment) fn pixels_mut(&mut self) -> &mut [f32] {
        &mut self.pixels
    }
}

fn check_count(found: usize, (height, width): (usize, usize)) -> Result<(), DataError> {
    let expected = height.checked_mul(width).and_then(|n| n.checked_mul(3));
    if height == 0 || width == 0 {
        let value = format!("{height} x {width}");
        return Err(DataError::Setting { name: "size", value, requirement: "both sides must be at least 1" });
    }
    if expected != Some(found) {
        return Err(DataError::Setting {
            name: "pixels",
            value: format!("{found} values for {height} x {width}"),
            requirement: "there must be 3 * height * width",
        });
    }
    Ok(())
}

/// What a source image may be made of.
pub(crate) trait Channel: Copy {
    /// The value on the scale from 0 to 1.
    fn unit(self) -> f32;
}

impl Channel for f32 {
    fn unit(self) -> f32 {
        self
    }
}

impl Channel for u8 {
    fn unit(self) -> f32 {
        EIGHT_BIT[usize::from(self)]
    }
}

/// `value / 255`, correctly rounded: a look-up is exact, where a product with 1/255 is not, and faster than a division.
static EIGHT_BIT: [f32; 256] = {
    let mut table = [0.0; 256];
    let mut value = 0;
    while value < 256 {
        table[value] = value as f32 / 255.0;
        value += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bit_values_are_divided_by_255() {
        let image = Image::from_u8(&[0, 51, 255], (1, 1)).unwrap();
        assert_eq!(image.pixels(), [0.0, 0.2, 1.0]);
        assert!((0..=255u8).all(|v| v.unit() == f32::from(v) / 255.0));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for pixels in [vec![0.0; 11], vec![f32::NAN; 12], vec![1.001; 12], vec![-0.1; 12]] {
            assert!(matches!(Image::new(pixels, (2, 2)), Err(DataError::Setting { name: "pixels", .. })));
        }
        assert!(matches!(Image::new(vec![], (0, 2)), Err(DataError::Setting { name: "size", .. })));
        assert!(matches!(Image::from_u8(&[], (usize::MAX, 2)), Err(DataError::Setting { .. })));
    }
}
