//! The parts of a training run: settings, the initial network, the loss, the observer and the validation.

use std::ops::ControlFlow;
use std::path::PathBuf;

use burn::tensor::Device;
use mcl_data::ImageSet;
use mcl_data::batch::eval_batches;
use mcl_model::{MclModel, Network};

use super::fingerprint::Fingerprint;
use super::start::{GivenNetwork, Start, shapes};
use super::validation::Watch;
use super::{StepReport, TrainConfig, TrainError, TrainingLoss, Validation};
use crate::progress::Progress;

/// A network and its training images in, a network out.
pub(super) type Prepare<N> = fn(N, &ImageSet) -> Result<N, TrainError>;

pub(super) type Observer<'a> = Box<dyn FnMut(&StepReport) -> ControlFlow<()> + 'a>;

/// Trains a network on labelled images.
///
/// A [run directory](Self::run_dir) holds the settings, a log and checkpoints. The same call goes on where an
/// earlier call stopped or was killed. On the CPU the resumed run ends with the same bits as a run that was
/// never stopped. A damaged checkpoint is renamed, with a warning, and the run goes on from the checkpoint
/// before it.
///
/// The trainer seeds the generator of the device before each step, so that layers such as dropout draw the
/// same in a resumed run. On the CPU the whole process shares one generator: a run with dropout ends with the
/// same bits only if no other thread draws from the generator or trains at the same time.
///
/// | to train | call |
/// |---|---|
/// | an [`MclModel`] from random weights | [`Trainer::new`] |
/// | an [`MclModel`] from given weights (fine-tuning), with all layers or [the head alone](MclModel::freeze_encoder) | [`Trainer::start_from`] |
/// | any other [`Network`] | [`Trainer::with_network`] |
pub struct Trainer<'a, N: Network = MclModel> {
    pub(super) config: TrainConfig,
    pub(super) device: Device,
    pub(super) network: N,
    pub(super) start: Start,
    /// Fits the network to the training images, before the first step of a new run.
    pub(super) prepare: Prepare<N>,
    pub(super) loss: Box<dyn TrainingLoss + 'a>,
    pub(super) outliers: Option<ImageSet>,
    pub(super) run_dir: Option<PathBuf>,
    pub(super) progress: Progress,
    pub(super) observer: Observer<'a>,
    pub(super) watch: Option<Watch<'a, N>>,
    /// Number of validations without a better value after which the run ends.
    pub(super) patience: Option<usize>,
}

impl<'a> Trainer<'a, MclModel> {
    /// Prepares a run with these settings on `device`, from random weights that are drawn from the seed. The stem of a
    /// [`FastNet`](mcl_model::FastNet) is whitened by the training images, 5,000 at most.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`], [`TrainError::Loss`], [`TrainError::Data`] or [`TrainError::Model`] when a
    /// setting of the run, the loss, the augmentation or the network is out of range.
    pub fn new(config: TrainConfig, device: &Device) -> Result<Self, TrainError> {
        config.validate()?;
        let network = config.model.try_init_seeded(config.seed, &device.clone().autodiff())?;
        Ok(Self { prepare: whitened, ..Self::build(config, network, Start::default(), device)? })
    }

    /// Starts from the weights of `network`. [Frozen](MclModel::freeze_encoder) parameters of `network` are
    /// not trained. A run directory belongs to these weights and to what is frozen: the call that goes on
    /// with the run must give the same.
    ///
    /// # Errors
    ///
    /// [`TrainError::OtherNetwork`] when `network` differs in a name or a shape from the network that
    /// `config.model` makes.
    pub fn start_from(mut self, network: &MclModel) -> Result<Self, TrainError> {
        let (expected, found) = (shapes(&self.network), shapes(network));
        if let Some(difference) = first_difference(&expected, &found) {
            return Err(TrainError::OtherNetwork { difference });
        }
        self.network = on_device(network, &self.device);
        self.start.network = Some(GivenNetwork::of(&self.network));
        self.prepare = as_it_is;
        Ok(self)
    }
}

/// Images that a stem is whitened by.
const WHITENING_IMAGES: usize = 5_000;

/// Whitens the stem of a new network, if its encoder has one that can be.
fn whitened(network: MclModel, images: &ImageSet) -> Result<MclModel, TrainError> {
    let ((height, width), least) = (images.size(), network.encoder().min_size());
    if height < least || width < least {
        let expected = "a network for images of this size: a FastNet takes 9 x 9 pixels and larger";
        let value =
            format!("a network for {least} x {least} pixels and larger, with images of {height} x {width}");
        return Err(TrainError::Config { setting: "model.encoder", value, expected });
    }
    if network.encoder().as_resnet().is_some() {
        return Ok(network);
    }
    // From everywhere in the set, which may be sorted by class.
    let (count, all) = (images.len().min(WHITENING_IMAGES), images.len());
    let some = images.subset(&(0..count).map(|i| i * all / count).collect::<Vec<_>>())?;
    let device = network.device().without_autodiff();
    match eval_batches(&some, some.len(), &device)?.next() {
        Some(batch) => Ok(network.whiten(&batch.images)?),
        None => Ok(network),
    }
}

/// Leaves a given network as it is.
fn as_it_is<N>(network: N, _images: &ImageSet) -> Result<N, TrainError> {
    Ok(network)
}

impl<'a, N: Network> Trainer<'a, N> {
    /// Prepares a run with these settings on `device`, from the weights of a network of one's own. Frozen
    /// parameters are not trained. A run directory belongs to these weights and to what is frozen. Draw the
    /// weights from a seed, so that the run can go on: call [`Device::seed`] before the first use of the
    /// network.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`], [`TrainError::Loss`] or [`TrainError::Data`] when a setting of the run, the
    /// loss or the augmentation is out of range.
    pub fn with_network(config: TrainConfig, network: &N, device: &Device) -> Result<Self, TrainError> {
        config.validate()?;
        let device = device.clone().autodiff();
        let network = on_device(network, &device);
        let start = Start { network: Some(GivenNetwork::of(&network)), ..Start::default() };
        Self::build(config, network, start, &device)
    }

    fn build(config: TrainConfig, network: N, start: Start, device: &Device) -> Result<Self, TrainError> {
        config.augment.try_init()?;
        Ok(Self {
            loss: config.objective.init()?,
            config,
            device: device.clone().autodiff(),
            network,
            start,
            prepare: as_it_is,
            outliers: None,
            run_dir: None,
            progress: Progress::Hidden,
            observer: Box::new(|_| ControlFlow::Continue(())),
            watch: None,
            patience: None,
        })
    }

    /// Replaces the objective of the settings by a loss of one's own. The run directory stores `name` for the
    /// loss: a run does not go on under another name.
    #[must_use]
    pub fn loss(mut self, name: impl Into<String>, loss: impl TrainingLoss + 'a) -> Self {
        self.start.loss = Some(name.into());
        self.loss = Box::new(loss);
        self
    }

    /// Gives auxiliary images that are not normal, for [`Objective::OutlierExposure`](super::Objective::OutlierExposure) or a loss
    /// that [needs outliers](TrainingLoss::needs_outliers); other losses leave them out. A step takes as many outliers as images, with
    /// the same augmentation. Their labels do not matter. A run directory belongs to these images.
    #[must_use]
    pub fn outliers(mut self, images: &ImageSet) -> Self {
        self.start.outliers = Some(Fingerprint::of(images));
        self.outliers = Some(images.clone());
        self
    }

    /// Keeps settings, log and checkpoints in the directory `path`, and goes on from the newest checkpoint
    /// there.
    #[must_use]
    pub fn run_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.run_dir = Some(path.into());
        self
    }

    /// Shows a progress bar with the parts of the loss, the learning rate and the speed.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Calls `observer` after each step. When `observer` returns a break, the run writes a checkpoint and
    /// stops with [`TrainError::Stopped`]. This makes it possible to stop on Ctrl-C: the signal sets a flag,
    /// and the observer reads the flag.
    #[must_use]
    pub fn observer(mut self, observer: impl FnMut(&StepReport) -> ControlFlow<()> + 'a) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// Judges the network in evaluation mode after every `every` steps (at least 1). The settings of the
    /// validation are checked before the first step. A run directory holds each report as a line of
    /// `validation.jsonl`, and the best network so far for [`load_best`](super::load_best).
    #[must_use]
    pub fn validate(mut self, every: usize, validation: impl Validation<N> + 'a) -> Self {
        self.watch = Some(Watch { every: every.max(1), validation: Box::new(validation) });
        self
    }

    /// Ends training after `patience` [validations](Self::validate) (at least 1) in a row without a better
    /// value. The run then counts as complete.
    #[must_use]
    pub fn stop_early(mut self, patience: usize) -> Self {
        self.patience = Some(patience.max(1));
        self
    }

    /// Trains on `images` and returns the network in evaluation mode. The weights are those of the last step,
    /// or the averaged weights ([`TrainConfig::weight_average`]).
    ///
    /// # Errors
    ///
    /// | error | when |
    /// |---|---|
    /// | [`TrainError::Data`] | there are fewer images than a batch takes, or the images are not square |
    /// | [`TrainError::EmptyClass`] | a class has no images |
    /// | [`TrainError::Config`] | the warm-up is as long as the run, or a setting of the validation is out of range |
    /// | [`TrainError::NothingToTrain`] | all parameters are frozen, or the loss depends on none of the others |
    /// | [`TrainError::NoOutliers`], [`TrainError::OutlierSize`] | the loss needs outliers and there are none, or they have another size |
    /// | [`TrainError::LossShape`] | the loss or a part of the loss is not of shape `[1]` |
    /// | [`TrainError::Foreign`] | the run directory is new, and holds a file that a run would write over |
    /// | [`TrainError::OtherRun`] | the run directory belongs to other settings, images, weights or frozen layers |
    /// | [`TrainError::InUse`] | another run is using the run directory |
    /// | [`TrainError::NonFiniteLoss`], [`TrainError::NonFiniteWeights`] | training diverges |
    /// | [`TrainError::Stopped`] | the observer returned a break |
    /// | [`TrainError::NoCheckpoint`] | all checkpoints are damaged |
    /// | [`TrainError::RunDir`] | the run directory cannot be read or written |
    /// | an error of the [`Validation`] | the validation fails |
    pub fn fit(self, images: &ImageSet) -> Result<N, TrainError> {
        let result = super::run::run(self, images);
        // Training keeps memory for the activations of a step. Evaluation needs much less.
        mcl_model::release_memory();
        result
    }
}

/// Returns the network on the device of the run, in training mode. Frozen parameters stay frozen.
fn on_device<N: Network>(network: &N, device: &Device) -> N {
    network.valid().to_device(&device.clone().without_autodiff()).train()
}

/// Returns the first parameter in which two networks differ.
fn first_difference(expected: &[(String, Vec<usize>)], found: &[(String, Vec<usize>)]) -> Option<String> {
    let at = (0..expected.len().max(found.len())).find(|&at| expected.get(at) != found.get(at))?;
    let show = |side: &[(String, Vec<usize>)]| {
        side.get(at).map_or("none".to_string(), |(name, shape)| format!("{name} of shape {shape:?}"))
    };
    Some(format!("expected {}, found {}", show(expected), show(found)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Module;
    use mcl_model::{MclModelConfig, ResNetConfig, ResNetDepth};

    /// Black images with these labels, of three classes.
    fn black(labels: &[usize]) -> ImageSet {
        let names = ["a", "b", "c"].map(String::from).to_vec();
        ImageSet::new(vec![0; 3 * 64 * labels.len()], (8, 8), labels.to_vec(), names).unwrap()
    }

    #[test]
    fn settings_of_every_part_are_checked_at_the_start() {
        let new = |config| Trainer::new(config, &Device::flex()).err();
        let augment = TrainConfig::new().augment.with_crop_scale((0.5, 0.1));
        assert!(matches!(new(TrainConfig::new().with_augment(augment)), Some(TrainError::Data(_))));
        let model = TrainConfig::new().model.with_hidden(0);
        assert!(matches!(new(TrainConfig::new().with_model(model)), Some(TrainError::Model(_))));
        assert!(new(TrainConfig::new()).is_none());
    }

    #[test]
    fn what_cannot_be_trained_is_refused_before_the_first_step() {
        let fit = |config: TrainConfig, images: &ImageSet| {
            let never = |_: &StepReport| panic!("a step was done");
            let config = config.with_images_per_batch(2);
            Trainer::new(config, &Device::flex()).unwrap().observer(never).fit(images).unwrap_err()
        };
        let error = fit(TrainConfig::new().with_steps(Some(3)), &black(&[0, 2]));
        assert!(matches!(&error, TrainError::EmptyClass { name } if name == "b"), "{error}");
        let config = TrainConfig::new().with_epochs(2).with_warmup_steps(Some(6));
        let error = fit(config, &black(&[0, 1, 2, 0, 1, 2]));
        assert!(matches!(&error, TrainError::Config { setting: "warmup_steps", .. }), "{error}");
    }

    #[test]
    fn a_network_that_is_frozen_as_a_whole_is_refused_before_the_first_step() {
        let dir = tempfile::tempdir().unwrap();
        let resnet = ResNetConfig::new(ResNetDepth::ResNet18).with_width(2);
        let model = MclModelConfig::new(resnet).with_hidden(4).with_projection_dim(4);
        let config =
            TrainConfig::new().with_model(model.clone()).with_images_per_batch(3).with_steps(Some(3));
        let frozen = model.init_seeded(0, &Device::flex()).freeze();
        let trainer = Trainer::new(config, &Device::flex()).unwrap().start_from(&frozen).unwrap();
        let error = trainer.run_dir(dir.path().join("run")).fit(&black(&[0, 1, 2])).unwrap_err();
        assert!(matches!(error, TrainError::NothingToTrain), "{error}");
        assert!(!dir.path().join("run").exists(), "nothing is written");
    }
}
