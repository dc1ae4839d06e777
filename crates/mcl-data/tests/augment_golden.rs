//! The operations against torchvision.
//!
//! `golden/augment.json` holds two 32 x 32 images of 8 bits and what torchvision made of them as float tensors in [0, 1]
//! (antialias on), in units of 1e-5. torchvision 0.29.2 gives these values.

use mcl_data::augment::ops::{self, Image};
use serde_json::Value;

/// In f32 the two round differently; the file holds five digits.
const TOLERANCE: f32 = 2e-5;

fn ints(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect()
}

fn apply(op: &str, params: &Value, image: &Image) -> Image {
    let int = |name: &str| params[name].as_u64().unwrap() as usize;
    let factor = || params["factor"].as_f64().unwrap() as f32;
    let mut changed = image.clone();
    match op {
        "resized_crop" => {
            let size = (int("size"), int("size"));
            return ops::resized_crop(image, int("top"), int("left"), int("height"), int("width"), size)
                .unwrap();
        }
        "brightness" => ops::adjust_brightness(&mut changed, factor()).unwrap(),
        "contrast" => ops::adjust_contrast(&mut changed, factor()).unwrap(),
        "saturation" => ops::adjust_saturation(&mut changed, factor()).unwrap(),
        "hue" => ops::adjust_hue(&mut changed, factor()).unwrap(),
        "grayscale" => ops::grayscale(&mut changed),
        "horizontal_flip" => return ops::horizontal_flip(image),
        "vertical_flip" => return ops::vertical_flip(image),
        "rotate90_counterclockwise" => return ops::rotate90(image, int("quarter_turns")),
        other => panic!("unknown operation {other}"),
    }
    changed
}

#[test]
fn operations_match_torchvision() {
    let golden: Value = serde_json::from_str(include_str!("golden/augment.json")).unwrap();
    let mut compared = 0;
    for case in golden.as_array().unwrap() {
        let pixels: Vec<u8> =
            ints(&case["image_u8_chw"]).into_iter().map(|v| u8::try_from(v).unwrap()).collect();
        let image = Image::from_u8(&pixels, (32, 32)).unwrap();
        for reference in case["ops"].as_array().unwrap() {
            let (op, params) = (reference["op"].as_str().unwrap(), &reference["params"]);
            let expected = ints(&reference["expected_e5"]);
            let found = apply(op, params, &image);
            assert_eq!(found.pixels().len(), expected.len());
            for (i, (found, expected)) in found.pixels().iter().zip(expected).enumerate() {
                let difference = (found - expected as f32 * 1e-5).abs();
                assert!(difference <= TOLERANCE, "{op} {params}: value {i} is {found}, not {expected}e-5");
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 36);
}
