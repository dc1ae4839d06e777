//! Images held out of training: for the threshold, which training images would place too high.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::{DataError, ImageSet};

impl ImageSet {
    /// Splits the indices of the images into (kept, held out), the same `share` of every class, drawn by `seed`. Both
    /// are ascending. A class keeps at least one image; a class of a single image holds none out.
    ///
    /// All copies of an image ([`originals`](Self::originals)) go to the same side: a threshold that is placed on images
    /// that were trained on is too high. Where the copies of an image are more than the share leaves room for, they are
    /// kept, so that less than the share may be held out.
    ///
    /// # Errors
    /// [`DataError::Setting`] if `share` is not from 0 to 1.
    pub fn hold_out(&self, share: f64, seed: u64) -> Result<(Vec<usize>, Vec<usize>), DataError> {
        if !(0.0..=1.0).contains(&share) {
            let (value, requirement) = (share.to_string(), "must be from 0 to 1");
            return Err(DataError::Setting { name: "share", value, requirement });
        }
        let mut of_class = vec![Vec::new(); self.class_names().len()];
        for (i, &label) in self.labels().iter().enumerate() {
            of_class[label].push(i);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut room = Vec::new(); // images that each class still has to hold out
        for images in &mut of_class {
            images.shuffle(&mut rng);
            let out = (share * images.len() as f64).round() as usize;
            room.push(out.min(images.len().saturating_sub(1)));
        }
        let originals = self.originals();
        let mut copies = vec![Vec::new(); self.len()]; // of each original, itself among them
        originals.iter().enumerate().for_each(|(i, &original)| copies[original].push(i));

        let (mut kept, mut held_out) = (Vec::new(), Vec::new());
        for i in of_class.into_iter().flatten() {
            // All copies at once, with the first of them that is drawn.
            let copies = std::mem::take(&mut copies[originals[i]]);
            let mut taken = 0;
            while taken < copies.len() && room[self.label(copies[taken])] > 0 {
                room[self.label(copies[taken])] -= 1;
                taken += 1;
            }
            if taken == copies.len() {
                held_out.extend(copies);
            } else {
                copies[..taken].iter().for_each(|&copy| room[self.label(copy)] += 1);
                kept.extend(copies);
            }
        }
        kept.sort_unstable();
        held_out.sort_unstable();
        Ok((kept, held_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(counts: &[usize]) -> ImageSet {
        let labels: Vec<usize> = counts.iter().enumerate().flat_map(|(class, &n)| vec![class; n]).collect();
        let names = (0..counts.len()).map(|class| class.to_string()).collect();
        let pixels = (0..labels.len()).flat_map(|i| [i as u8, (i >> 8) as u8, 0]).collect();
        ImageSet::new(pixels, (1, 1), labels, names).unwrap()
    }

    #[test]
    fn every_class_gives_its_share_and_no_image_is_lost() {
        let set = set(&[100, 10, 1, 0]);
        let (kept, held_out) = set.hold_out(0.2, 0).unwrap();
        let counts = |indices: &[usize]| set.subset(indices).unwrap().class_counts();
        assert_eq!((counts(&kept), counts(&held_out)), (vec![80, 8, 1, 0], vec![20, 2, 0, 0]));
        let mut all = [kept.clone(), held_out.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..111).collect::<Vec<_>>());
        assert_eq!(set.hold_out(0.2, 0).unwrap(), (kept, held_out.clone()));
        assert_ne!(set.hold_out(0.2, 1).unwrap().1, held_out);
    }

    /// The split of earlier versions, which did not know copies: the first images of each shuffled class are held out.
    #[test]
    fn without_copies_a_split_stays_what_it_was() {
        for seed in 0..10 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut expected = Vec::new();
            for (class, out) in [(0..50, 10), (50..80, 6)] {
                let mut images: Vec<usize> = class.collect();
                images.shuffle(&mut rng);
                expected.extend_from_slice(&images[..out]);
            }
            expected.sort_unstable();
            assert_eq!(set(&[50, 30]).hold_out(0.2, seed).unwrap().1, expected, "seed {seed}");
        }
    }

    #[test]
    fn copies_stay_on_one_side() {
        // 60 pictures of two classes, ten times each; the last picture of the first class is in the second class too.
        let labels: Vec<usize> = (0..600).map(|i| usize::from(i % 60 >= 30)).collect();
        let picture = |i: usize| if i == 599 { 29 } else { i % 60 };
        let pixels = (0..600).flat_map(|i| [picture(i) as u8; 3]).collect();
        let set = ImageSet::new(pixels, (1, 1), labels, vec!["a".into(), "b".into()]).unwrap();
        for seed in 0..20 {
            let (kept, held_out) = set.hold_out(0.2, seed).unwrap();
            assert_eq!(kept.len() + held_out.len(), 600);
            let seen: std::collections::HashSet<usize> = kept.iter().map(|&i| picture(i)).collect();
            assert!(held_out.iter().all(|&i| !seen.contains(&picture(i))), "seed {seed}");
            let counts = set.subset(&held_out).unwrap().class_counts();
            assert!(counts.iter().all(|&count| (50..=60).contains(&count)), "seed {seed}: {counts:?}");
        }
    }

    #[test]
    fn shares_are_shares() {
        for share in [-0.1, 20.0, f64::NAN] {
            let error = set(&[3]).hold_out(share, 0).unwrap_err();
            assert!(matches!(error, DataError::Setting { name: "share", .. }), "{error}");
        }
        assert_eq!(set(&[3]).hold_out(1.0, 0).unwrap().0.len(), 1);
        assert_eq!(set(&[3]).hold_out(0.0, 0).unwrap().0.len(), 3);
    }
}
