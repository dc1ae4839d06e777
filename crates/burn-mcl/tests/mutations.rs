//! Detectors from elsewhere, with right hashes and wrong contents: an error or a detector, never a panic.
//!
//! Each file in turn is flipped, cut, spliced or given other numbers, and the manifest made to fit, so that what is
//! behind the hashes is reached. `MCL_MUTATIONS=100000` makes it go on for longer than a test should.

use std::path::Path;
use std::{env, fs};

use burn::tensor::{Device, Tensor};
use burn_mcl::detector::Detector;

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/artifact-v1/detector");
const FILES: [&str; 5] = [
    "calibration.safetensors",
    "detector.json",
    "gaussians.safetensors",
    "manifest.json",
    "model.safetensors",
];

/// Numbers that are at the edge of something.
const NUMBERS: [&str; 9] =
    ["0", "-1", "1e308", "18446744073709551615", "18446744073709551616", "4294967296", "null", "[]", "65537"];

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

fn mutate(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(3) {
        // Half of the time near the beginning, where headers are.
        let end = if random.below(2) == 0 { bytes.len().min(600) } else { bytes.len() };
        let at = random.below(end);
        match random.below(5) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 0xff, 0x7f, 0x80, b'"'][random.below(5)],
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, [b'{', 0, 0xff, b'9', b'"'])),
            _ => {
                // The next run of digits becomes another number.
                let digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
                let Some(start) = bytes[at.min(bytes.len())..].iter().position(digit) else {
                    continue;
                };
                let start = at + start;
                let length = bytes[start..].iter().take_while(|byte| digit(byte)).count();
                drop(bytes.splice(start..start + length, NUMBERS[random.below(9)].bytes()));
            }
        }
    }
    bytes
}

#[test]
fn no_mutation_of_a_detector_panics() {
    let count = env::var("MCL_MUTATIONS").map_or(200, |count| count.parse().unwrap());
    let (dir, mut random, mut loaded) = (tempfile::tempdir().unwrap(), Random(1), 0);
    for round in 0..count {
        for file in FILES {
            fs::copy(Path::new(KEPT).join(file), dir.path().join(file)).unwrap();
        }
        let file = FILES[round % FILES.len()];
        let mutated = mutate(fs::read(Path::new(KEPT).join(file)).unwrap(), &mut random);
        fs::write(dir.path().join(file), mutated).unwrap();
        if file != "manifest.json" {
            crate::common::seal(dir.path());
        }
        let Ok(detector) = Detector::load(dir.path(), &Device::flex()) else { continue };
        loaded += 1;
        let (height, width) = detector.image_size();
        if height * width <= 64 * 64 {
            let _ = detector.detect(Tensor::full([1, 3, height, width], 0.5, &Device::flex()));
        }
    }
    println!("{count} mutations, {loaded} of them still detectors");
    assert!(loaded > 0 && loaded < count, "{loaded} of {count} were still detectors");
}
