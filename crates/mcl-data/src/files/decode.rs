//! From the bytes of a picture file to 8-bit RGB: any common format, upright, opaque, whole, within limits.

mod jpeg;

use std::io::Cursor;
use std::path::Path;

use image::error::{DecodingError, ImageFormatHint, LimitError, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};

use crate::DataError;

/// Longest side accepted, in pixels.
const MAX_SIDE: u32 = 32_768;
/// Most memory that one decoded picture may take, in bytes: 89 megapixels of 8-bit RGB.
const MAX_DECODED: u64 = 256 << 20;
/// Largest picture file read, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// Reads and decodes one picture.
///
/// # Errors
/// [`DataError::Io`], [`DataError::OverLimit`], [`DataError::Undecodable`]
pub(crate) fn read(path: &Path) -> Result<RgbImage, DataError> {
    let length = std::fs::metadata(path).map_err(DataError::io("read", path))?.len();
    if length > MAX_FILE {
        return Err(over_limit(path, format!("{length} bytes of picture file"), format!("{MAX_FILE} bytes")));
    }
    decode(path, &std::fs::read(path).map_err(DataError::io("read", path))?)
}

/// Decodes a picture: upright (EXIF orientation applied), transparency laid over white, grey repeated three times,
/// 16 bits scaled to 8. `path` is for the error only.
///
/// # Errors
/// [`DataError::OverLimit`], [`DataError::Undecodable`]
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<RgbImage, DataError> {
    let mut cursor = Cursor::new(bytes);
    match decode_upright(&mut cursor) {
        Ok(image) => Ok(flatten(image)),
        Err(ImageError::Limits(error)) => {
            let what = match error.kind() {
                LimitErrorKind::DimensionError => "too many pixels a side",
                _ => "too much memory",
            };
            Err(over_limit(path, what.into(), limit_text()))
        }
        Err(source) => {
            let offset = cursor.position().min(bytes.len() as u64);
            Err(DataError::Undecodable { path: path.to_path_buf(), offset, source })
        }
    }
}

fn decode_upright(cursor: &mut Cursor<&[u8]>) -> Result<DynamicImage, ImageError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED);

    let bytes = *cursor.get_ref();
    let mut reader = ImageReader::new(cursor).with_guessed_format()?;
    reader.limits(limits);
    let format = reader.format();
    let mut decoder = reader.into_decoder()?;
    if decoder.total_bytes() == 0 {
        let error = DecodingError::new(ImageFormatHint::Unknown, "a picture without pixels");
        return Err(ImageError::Decoding(error));
    }
    // Not every decoder heeds max_alloc; the header tells what is to come.
    if decoder.total_bytes() > MAX_DECODED {
        return Err(ImageError::Limits(LimitError::from_kind(LimitErrorKind::InsufficientMemory)));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder)?;
    if format == Some(ImageFormat::Jpeg) && !jpeg::is_whole(bytes) {
        let hint = ImageFormatHint::Exact(ImageFormat::Jpeg);
        return Err(ImageError::Decoding(DecodingError::new(hint, "it is cut short: fetch the file again")));
    }
    image.apply_orientation(orientation);
    Ok(image)
}

/// 8-bit RGB: transparency laid over white, grey repeated three times, 16 bits scaled to 8.
pub(crate) fn flatten(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    let over_white = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (out, image::Rgba([r, g, b, a])) in rgb.pixels_mut().zip(rgba.pixels()) {
        out.0 = [r, g, b].map(|&value| over_white(value, *a));
    }
    rgb
}

fn over_limit(path: &Path, what: String, limit: String) -> DataError {
    DataError::OverLimit { path: path.to_path_buf(), what, limit }
}

fn limit_text() -> String {
    format!("{MAX_SIDE} pixels a side and {} MiB decoded", MAX_DECODED >> 20)
}

/// `[height, width, 3] -> [3, height, width]`, into `planar`.
pub(crate) fn to_planar(image: &RgbImage, planar: &mut [u8]) {
    let (red, rest) = planar.split_at_mut(planar.len() / 3);
    let (green, blue) = rest.split_at_mut(rest.len() / 2);
    for (i, pixel) in image.as_raw().chunks_exact(3).enumerate() {
        (red[i], green[i], blue[i]) = (pixel[0], pixel[1], pixel[2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Luma, LumaA, Rgb, Rgba};

    fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn decoded(bytes: &[u8]) -> RgbImage {
        decode(Path::new("test"), bytes).unwrap()
    }

    fn one_pixel(image: impl Into<DynamicImage>) -> [u8; 3] {
        decoded(&encode(&image.into(), ImageFormat::Png)).get_pixel(0, 0).0
    }

    #[test]
    fn grey_alpha_and_sixteen_bits_become_opaque_rgb() {
        assert_eq!(one_pixel(image::GrayImage::from_pixel(1, 1, Luma([77]))), [77; 3]);
        assert_eq!(one_pixel(image::GrayAlphaImage::from_pixel(1, 1, LumaA([0, 51]))), [204; 3]);
        assert_eq!(one_pixel(image::RgbaImage::from_pixel(1, 1, Rgba([9, 8, 7, 0]))), [255; 3]);
        assert_eq!(one_pixel(image::RgbaImage::from_pixel(1, 1, Rgba([9, 8, 7, 255]))), [9, 8, 7]);
        let sixteen = image::ImageBuffer::<Rgb<u16>, _>::from_pixel(1, 1, Rgb([0, 257 * 100, 65_535]));
        assert_eq!(one_pixel(sixteen), [0, 100, 255]);
        let sixteen_grey = image::ImageBuffer::<Luma<u16>, _>::from_pixel(1, 1, Luma([257 * 33]));
        assert_eq!(one_pixel(sixteen_grey), [33; 3]);
    }

    #[test]
    fn every_common_format_is_read() {
        let image = RgbImage::from_fn(5, 3, |x, y| Rgb([(40 * x) as u8, (60 * y) as u8, 200]));
        use ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, Tiff, WebP};
        for format in [Bmp, Gif, Png, Pnm, Tiff, WebP, Jpeg] {
            let bytes = encode(&image.clone().into(), format);
            let read = decoded(&bytes);
            assert_eq!(read.dimensions(), (5, 3), "{format:?}");
            if format != Jpeg && format != Gif {
                assert_eq!(read, image, "{format:?}");
            }
        }
    }

    /// A JPEG whose EXIF block carries nothing but an orientation.
    fn jpeg_with_orientation(image: &RgbImage, orientation: u8) -> Vec<u8> {
        let jpeg = encode(&image.clone().into(), ImageFormat::Jpeg);
        let tiff: Vec<u8> = [
            b"Exif\0\0II*\0".as_slice(),
            &8u32.to_le_bytes(),
            &1u16.to_le_bytes(),
            &0x0112u16.to_le_bytes(), // tag: orientation
            &3u16.to_le_bytes(),      // type: short
            &1u32.to_le_bytes(),
            &u32::from(orientation).to_le_bytes(),
            &0u32.to_le_bytes(),
        ]
        .concat();
        let length = (tiff.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xff, 0xe1], &length, &tiff, &jpeg[2..]].concat()
    }

    #[test]
    fn exif_orientation_is_applied() {
        // Left half dark, right half bright, 32 wide and 16 high.
        let image = RgbImage::from_fn(32, 16, |x, _| Rgb([if x < 16 { 20 } else { 230 }; 3]));
        let bright = |image: &RgbImage, x, y| image.get_pixel(x, y).0[0] > 128;
        let upright = decoded(&jpeg_with_orientation(&image, 1));
        assert!(!bright(&upright, 4, 8) && bright(&upright, 28, 8));
        let half_turn = decoded(&jpeg_with_orientation(&image, 3));
        assert!(bright(&half_turn, 4, 8) && !bright(&half_turn, 28, 8));
        let turned_right = decoded(&jpeg_with_orientation(&image, 6)); // to be shown turned 90 degrees clockwise
        assert_eq!(turned_right.dimensions(), (16, 32));
        assert!(!bright(&turned_right, 8, 4) && bright(&turned_right, 8, 28));
        let turned_left = decoded(&jpeg_with_orientation(&image, 8));
        assert!(bright(&turned_left, 8, 4) && !bright(&turned_left, 8, 28));
    }

    #[test]
    fn a_picture_without_pixels_is_an_error() {
        for header in ["P2 0 77\n4\n", "P5 77 0 255\n", "P6 0 0 255\n"] {
            let error = decode(Path::new("empty.pgm"), header.as_bytes()).unwrap_err();
            assert!(matches!(error, DataError::Undecodable { .. }), "{header}: {error}");
        }
    }

    #[test]
    fn truncated_pictures_say_where_they_stop() {
        let image = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * y) as u8, (x ^ y) as u8, (7 * x) as u8]));
        let bytes = encode(&image.into(), ImageFormat::Png);
        for keep in [0, 1, 20, 40, bytes.len() / 2] {
            match decode(Path::new("cut.png"), &bytes[..keep]) {
                Err(DataError::Undecodable { path, offset, .. }) => {
                    assert_eq!(path, Path::new("cut.png"));
                    assert!(offset <= keep as u64);
                }
                other => panic!("{keep} bytes: {other:?}"),
            }
        }
        let error = decode(Path::new("cut.png"), b"not a picture").unwrap_err();
        assert!(error.to_string().contains("cut.png"));
    }

    #[test]
    fn no_format_is_taken_for_whole_when_it_is_cut() {
        let image = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * y) as u8, (x ^ y) as u8, (7 * x) as u8]));
        use ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, Tiff, WebP};
        for format in [Bmp, Gif, Jpeg, Png, Pnm, Tiff, WebP] {
            let bytes = encode(&image.clone().into(), format);
            for share in [40, 60, 90] {
                match decode(Path::new("cut"), &bytes[..bytes.len() * share / 100]) {
                    Err(DataError::Undecodable { .. }) => {}
                    other => panic!("{share} % of a {format:?}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn damage_is_an_error_or_a_picture() {
        let image =
            DynamicImage::from(RgbImage::from_fn(9, 7, |x, y| Rgb([(x * y) as u8, 99, (x ^ y) as u8])));
        use ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, Tiff, WebP};
        for format in [Bmp, Gif, Jpeg, Png, Pnm, Tiff, WebP] {
            let bytes = encode(&image, format);
            for position in 0..bytes.len() {
                for value in [0x00, 0x01, 0x7f, 0xff] {
                    let mut damaged = bytes.clone();
                    damaged[position] = value;
                    match decode(Path::new("damaged"), &damaged) {
                        Ok(_) | Err(DataError::Undecodable { .. } | DataError::OverLimit { .. }) => {}
                        Err(other) => panic!("{format:?} byte {position} = {value}: {other}"),
                    }
                }
            }
        }
    }

    #[test]
    fn decompression_bombs_are_refused_from_the_header() {
        let small = encode(&RgbImage::new(1, 1).into(), ImageFormat::Png);
        for (width, height) in [(40_000u32, 1u32), (30_000, 30_000)] {
            let mut bomb = small.clone();
            bomb[16..20].copy_from_slice(&width.to_be_bytes());
            bomb[20..24].copy_from_slice(&height.to_be_bytes());
            let crc = crc32(&bomb[12..29]);
            bomb[29..33].copy_from_slice(&crc.to_be_bytes());
            let error = decode(Path::new("bomb.png"), &bomb).unwrap_err();
            assert!(matches!(error, DataError::OverLimit { .. }), "{error}");
            let what = if width == 40_000 { "too many pixels a side" } else { "too much memory" };
            assert!(
                error.to_string().contains(&format!("asks for {what}, the limit is 32768 pixels")),
                "{error}"
            );
        }
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum()
    }

    #[test]
    fn planes_follow_one_another() {
        let image = RgbImage::from_raw(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let mut planar = [0; 6];
        to_planar(&image, &mut planar);
        assert_eq!(planar, [1, 4, 2, 5, 3, 6]);
    }
}
