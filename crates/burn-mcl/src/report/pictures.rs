//! Pictures inside the page.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mcl_data::ImageSet;

/// Longest side of a picture in the page, in pixels: the page stays small, whatever the size of the images.
const SIDE: usize = 96;

/// Image `i` as a PNG in a data URI.
pub(super) fn data_uri(images: &ImageSet, i: usize) -> String {
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(images.thumbnail(i, SIDE)))
}
