//! The Gaussians of a trained network: one for each (class, rotation).

use mcl_data::ImageSet;
use mcl_data::batch::Rotations;
use mcl_infer::{InferError, MahalanobisConfig, MahalanobisScorer, TestTimeViews};
use mcl_model::Network;

use super::{DetectorConfig, DetectorError};
use crate::embed::embed;
use crate::progress::Progress;

/// Images whose projections are held at once.
const CHUNK: usize = 4096;

/// Fits a Gaussian to the projections of each class in each of its four rotations (Eq. 12-13).
///
/// The images are taken as they are, not augmented. Memory does not grow with their number.
///
/// # Errors
///
/// [`DetectorError::Class`] when a class has too few images for its covariance, or they are all alike, and
/// [`DetectorError::Data`] when the images are not square.
pub fn fit_gaussians<N: Network>(
    model: &N,
    train: &ImageSet,
    config: &MahalanobisConfig,
    batch_size: usize,
    progress: Progress,
) -> Result<MahalanobisScorer, DetectorError> {
    let config = DetectorConfig::new().with_gaussians(*config).with_batch_size(batch_size);
    fit_views(model, train, &config, progress)
}

/// Fits a Gaussian to each class in each of the rotations that the settings name.
pub(super) fn fit_views<N: Network>(
    model: &N,
    train: &ImageSet,
    config: &DetectorConfig,
    progress: Progress,
) -> Result<MahalanobisScorer, DetectorError> {
    let views = match config.rotations {
        Rotations::None => TestTimeViews::Identity,
        _ => TestTimeViews::Rotations,
    };
    let (batch_size, config) = (config.batch_size, &config.gaussians);
    let aux = views.aux();
    let mut statistics = None;
    let bar = progress.bar("fitting", train.len(), 0);
    for start in (0..train.len()).step_by(CHUNK) {
        let end = (start + CHUNK).min(train.len());
        let chunk = train.subset(&(start..end).collect::<Vec<_>>())?;
        let embeddings = embed(model, &chunk, views, batch_size, Progress::Hidden)?;
        let classes = train.class_names().len();
        let statistics =
            statistics.get_or_insert_with(|| config.statistics(classes, aux.len(), embeddings.dim));
        let class: Vec<usize> =
            chunk.labels().iter().flat_map(|&label| std::iter::repeat_n(label, aux.len())).collect();
        statistics.update(&embeddings.values, &class, &aux.repeat(chunk.len()))?;
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    let statistics = statistics.unwrap_or_else(|| config.statistics(train.class_names().len(), aux.len(), 1));
    statistics.fit(config, &model.device()).map_err(|error| named(error, train.class_names()))
}

/// An error of fitting with the name of the class that it is about.
pub(super) fn named(error: InferError, class_names: &[String]) -> DetectorError {
    let class = match &error {
        InferError::TooFewSamples { cluster, .. }
        | InferError::RankDeficient { cluster, .. }
        | InferError::NoSpread { cluster, .. }
        | InferError::NotPositiveDefinite { cluster, .. } => cluster.class,
        _ => None,
    };
    match class.and_then(|class| class_names.get(class)) {
        Some(name) => DetectorError::Class { name: name.clone(), source: error },
        None => error.into(),
    }
}
