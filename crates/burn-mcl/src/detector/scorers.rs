//! Fits scorers to the training images of a network: the Gaussians of each (class, rotation), or any other.

use mcl_data::{DataError, ImageSet};
use mcl_infer::{Estimator, InferError, MahalanobisConfig, MahalanobisScorer, SampleBatch, TestTimeViews};
use mcl_model::Network;

use super::{DetectorConfig, DetectorError};
use crate::embed::{Embeddings, embed, embed_outputs};
use crate::progress::Progress;

/// Images whose outputs are held at once.
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
    let views = match config.rotations.aux_classes() {
        1 => TestTimeViews::Identity,
        _ => TestTimeViews::Rotations,
    };
    let (batch_size, config, names) = (config.batch_size, &config.gaussians, train.class_names());
    let aux_classes = views.aux().len();
    let mut statistics = None;
    each_batch(model, train, views, batch_size, embed, progress, |batch| {
        let dim = batch.embeddings.len() / batch.class.len().max(1);
        let statistics = statistics.get_or_insert_with(|| config.statistics(names.len(), aux_classes, dim));
        statistics.update(batch.embeddings, batch.class, batch.aux)
    })?;
    let statistics = statistics.unwrap_or_else(|| config.statistics(names.len(), aux_classes, 1));
    statistics.fit(config, &model.device()).map_err(|error| named(error, names))
}

/// Feeds the training images to any estimators, in one pass of the network: projections, features and, where the network
/// has a classifier, logits of each of the views. [`Estimator::fit`] then makes the scorers, for
/// [`evaluate`](crate::evaluation::evaluate).
///
/// `views` is [`TestTimeViews::Rotations`] for a network that was trained with rotations: their auxiliary classes are 0
/// to 3. Otherwise `views` is [`TestTimeViews::Identity`]. The images are taken as they are, not augmented.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use burn_mcl::Progress;
/// use burn_mcl::data::{Split, cifar10};
/// use burn_mcl::detector::{Detector, update_estimators};
/// use burn_mcl::evaluation::evaluate;
/// use burn_mcl::infer::{Estimator, KnnConfig, MahalanobisConfig, OnFeatures, TestTimeViews};
///
/// let device = burn::tensor::Device::default();
/// let detector = Detector::load("detector", &device)?;
/// let (train, test) = (cifar10::load("data".as_ref(), Split::Train)?, cifar10::load("data".as_ref(), Split::Test)?);
/// // k-NN on the projections, of 128 numbers, and Gaussians of the features, of 512.
/// let mut estimators: [Box<dyn Estimator>; 2] = [
///     Box::new(KnnConfig::new().estimator(10, 4, 128)),
///     Box::new(OnFeatures(MahalanobisConfig::new().with_ridge(1e-5).estimator(10, 4, 512))),
/// ];
/// let views = TestTimeViews::Rotations;
/// update_estimators(detector.model(), &train, views, &mut estimators, 256, Progress::Terminal)?;
/// for estimator in estimators {
///     let scorer = estimator.fit(&device)?;
///     let names = train.class_names();
///     println!("{}", evaluate(detector.model(), &scorer, names, &test, &[], 256, Progress::Terminal)?);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`DetectorError::Data`] when images that are not square would be rotated, or `batch_size` is 0, and
/// [`DetectorError::Infer`] when an estimator refuses the samples.
pub fn update_estimators<N: Network>(
    model: &N,
    train: &ImageSet,
    views: TestTimeViews,
    estimators: &mut [Box<dyn Estimator>],
    batch_size: usize,
    progress: Progress,
) -> Result<(), DetectorError> {
    each_batch(model, train, views, batch_size, embed_outputs, progress, |batch| {
        estimators.iter_mut().try_for_each(|estimator| estimator.update(batch))
    })
}

/// What embeds images: [`embed`], or [`embed_outputs`] for estimators that need more than projections.
type Embed<N> = fn(&N, &ImageSet, TestTimeViews, usize, Progress) -> Result<Embeddings, DataError>;

/// Hands the outputs of the network for all views of the images over, some images at a time.
fn each_batch<N: Network>(
    model: &N,
    train: &ImageSet,
    views: TestTimeViews,
    batch_size: usize,
    embed: Embed<N>,
    progress: Progress,
    mut take: impl FnMut(&SampleBatch) -> Result<(), InferError>,
) -> Result<(), DetectorError> {
    let aux = views.aux();
    let bar = progress.bar("fitting", train.len(), 0);
    for start in (0..train.len()).step_by(CHUNK) {
        let end = (start + CHUNK).min(train.len());
        let chunk = train.subset(&(start..end).collect::<Vec<_>>())?;
        let embeddings = embed(model, &chunk, views, batch_size, Progress::Hidden)?;
        let class: Vec<usize> =
            chunk.labels().iter().flat_map(|&label| std::iter::repeat_n(label, aux.len())).collect();
        take(&embeddings.samples(&class, &aux.repeat(chunk.len())))?;
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
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
