//! What a training run is made of: settings, a network to start from, a loss, and what watches it.

use std::ops::ControlFlow;
use std::path::PathBuf;

use burn::tensor::Device;
use mcl_data::ImageSet;
use mcl_model::{MclModel, Network};

use super::start::{GivenNetwork, Start, shapes};
use super::validation::Watch;
use super::{StepReport, TrainConfig, TrainError, TrainingLoss, Validation};
use crate::progress::Progress;

pub(super) type Observer<'a> = Box<dyn FnMut(&StepReport) -> ControlFlow<()> + 'a>;

/// Trains a network on labelled images.
///
/// With a [run directory](Self::run_dir) the settings, a log and checkpoints are kept there, and the same call
/// goes on where an earlier one stopped, or was killed: on the CPU the resumed run ends with the same bits as one
/// that was never stopped. A damaged checkpoint is set aside, with a warning, for the one before it.
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
    pub(super) loss: Box<dyn TrainingLoss + 'a>,
    pub(super) run_dir: Option<PathBuf>,
    pub(super) progress: Progress,
    pub(super) observer: Observer<'a>,
    pub(super) watch: Option<Watch<'a, N>>,
    /// Validations without a better value after which the run ends.
    pub(super) patience: Option<usize>,
}

impl<'a> Trainer<'a, MclModel> {
    /// A run with these settings on `device`, from the random weights that the seed gives.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`], [`TrainError::Loss`], [`TrainError::Data`] or [`TrainError::Model`] when a setting of the
    /// run, the loss, the augmentation or the network is out of range.
    pub fn new(config: TrainConfig, device: &Device) -> Result<Self, TrainError> {
        config.validate()?;
        let network = config.model.try_init_seeded(config.seed, &device.clone().autodiff())?;
        Self::build(config, network, Start::default(), device)
    }

    /// Starts from the weights of `network` instead of random ones. Parameters that the network has
    /// [frozen](MclModel::freeze_encoder) are not trained. A run directory belongs to these weights: the same call must give
    /// the same ones when the run goes on.
    ///
    /// # Errors
    ///
    /// [`TrainError::OtherNetwork`] when the network is another than the one that `config.model` makes.
    pub fn start_from(mut self, network: &MclModel) -> Result<Self, TrainError> {
        let (expected, found) = (shapes(&self.network), shapes(network));
        if let Some(difference) = first_difference(&expected, &found) {
            return Err(TrainError::OtherNetwork { difference });
        }
        self.network = on_device(network, &self.device);
        self.start.network = Some(GivenNetwork::of(&self.network));
        Ok(self)
    }
}

impl<'a, N: Network> Trainer<'a, N> {
    /// A run with these settings on `device`, that starts from the weights of a network of one's own. A run directory
    /// belongs to these weights: draw them from a seed, so that the run can go on ([`Device::seed`] before the first use
    /// of the network).
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`], [`TrainError::Loss`] or [`TrainError::Data`] when a setting of the run, the loss or the
    /// augmentation is out of range.
    pub fn with_network(config: TrainConfig, network: &N, device: &Device) -> Result<Self, TrainError> {
        config.validate()?;
        let device = device.clone().autodiff();
        let network = on_device(network, &device);
        let start = Start { network: Some(GivenNetwork::of(&network)), loss: None };
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
            run_dir: None,
            progress: Progress::Hidden,
            observer: Box::new(|_| ControlFlow::Continue(())),
            watch: None,
            patience: None,
        })
    }

    /// Minimises a loss of one's own instead of the objective in the settings. `name` stands for it in the run directory: a
    /// run does not go on under another name.
    #[must_use]
    pub fn loss(mut self, name: impl Into<String>, loss: impl TrainingLoss + 'a) -> Self {
        self.start.loss = Some(name.into());
        self.loss = Box::new(loss);
        self
    }

    /// Keeps settings, log and checkpoints in `path`, and goes on from the newest checkpoint there.
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

    /// Calls `observer` after each step. When it breaks, the run writes a checkpoint and stops with
    /// [`TrainError::Stopped`]: how to act on Ctrl-C, with a flag that the signal sets and the observer reads.
    #[must_use]
    pub fn observer(mut self, observer: impl FnMut(&StepReport) -> ControlFlow<()> + 'a) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// Judges the network, in evaluation mode, after every `every` steps (at least 1). With a run directory each finding is
    /// a line of `validation.jsonl`, and the best network so far is kept for [`load_best`](super::load_best).
    #[must_use]
    pub fn validate(mut self, every: usize, validation: impl Validation<N> + 'a) -> Self {
        self.watch = Some(Watch { every: every.max(1), validation: Box::new(validation) });
        self
    }

    /// Ends training after `patience` [validations](Self::validate) (at least 1) in a row without a better value. The run then
    /// ends as if its last step had been done.
    #[must_use]
    pub fn stop_early(mut self, patience: usize) -> Self {
        self.patience = Some(patience.max(1));
        self
    }

    /// Trains on `images` and returns the network in evaluation mode: of the last step, or the average of the weights
    /// ([`TrainConfig::weight_average`]).
    ///
    /// # Errors
    ///
    /// [`TrainError::Data`] when there are fewer images than a batch takes or they are not square,
    /// [`TrainError::EmptyClass`] when a class has none, [`TrainError::Config`] when the warm-up is as long as the run,
    /// [`TrainError::OtherRun`] when the run directory belongs to other settings, images or weights,
    /// [`TrainError::InUse`] when another run is using it, [`TrainError::NonFiniteLoss`] and
    /// [`TrainError::NonFiniteWeights`] when training diverges, [`TrainError::Stopped`] when the observer asked for it,
    /// [`TrainError::NoCheckpoint`] when all checkpoints are damaged, [`TrainError::RunDir`] when the run directory cannot
    /// be read or written, and what a [`Validation`] fails with.
    pub fn fit(self, images: &ImageSet) -> Result<N, TrainError> {
        let result = super::run::run(self, images);
        // The activations of a training step; what comes after needs much less.
        mcl_model::release_memory();
        result
    }
}

/// The network on the device of the run, ready to be trained: frozen parameters stay frozen.
fn on_device<N: Network>(network: &N, device: &Device) -> N {
    network.valid().to_device(&device.clone().without_autodiff()).train()
}

/// The first parameter in which two networks differ.
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
