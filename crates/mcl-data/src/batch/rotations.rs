//! Which rotations of an image a batch shows: the auxiliary labels of Eq. 11.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::augment::ViewKey;

/// Quarter turns of an image: 0, 90, 180 and 270 degrees.
const QUARTER_TURNS: usize = 4;

/// Which rotations of an image a batch shows. The rotation in quarter turns counterclockwise is the auxiliary label of a
/// sample (section 2.4 of the paper).
///
/// | setting | samples of an image | auxiliary labels | when |
/// |---|---|---|---|
/// | [`All`](Self::All) | 4 | 0 to 3 | the paper |
/// | [`Drawn`](Self::Drawn) | 1 | 0 to 3 | short runs: four times as many images in a batch of the same size |
/// | [`None`](Self::None) | 1 | 0 | the paper's rows without the auxiliary task; images that have no up and down |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rotations {
    /// All four rotations of an image are in the same batch.
    #[default]
    All,
    /// One of the four rotations, drawn uniformly for each image and epoch. The two views of a sample share the rotation.
    Drawn,
    /// Images stay upright.
    None,
}

impl Rotations {
    /// Samples that each image gives: 4 for [`All`](Self::All), otherwise 1.
    #[must_use]
    pub fn per_image(self) -> usize {
        match self {
            Self::All => QUARTER_TURNS,
            Self::Drawn | Self::None => 1,
        }
    }

    /// Number of auxiliary classes: 1 for [`None`](Self::None), otherwise 4.
    #[must_use]
    pub fn aux_classes(self) -> usize {
        match self {
            Self::All | Self::Drawn => QUARTER_TURNS,
            Self::None => 1,
        }
    }

    /// Quarter turns of sample number `sample` of an image, a function of (seed, epoch, image) and the sample alone.
    pub(super) fn turns(self, sample: usize, seed: u64, epoch: usize, image: usize) -> usize {
        match self {
            Self::All => sample,
            Self::Drawn => drawn(seed, epoch, image),
            Self::None => 0,
        }
    }
}

fn drawn(seed: u64, epoch: usize, image: usize) -> usize {
    // No view has this rotation and number: the draw is independent of the random numbers of the views.
    let key = ViewKey { seed, epoch: epoch as u64, image: image as u64, rotation: u32::MAX, view: u32::MAX };
    (key.rng().next_u32() % QUARTER_TURNS as u32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_follow_the_setting() {
        let counts = |rotations: Rotations| (rotations.per_image(), rotations.aux_classes());
        assert_eq!([Rotations::All, Rotations::Drawn, Rotations::None].map(counts), [(4, 4), (1, 4), (1, 1)]);
        assert_eq!(Rotations::default(), Rotations::All);
    }

    #[test]
    fn drawn_rotations_are_uniform_and_independent() {
        let mut counts = [0; 4];
        let mut repeated = 0;
        for image in 0..4000 {
            let of = |seed, epoch| Rotations::Drawn.turns(0, seed, epoch, image);
            counts[of(7, 0)] += 1;
            repeated += usize::from(of(7, 0) == of(7, 1)) + usize::from(of(7, 0) == of(8, 0));
        }
        // The expectation is 1000 with a standard deviation of 27, and 2000 with one of 39.
        assert!(counts.iter().all(|count| (880..1120).contains(count)), "{counts:?}");
        assert!((1840..2160).contains(&repeated), "{repeated}");
    }

    /// Runs can be repeated with a later version only if this stays.
    #[test]
    fn drawn_rotations_are_the_same_in_every_version() {
        let drawn: Vec<usize> = (0..16).map(|image| Rotations::Drawn.turns(0, 1, 2, image)).collect();
        assert_eq!(drawn, [3, 2, 2, 0, 2, 1, 1, 3, 1, 2, 1, 2, 1, 1, 0, 1]);
    }

    #[test]
    fn settings_survive_json() {
        for (rotations, json) in
            [(Rotations::All, "\"All\""), (Rotations::Drawn, "\"Drawn\""), (Rotations::None, "\"None\"")]
        {
            assert_eq!(serde_json::to_string(&rotations).unwrap(), json);
            assert_eq!(serde_json::from_str::<Rotations>(json).unwrap(), rotations);
        }
    }
}
