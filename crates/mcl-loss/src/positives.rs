//! Drawing the positives of SPA (Eq. 8), on the host from a generator of the caller.

use core::ops::Range;
use std::collections::BTreeMap;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use rand::{Rng, RngExt};

use crate::{formulation::Formulation, views::VIEWS};

impl Formulation {
    /// See [`MclLoss::sample_positives`](crate::MclLoss::sample_positives).
    pub(crate) fn sample_positives<R: Rng + ?Sized>(
        self,
        class: &[i64],
        aux: Option<&[i64]>,
        rng: &mut R,
    ) -> Vec<Option<usize>> {
        let groups = Groups::new(class, aux);
        let images = 0..class.len();
        match self {
            Formulation::Paper => images
                .flat_map(|image| [image; VIEWS])
                .map(|image| {
                    groups
                        .draw_partner(image, rng)
                        .map(|partner| partner * VIEWS + rng.random_range(0..VIEWS))
                })
                .collect(),
            Formulation::Released => {
                let partners: Option<Vec<usize>> =
                    images.map(|image| groups.draw_partner(image, rng)).collect();
                match partners {
                    Some(partners) => partners
                        .into_iter()
                        .flat_map(|partner| (0..VIEWS).map(move |view| Some(partner * VIEWS + view)))
                        .collect(),
                    None => vec![None; class.len() * VIEWS],
                }
            }
        }
    }
}

/// The images of each label.
struct Groups {
    images: Vec<Vec<usize>>,
    /// Of each image: its group, and its place there.
    place: Vec<(usize, usize)>,
}

impl Groups {
    fn new(class: &[i64], aux: Option<&[i64]>) -> Self {
        if let Some(aux) = aux {
            assert!(
                aux.len() == class.len(),
                "{} auxiliary labels for {} class labels: give one of each per image",
                aux.len(),
                class.len()
            );
        }
        let mut images: Vec<Vec<usize>> = Vec::new();
        let mut group_of = BTreeMap::new();
        let place = (0..class.len())
            .map(|image| {
                let label = (class[image], aux.map(|aux| aux[image]));
                let group = *group_of.entry(label).or_insert_with(|| {
                    images.push(Vec::new());
                    images.len() - 1
                });
                images[group].push(image);
                (group, images[group].len() - 1)
            })
            .collect();
        Self { images, place }
    }

    /// Another image of the same label, uniformly.
    fn draw_partner<R: Rng + ?Sized>(&self, image: usize, rng: &mut R) -> Option<usize> {
        let (group, place) = self.place[image];
        let group = &self.images[group];
        let others = group.len() - 1;
        (others > 0).then(|| {
            let drawn = rng.random_range(0..others);
            group[if drawn < place { drawn } else { drawn + 1 }]
        })
    }
}

/// A draw on the device, out of autodiff.
#[derive(Debug, Clone)]
pub(crate) struct Positives {
    /// The positive of each view, the view itself where there is none, `[2N]`.
    pub(crate) index: Tensor<1, Int>,
    /// The views that have none, `[2N, 1]`.
    pub(crate) missing: Tensor<2, Bool>,
}

impl Positives {
    /// # Panics
    ///
    /// If there is not one entry per view, or an entry is not a view of another image.
    pub(crate) fn new(positives: &[Option<usize>], views: usize, device: &Device) -> Self {
        assert!(
            positives.len() == views,
            "{} positives for {views} views: give one entry per view, at 2 * image + view",
            positives.len()
        );
        for (view, positive) in positives.iter().enumerate() {
            if let Some(positive) = *positive {
                assert!(
                    positive < views,
                    "the positive of view {view} is {positive}: there are {views} views"
                );
                assert!(
                    positive / VIEWS != view / VIEWS,
                    "the positive of view {view} is {positive}, a view of the same image: take one of another image"
                );
            }
        }
        let index: Vec<i64> =
            positives.iter().enumerate().map(|(view, positive)| positive.unwrap_or(view) as i64).collect();
        let missing: Vec<bool> = positives.iter().map(Option::is_none).collect();
        Self {
            index: Tensor::from_data(TensorData::new(index, [views]), device).inner(),
            missing: Tensor::from_data(TensorData::new(missing, [views, 1]), device).inner(),
        }
    }

    /// The draw for a range of views.
    pub(crate) fn narrow(&self, rows: &Range<usize>) -> Self {
        Self {
            index: self.index.clone().narrow(0, rows.start, rows.len()),
            missing: self.missing.clone().narrow(0, rows.start, rows.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    const CLASS: [i64; 7] = [4, -1, 4, 4, -1, 4, 8];
    const AUX: [i64; 7] = [0, 0, 0, 1, 0, 0, 0];

    /// How often each view was drawn for each view.
    fn draws(formulation: Formulation, class: &[i64], aux: Option<&[i64]>, times: usize) -> Vec<Vec<usize>> {
        let views = class.len() * VIEWS;
        let mut counts = vec![vec![0; views]; views];
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for _ in 0..times {
            for (view, positive) in formulation.sample_positives(class, aux, &mut rng).into_iter().enumerate()
            {
                if let Some(positive) = positive {
                    counts[view][positive] += 1;
                }
            }
        }
        counts
    }

    #[test]
    fn draws_are_uniform_over_the_views_of_other_images_of_the_label() {
        let times = 6000;
        for aux in [None, Some(&AUX[..])] {
            let counts = draws(Formulation::Paper, &CLASS, aux, times);
            for (view, counts) in counts.iter().enumerate() {
                let label = |view: usize| (CLASS[view / VIEWS], aux.map(|aux| aux[view / VIEWS]));
                let candidates: Vec<usize> =
                    (0..14).filter(|&k| k / VIEWS != view / VIEWS && label(k) == label(view)).collect();
                for (positive, &count) in counts.iter().enumerate() {
                    if candidates.contains(&positive) {
                        // Five standard deviations of a binomial count.
                        let share = 1.0 / candidates.len() as f64;
                        let (mean, deviation) =
                            (times as f64 * share, (times as f64 * share * (1.0 - share)).sqrt());
                        assert!((count as f64 - mean).abs() <= 5.0 * deviation, "{view} {positive}: {count}");
                    } else {
                        assert_eq!(count, 0, "{view} {positive}");
                    }
                }
            }
        }
    }

    #[test]
    fn released_draws_pair_images_view_by_view() {
        let class = [0, 0, 1, 1, 0];
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..50 {
            let positives = Formulation::Released.sample_positives(&class, None, &mut rng);
            for image in 0..class.len() {
                let (first, second) = (positives[2 * image].unwrap(), positives[2 * image + 1].unwrap());
                assert_eq!((first % 2, second), (0, first + 1));
                assert!(first / 2 != image && class[first / 2] == class[image]);
            }
        }
    }

    #[test]
    fn released_draws_are_none_when_one_image_is_alone() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        assert_eq!(Formulation::Released.sample_positives(&[0, 0, 1], None, &mut rng), [None; 6]);
        assert_eq!(Formulation::Paper.sample_positives(&[0, 0, 1], None, &mut rng)[4..], [None; 2]);
    }

    #[test]
    fn one_seed_gives_one_draw() {
        let draw = |seed| {
            Formulation::Paper.sample_positives(&CLASS, Some(&AUX), &mut ChaCha8Rng::seed_from_u64(seed))
        };
        assert_eq!(draw(11), draw(11));
        assert_ne!(draw(11), draw(12));
    }

    #[test]
    fn an_empty_batch_has_no_positives() {
        assert!(Formulation::Paper.sample_positives(&[], None, &mut ChaCha8Rng::seed_from_u64(0)).is_empty());
    }

    #[test]
    #[should_panic(expected = "2 auxiliary labels for 3 class labels")]
    fn labels_of_unequal_length_are_refused() {
        Formulation::Paper.sample_positives(&[0, 0, 1], Some(&[0, 0]), &mut ChaCha8Rng::seed_from_u64(0));
    }
}
