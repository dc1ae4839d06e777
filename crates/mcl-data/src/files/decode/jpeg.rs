//! Whether a JPEG is all there. The decoder fills what is missing with grey and reports success.

const TEMPORARY: u8 = 0x01;
const RESTART_FIRST: u8 = 0xd0;
const START_OF_IMAGE: u8 = 0xd8;
const END_OF_IMAGE: u8 = 0xd9;

/// Whether the end marker comes where the segments and scans end. One within a segment, such as that of an EXIF
/// thumbnail, does not count; what follows the end does not matter.
pub(super) fn is_whole(jpeg: &[u8]) -> bool {
    let mut rest = jpeg;
    while let Some(at) = rest.iter().position(|&byte| byte == 0xff) {
        rest = &rest[at + 1..];
        match *rest {
            // Between markers: a data byte 0xff (followed by 0), a fill byte (by 0xff), and markers without a segment.
            [0 | 0xff | TEMPORARY | RESTART_FIRST..=START_OF_IMAGE, ..] => {}
            [END_OF_IMAGE, ..] => return true,
            // The length counts its own two bytes.
            [_, high, low, ..] => {
                let segment = 1 + usize::from(u16::from_be_bytes([high, low])).max(2);
                rest = rest.get(segment..).unwrap_or_default();
            }
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use image::{ImageFormat, Rgb, RgbImage};

    use crate::DataError;
    use crate::files::decode::decode;

    fn noise() -> Vec<u8> {
        let value = |x: u32, y: u32, of: u32| ((x * 64 + y + of).wrapping_mul(2_654_435_761) >> 24) as u8;
        let image = RgbImage::from_fn(64, 64, |x, y| Rgb([0, 4096, 8192].map(|of| value(x, y, of))));
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        bytes.into_inner()
    }

    /// `jpeg` with another segment at its head.
    fn with_segment(jpeg: &[u8], marker: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xff, marker], &length, content, &jpeg[2..]].concat()
    }

    fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
        with_segment(&[0; 2], marker, content).split_off(2)
    }

    /// 64 x 64 pixels of one grey, progressive: all the first coefficients, then all the others. Each takes one bit.
    fn progressive() -> Vec<u8> {
        let one_code = |class: u8, symbol: u8| {
            let mut table = vec![class << 4];
            table.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, symbol]);
            segment(0xc4, &table)
        };
        let scan = |from: u8, to: u8| segment(0xda, &[1, 1, 0, from, to, 0]);
        [
            vec![0xff, 0xd8],
            segment(0xdb, &[&[0][..], &[1; 64]].concat()),
            segment(0xc2, &[8, 0, 64, 0, 64, 1, 1, 0x11, 0]),
            one_code(0, 0),
            scan(0, 0),
            vec![0; 8],
            one_code(1, 0),
            scan(1, 63),
            vec![0; 8],
            vec![0xff, 0xd9],
        ]
        .concat()
    }

    fn assert_cut(jpeg: &[u8], keep: usize) {
        match decode(Path::new("cut.jpg"), &jpeg[..keep]) {
            Err(DataError::Undecodable { source, .. }) => {
                assert!(source.to_string().contains("cut short"), "{keep} bytes: {source}");
            }
            other => panic!("{keep} of {} bytes: {other:?}", jpeg.len()),
        }
    }

    #[test]
    fn a_jpeg_that_is_cut_is_refused() {
        let plain = noise();
        let with_thumbnail = with_segment(&plain, 0xe1, &[b"Exif\0\0", plain.as_slice()].concat());
        for jpeg in [plain, with_thumbnail] {
            assert_eq!(decode(Path::new("whole"), &jpeg).unwrap().dimensions(), (64, 64));
            let head = jpeg.len() - noise().len();
            for share in [40, 60, 90] {
                assert_cut(&jpeg, head + noise().len() * share / 100);
            }
            assert_cut(&jpeg, jpeg.len() - 1);
        }
    }

    #[test]
    fn a_progressive_jpeg_that_is_cut_is_refused_in_every_scan() {
        let jpeg = progressive();
        let image = decode(Path::new("whole"), &jpeg).unwrap();
        assert!(image.dimensions() == (64, 64) && image.pixels().all(|pixel| pixel.0 == [128; 3]));
        let first_scan = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 10;
        for keep in first_scan..jpeg.len() {
            match decode(Path::new("cut.jpg"), &jpeg[..keep]) {
                Err(DataError::Undecodable { .. }) => {}
                other => panic!("{keep} of {} bytes: {other:?}", jpeg.len()),
            }
        }
        assert_cut(&jpeg, jpeg.len() - 2);
    }

    #[test]
    fn what_surrounds_a_whole_jpeg_does_not_matter() {
        let fill_bytes = [&[0xff, 0xd8, 0xff, 0xff, 0xff][..], &noise()[3..]].concat();
        let trailing = [noise(), b"another program's \xff\xe0\xff\xff".to_vec()].concat();
        for jpeg in [fill_bytes, trailing, with_segment(&noise(), 0xfe, b"a remark: \xff\xda \xff\xd9")] {
            assert_eq!(
                decode(Path::new("whole"), &jpeg).unwrap(),
                decode(Path::new("noise"), &noise()).unwrap()
            );
        }
    }
}
