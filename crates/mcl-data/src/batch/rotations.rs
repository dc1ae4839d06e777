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
/// | [`Augmentation`](Self::Augmentation) | 1 | 0 | the paper's row with rotations as data augmentation; images that have no up and down |
/// | [`None`](Self::None) | 1 | 0 | the paper's rows without the auxiliary task |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rotations {
    /// All four rotations of an image are in the same batch.
    #[default]
    All,
    /// One of the four rotations, drawn uniformly for each image and epoch. The two views of a sample share the rotation.
    Drawn,
    /// One of the four rotations, drawn uniformly for each view, image and epoch. The auxiliary label is 0 for all: rotations are one
    /// more augmentation, and no auxiliary task.
    Augmentation,
    /// Images stay upright.
    None,
}

impl Rotations {
    /// Samples that each image gives: 4 for [`All`](Self::All), otherwise 1.
    #[must_use]
    pub fn per_image(self) -> usize {
        match self {
            Self::All => QUARTER_TURNS,
            Self::Drawn | Self::Augmentation | Self::None => 1,
        }
    }

    /// Number of auxiliary classes: 4 for [`All`](Self::All) and [`Drawn`](Self::Drawn), otherwise 1.
    #[must_use]
    pub fn aux_classes(self) -> usize {
        match self {
            Self::All | Self::Drawn => QUARTER_TURNS,
            Self::Augmentation | Self::None => 1,
        }
    }

    /// Quarter turns of a view, 0 or 1, of sample number `sample` of an image: a function of (seed, epoch, image), the sample and
    /// the view alone.
    pub(super) fn turns(self, sample: usize, view: usize, seed: u64, epoch: usize, image: usize) -> usize {
        match self {
            Self::All => sample,
            Self::Drawn => drawn(u32::MAX, seed, epoch, image),
            Self::Augmentation => drawn(u32::MAX - 1 - view as u32, seed, epoch, image),
            Self::None => 0,
        }
    }

    /// Auxiliary label of a view that was turned by so many quarter turns.
    pub(super) fn label(self, turns: usize) -> usize {
        if self.aux_classes() == 1 { 0 } else { turns }
    }
}

fn drawn(number: u32, seed: u64, epoch: usize, image: usize) -> usize {
    // No view has this rotation and number: the draw is independent of the random numbers of the views.
    let key = ViewKey { seed, epoch: epoch as u64, image: image as u64, rotation: u32::MAX, view: number };
    (key.rng().next_u32() % QUARTER_TURNS as u32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_follow_the_setting() {
        let counts = |rotations: Rotations| (rotations.per_image(), rotations.aux_classes());
        let all = [Rotations::All, Rotations::Drawn, Rotations::Augmentation, Rotations::None];
        assert_eq!(all.map(counts), [(4, 4), (1, 4), (1, 1), (1, 1)]);
        assert_eq!(Rotations::default(), Rotations::All);
    }

    #[test]
    fn drawn_rotations_are_uniform_and_independent() {
        let mut counts = [0; 4];
        let mut repeated = 0;
        for image in 0..4000 {
            let of = |seed, epoch| Rotations::Drawn.turns(0, 0, seed, epoch, image);
            counts[of(7, 0)] += 1;
            repeated += usize::from(of(7, 0) == of(7, 1)) + usize::from(of(7, 0) == of(8, 0));
        }
        // The expectation is 1000 with a standard deviation of 27, and 2000 with one of 39.
        assert!(counts.iter().all(|count| (880..1120).contains(count)), "{counts:?}");
        assert!((1840..2160).contains(&repeated), "{repeated}");
    }

    #[test]
    fn rotations_as_augmentation_differ_between_the_views_and_have_no_label() {
        let rotations = Rotations::Augmentation;
        let mut counts = [[0; 4]; 2];
        let mut same = 0;
        for image in 0..4000 {
            let turns = [0, 1].map(|view| rotations.turns(0, view, 7, 0, image));
            counts[0][turns[0]] += 1;
            counts[1][turns[1]] += 1;
            same += usize::from(turns[0] == turns[1]);
            assert_eq!(turns.map(|turns| rotations.label(turns)), [0, 0]);
        }
        // The expectation is 1000 with a standard deviation of 27.
        assert!(counts.iter().flatten().all(|count| (880..1120).contains(count)), "{counts:?}");
        assert!((880..1120).contains(&same), "{same}");
        assert_eq!([0, 1, 2, 3].map(|turns| Rotations::Drawn.label(turns)), [0, 1, 2, 3]);
    }

    /// Runs can be repeated with a later version only if this stays.
    #[test]
    fn drawn_rotations_are_the_same_in_every_version() {
        let drawn: Vec<usize> = (0..16).map(|image| Rotations::Drawn.turns(0, 0, 1, 2, image)).collect();
        assert_eq!(drawn, [3, 2, 2, 0, 2, 1, 1, 3, 1, 2, 1, 2, 1, 1, 0, 1]);
    }

    #[test]
    fn settings_survive_json() {
        for (rotations, json) in [
            (Rotations::All, "\"All\""),
            (Rotations::Drawn, "\"Drawn\""),
            (Rotations::Augmentation, "\"Augmentation\""),
            (Rotations::None, "\"None\""),
        ] {
            assert_eq!(serde_json::to_string(&rotations).unwrap(), json);
            assert_eq!(serde_json::from_str::<Rotations>(json).unwrap(), rotations);
        }
    }
}
