//! Drawing the positives of SPA (Eq. 8), on the host from a generator of the caller.

use std::collections::BTreeMap;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use rand::{Rng, RngExt};

use crate::{formulation::Formulation, similarity::VIEWS};

/// Draws for each view a view of another image with the same label, uniformly (the paper's draw).
///
/// `class[image]` and `aux[image]` are the labels of the images. The result has two entries per image: entry
/// `2 * image + view` is the index, counted the same way, of the positive of that view, or `None` where no
/// other image has the label. It is what [`MclLoss::forward_with_positives`](crate::MclLoss::forward_with_positives)
/// takes; see [`Formulation::sample_positives`] for the draw of the released code.
///
/// # Panics
///
/// If `aux` is not as long as `class`.
///
/// ```
/// # use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let positives = mcl_loss::sample_positives(&[0, 0, 9], None, &mut rng);
/// assert!(matches!(positives[..], [Some(2 | 3), Some(2 | 3), Some(0 | 1), Some(0 | 1), None, None]));
/// ```
pub fn sample_positives<R: Rng + ?Sized>(
    class: &[i64],
    aux: Option<&[i64]>,
    rng: &mut R,
) -> Vec<Option<usize>> {
    Formulation::Paper.sample_positives(class, aux, rng)
}

impl Formulation {
    /// Draws the positives as this formulation does; arguments, result and panics as in [`sample_positives`].
    ///
    /// In the released code's draw each image takes one partner image, and its first and second view take the first
    /// and second view of the partner; if any image has no partner, all entries are `None`.
    ///
    /// # Panics
    ///
    /// If `aux` is not as long as `class`.
    pub fn sample_positives<R: Rng + ?Sized>(
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

/// A draw on the device.
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
            index: Tensor::from_data(TensorData::new(index, [views]), device),
            missing: Tensor::from_data(TensorData::new(missing, [views, 1]), device),
        }
    }
}
