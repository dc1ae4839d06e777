//! Images held out of training: for the threshold, which training images would place too high.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::{DataError, ImageSet};

impl ImageSet {
    /// Splits the indices of the images into (kept, held out), the same `share` of every class, drawn by `seed`. Both
    /// are ascending. A class keeps at least one image; one that has a single image holds none out.
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
        let (mut kept, mut held_out) = (Vec::new(), Vec::new());
        for mut images in of_class {
            images.shuffle(&mut rng);
            let out = ((share * images.len() as f64).round() as usize).min(images.len().saturating_sub(1));
            held_out.extend_from_slice(&images[..out]);
            kept.extend_from_slice(&images[out..]);
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
        ImageSet::new(vec![0; 3 * labels.len()], (1, 1), labels, names).unwrap()
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
