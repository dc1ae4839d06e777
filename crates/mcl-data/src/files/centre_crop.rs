//! The centre of a picture at a given scale: torchvision's `Resize(n)` and `CenterCrop`, to the byte.

use std::path::Path;

use image::{RgbImage, imageops};

use super::resize;
use crate::DataError;

/// Most bytes that a resized picture may take: a picture a thousand times as long as wide grows with its short side.
const MAX_BYTES: u64 = 256 << 20;

/// Resizes the short side of a picture to `short_side` pixels, then cuts out the centre of `size` (height, width), which
/// must not be longer than `short_side`. Sizes round as torchvision's do. `path` is for the error only.
///
/// # Errors
/// [`DataError::OverLimit`] if the resized picture would take more than 256 MiB.
pub(crate) fn centre_crop(
    path: &Path,
    image: &RgbImage,
    short_side: usize,
    size: (usize, usize),
) -> Result<RgbImage, DataError> {
    let (width, height) = image.dimensions();
    let short_side = short_side as u64;
    let long_side = short_side.saturating_mul(width.max(height).into()) / u64::from(width.min(height));
    let most = MAX_BYTES / (3 * short_side);
    if long_side > most {
        return Err(DataError::OverLimit {
            path: path.to_path_buf(),
            what: format!("{long_side} x {short_side} pixels from its {width} x {height}"),
            limit: format!("{most} x {short_side}"),
        });
    }
    let (new_height, new_width) = match width <= height {
        true => (long_side as usize, short_side as usize),
        false => (short_side as usize, long_side as usize),
    };
    let resized = resize::resize(image, (new_height, new_width));
    let margin = |side: usize, kept: usize| ((side - kept) as f64 / 2.0).round_ties_even() as u32;
    let (top, left) = (margin(new_height, size.0), margin(new_width, size.1));
    Ok(imageops::crop_imm(&resized, left, top, size.1 as u32, size.0 as u32).to_image())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cropped(from: (u32, u32), short_side: usize, size: (usize, usize)) -> RgbImage {
        let image = RgbImage::from_fn(from.1, from.0, |x, y| image::Rgb([x as u8, y as u8, 7]));
        centre_crop(Path::new("a.png"), &image, short_side, size).unwrap()
    }

    #[test]
    fn the_centre_is_cut_out() {
        // Without a change of scale: height x width 40 x 60, and 3 x 5 pixels from row 18 (18.5 rounds to even), column 28.
        let centre = cropped((40, 60), 40, (3, 5));
        assert_eq!((centre.dimensions(), centre.get_pixel(0, 0).0), ((5, 3), [28, 18, 7]));
        let upright = cropped((60, 40), 40, (40, 40));
        assert_eq!((upright.dimensions(), upright.get_pixel(0, 0).0), ((40, 40), [0, 10, 7]));
    }

    #[test]
    fn proportions_are_kept() {
        // A picture of twice the width: of the halved one, columns 10 to 29 remain, from columns 20 to 59.
        let centre = cropped((40, 80), 20, (20, 20));
        assert_eq!(centre.dimensions(), (20, 20));
        assert!((20..=22).contains(&centre.get_pixel(0, 9).0[0]), "{:?}", centre.get_pixel(0, 9));
        assert!((57..=59).contains(&centre.get_pixel(19, 9).0[0]), "{:?}", centre.get_pixel(19, 9));
    }

    #[test]
    fn a_thread_of_pixels_is_refused() {
        let image = RgbImage::new(1, 30_000);
        let error = centre_crop(Path::new("a.png"), &image, 256, (256, 256)).unwrap_err();
        assert!(matches!(error, DataError::OverLimit { .. }), "{error}");
    }
}
