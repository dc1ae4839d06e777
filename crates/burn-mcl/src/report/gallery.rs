//! The most confident mistakes and the most anomalous images, each with the training images nearest to it
//! (Fig. 4).

use burn::tensor::{Tensor, TensorData};
use mcl_infer::{Neighbour, NeighbourIndex};
use serde::Serialize;

use super::{Part, ReportError};

/// Images of a kind.
const SHOWN: usize = 8;
/// Training images beside each.
const NEIGHBOURS: usize = 5;

/// A kind of images worth a look.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) why: &'static str,
    pub(super) items: Vec<Item>,
}

/// An image of a gallery.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Item {
    /// Index of its set: 0 for the normal one, then the anomalous ones.
    #[serde(skip)]
    pub(super) part: usize,
    /// Its index in the set.
    #[serde(skip)]
    pub(super) image: usize,
    /// Its file, or the set and its number.
    pub(super) name: String,
    /// The set that it is from.
    pub(super) set: String,
    /// Its own class, by name.
    pub(super) class: String,
    /// The class that was predicted.
    pub(super) predicted: String,
    pub(super) score: f64,
    /// The nearest training images, nearest first.
    #[serde(serialize_with = "pairs")]
    pub(super) nearest: Vec<Neighbour>,
}

/// (training image, similarity)
fn pairs<S: serde::Serializer>(nearest: &[Neighbour], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(nearest.iter().map(|neighbour| (neighbour.index, neighbour.similarity)))
}

/// All groups that have an image. `train` holds the projections of the training images, `[n, dim]`.
pub(super) fn gallery(
    parts: &[&Part],
    class_names: &[String],
    threshold: Option<f64>,
    train: Vec<f32>,
    dim: usize,
) -> Result<Vec<Group>, ReportError> {
    let (normal, anomalous) = (&parts[..1], &parts[1..]);
    let passes = |score: f64| threshold.is_none_or(|threshold| score >= threshold);
    let flagged = |score: f64| threshold.is_none_or(|threshold| score < threshold);
    let classes = parts[0].classes(class_names);
    let wrong =
        |image: usize| classes.as_ref().is_some_and(|classes| classes[image] != parts[0].predicted[image]);

    let highest = |picks: Vec<(usize, usize)>| ranked(parts, picks, true);
    let lowest = |picks: Vec<(usize, usize)>| ranked(parts, picks, false);
    let of = |range: std::ops::Range<usize>, keep: &dyn Fn(usize, usize) -> bool| -> Vec<(usize, usize)> {
        range
            .flat_map(|part| (0..parts[part].scores.len()).map(move |image| (part, image)))
            .filter(|&(part, image)| keep(part, image))
            .collect()
    };
    let score = |part: usize, image: usize| parts[part].scores[image];
    let last = normal.len() + anomalous.len();
    let kinds = [
        (
            "Anomalies that look normal",
            "Anomalous images with the highest scores: the detector misses them.",
            highest(of(1..last, &|part, image| passes(score(part, image)))),
        ),
        (
            "Normal images that look anomalous",
            "Normal images with the lowest scores: false alarms.",
            lowest(of(0..1, &|part, image| flagged(score(part, image)))),
        ),
        (
            "Normal images predicted as another class",
            "Of the wrong class, with the highest scores.",
            highest(of(0..1, &|_, image| wrong(image))),
        ),
        (
            "Anomalies that stand out",
            "Anomalous images with the lowest scores.",
            lowest(of(1..last, &|part, image| flagged(score(part, image)))),
        ),
    ];

    let device = parts[0].scored().device();
    let tensor = |values: Vec<f32>| {
        let rows = values.len() / dim;
        Tensor::from_data(TensorData::new(values, [rows, dim]), device)
    };
    let index = NeighbourIndex::new(tensor(train))?;
    let mut groups = Vec::new();
    for (title, why, picks) in kinds {
        if picks.is_empty() {
            continue;
        }
        let queries = picks.iter().flat_map(|&(part, image)| parts[part].projection(image).to_vec());
        let nearest = index.search(tensor(queries.collect()), NEIGHBOURS)?;
        let items = picks.iter().zip(nearest).map(|(&(part, image), nearest)| {
            let of = parts[part];
            Item {
                part,
                image,
                name: of.image_name(image),
                set: of.name.clone(),
                class: of.images.class_names()[of.images.label(image)].clone(),
                predicted: class_names[of.predicted[image]].clone(),
                score: of.scores[image],
                nearest,
            }
        });
        groups.push(Group { title, why, items: items.collect() });
    }
    Ok(groups)
}

/// The first images by score, with equal scores in the order of the sets.
fn ranked(parts: &[&Part], mut picks: Vec<(usize, usize)>, highest: bool) -> Vec<(usize, usize)> {
    let score = |pick: &(usize, usize)| parts[pick.0].scores[pick.1];
    picks.sort_by(|a, b| {
        let order = score(a).total_cmp(&score(b));
        if highest { order.reverse() } else { order }
    });
    picks.truncate(SHOWN);
    picks
}
