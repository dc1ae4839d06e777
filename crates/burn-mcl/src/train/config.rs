//! The settings of a training run, as plain data.

use burn::config::Config;
use mcl_data::augment::SimClrAugmentConfig;
use mcl_data::batch::Rotations;
use mcl_model::{MclModelConfig, ResNetConfig, ResNetDepth};

use super::{Decay, Objective, Optimizer, Schedule, TrainError};

/// Rotations of an image under [`Rotations::All`]: 0, 90, 180 and 270 degrees.
pub const ROTATIONS: usize = 4;

/// Settings of a training run; the defaults are the paper's, with a ResNet-34, and a warm-up.
///
/// Three defaults come from the code released with the paper, because the paper does not state them:
/// Nesterov's momentum, the end of the cosine at 5e-4 of the peak, and 400 epochs. Neither the paper nor the
/// released code has a warm-up.
///
/// These settings and the images decide the outcome of a run of [`Trainer::new`](super::Trainer::new) on the
/// CPU: initial weights, batches, augmentations and dropout are all drawn from [`seed`](Self::seed).
#[derive(Config, Debug, PartialEq)]
pub struct TrainConfig {
    /// The network that [`Trainer::new`](super::Trainer::new) makes. A run with a network of one's own
    /// ([`Trainer::with_network`](super::Trainer::with_network)) makes no network from this setting. Such a
    /// run still checks that `resnet.in_channels` is 3 and stores the setting. It does not go on in a run
    /// directory with another value.
    #[config(default = "MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet34))")]
    pub model: MclModelConfig,
    /// The loss. [`Trainer::loss`](super::Trainer::loss) replaces it.
    #[config(default = "Objective::default()")]
    pub objective: Objective,
    /// The random views of an image.
    #[config(default = "SimClrAugmentConfig::new()")]
    pub augment: SimClrAugmentConfig,
    /// The rotations of an image in a batch. The rotation is the auxiliary label.
    #[config(default = "Rotations::All")]
    pub rotations: Rotations,
    /// Images in a batch. An image gives 2 views of each of its rotations: 8 views with all four rotations,
    /// otherwise 2.
    #[config(default = 256)]
    pub images_per_batch: usize,
    /// Passes over the images.
    #[config(default = 400)]
    pub epochs: usize,
    /// Length of the run in optimizer steps; replaces [`epochs`](Self::epochs) when given.
    #[config(default = "None")]
    pub steps: Option<usize>,
    /// Peak learning rate. `None` scales it with the batch: 0.3 x samples_per_batch / 256.
    #[config(default = "None")]
    pub learning_rate: Option<f64>,
    /// Learning rate at the end of the decay, as a fraction of the peak, from 0 to 1.
    #[config(default = 5e-4)]
    pub final_learning_rate: f64,
    /// Steps of linear warm-up before the decay; fewer than the steps of the run. `None` takes ten epochs, as
    /// SimCLR does, but at most a third of the run. The paper has no warm-up. At first all projections lie
    /// close together. A step at the full learning rate can then collapse them to one point, from which
    /// training hardly recovers (docs/design.md).
    #[config(default = "None")]
    pub warmup_steps: Option<usize>,
    /// The rule that makes a step from the gradients.
    #[config(default = "Optimizer::Sgd")]
    pub optimizer: Optimizer,
    /// The form of the decay of the learning rate after the warm-up.
    #[config(default = "Decay::Cosine")]
    pub decay: Decay,
    /// Largest norm of all gradients together. Larger gradients are scaled down to this norm. `None` does not
    /// scale.
    #[config(default = "None")]
    pub gradient_clip: Option<f64>,
    /// Decay of a moving average of the weights, from 0 to below 1. The run then ends with the averaged
    /// weights, and 40 training batches make the batch-norm statistics of the averaged network. `None` ends
    /// with the last weights.
    #[config(default = "None")]
    pub weight_average: Option<f64>,
    /// Momentum of SGD, from 0 to below 1. AdamW, and Muon for filters, have constants of their own.
    #[config(default = 0.9)]
    pub momentum: f64,
    /// Whether SGD uses Nesterov's form of momentum.
    #[config(default = true)]
    pub nesterov: bool,
    /// Weight decay, not below 0. SGD adds the decay times the weight to the gradient: an L2 penalty. AdamW
    /// shrinks every weight by the learning rate times the decay at each step, apart from the gradient. Muon
    /// shrinks the filters in this way; the parameters that Muon leaves to SGD get the L2 penalty. A frozen
    /// parameter does not decay.
    #[config(default = 1e-6)]
    pub weight_decay: f64,
    /// Seed of the initial weights, the batch order, the augmentations, and the draws of the loss and of
    /// dropout.
    #[config(default = 0)]
    pub seed: u64,
    /// Steps between two checkpoints.
    #[config(default = 100)]
    pub checkpoint_every: usize,
}

impl TrainConfig {
    /// Returns the samples in a batch, one per image and rotation. This is the paper's batch size.
    pub fn samples_per_batch(&self) -> usize {
        self.images_per_batch * self.rotations.per_image()
    }

    /// Returns the number of auxiliary classes, one for each rotation.
    pub fn aux_classes(&self) -> usize {
        self.rotations.aux_classes()
    }

    /// Returns the views in a batch, two per sample.
    pub fn views_per_batch(&self) -> usize {
        2 * self.samples_per_batch()
    }

    /// Returns the peak learning rate: the setting, or the default for the size of the batch.
    pub fn peak_learning_rate(&self) -> f64 {
        self.learning_rate.unwrap_or(0.3 * self.samples_per_batch() as f64 / 256.0)
    }

    /// Returns the optimizer steps of a run over `images` training images. An incomplete last batch is
    /// dropped.
    pub fn total_steps(&self, images: usize) -> usize {
        self.steps.unwrap_or(self.epochs * self.steps_per_epoch(images))
    }

    /// Returns the floating-point operations of a run over `images` training images of this height and width: three times
    /// those of the forward passes ([`MclModelConfig::flop`]), because a backward pass takes twice as many as a forward
    /// pass.
    pub fn flop(&self, images: usize, size: (usize, usize)) -> f64 {
        let views = self.total_steps(images) as f64 * self.views_per_batch() as f64;
        3.0 * views * self.model.flop(self.augment.view_size.unwrap_or(size)) as f64
    }

    fn steps_per_epoch(&self, images: usize) -> usize {
        images / self.images_per_batch.max(1)
    }

    /// Returns the learning rates of a run over `images` training images.
    pub fn schedule(&self, images: usize) -> Schedule {
        let total_steps = self.total_steps(images);
        let ten_epochs = 10 * self.steps_per_epoch(images);
        Schedule {
            peak: self.peak_learning_rate(),
            final_fraction: self.final_learning_rate,
            warmup_steps: self.warmup_steps.unwrap_or(ten_epochs.min(total_steps / 3)),
            total_steps,
            decay: self.decay,
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] names the first setting that is out of range, its value and the range.
    pub fn validate(&self) -> Result<(), TrainError> {
        let channels = self.model.encoder.in_channels();
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let checks: [(&'static str, String, &'static str, bool); 12] = [
            ("images_per_batch", self.images_per_batch.to_string(), "at least 1", self.images_per_batch > 0),
            ("epochs", self.epochs.to_string(), "at least 1", self.steps.is_some() || self.epochs > 0),
            ("steps", shown(self.steps), "at least 1 when given", self.steps != Some(0)),
            (
                "gradient_clip",
                shown(self.gradient_clip),
                "a positive number when given",
                self.gradient_clip.is_none_or(positive),
            ),
            (
                "weight_average",
                shown(self.weight_average),
                "from 0 to below 1 when given",
                self.weight_average.is_none_or(|decay| (0.0..1.0).contains(&decay)),
            ),
            (
                "learning_rate",
                shown(self.learning_rate),
                "a positive number when given",
                self.learning_rate.is_none_or(positive),
            ),
            (
                "final_learning_rate",
                self.final_learning_rate.to_string(),
                "a fraction from 0 to 1",
                (0.0..=1.0).contains(&self.final_learning_rate),
            ),
            ("momentum", self.momentum.to_string(), "from 0 to below 1", (0.0..1.0).contains(&self.momentum)),
            (
                "nesterov",
                self.nesterov.to_string(),
                "false when momentum is 0",
                !self.nesterov || self.momentum > 0.0,
            ),
            (
                "weight_decay",
                self.weight_decay.to_string(),
                "a number not below 0",
                self.weight_decay.is_finite() && self.weight_decay >= 0.0,
            ),
            ("checkpoint_every", self.checkpoint_every.to_string(), "at least 1", self.checkpoint_every > 0),
            ("in_channels", channels.to_string(), "3, those of the images", channels == 3),
        ];
        for (setting, value, expected, ok) in checks {
            if !ok {
                return Err(TrainError::Config { setting, value, expected });
            }
        }
        match self.optimizer.out_of_range() {
            Some((setting, value, expected)) => Err(TrainError::Config { setting, value, expected }),
            None => Ok(()),
        }
    }
}

/// Returns an optional setting as text.
fn shown(setting: Option<impl ToString>) -> String {
    setting.map_or_else(|| "not given".into(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::MuonScale;
    use super::*;

    #[test]
    fn defaults_are_the_papers() {
        let config = TrainConfig::new();
        assert!(config.validate().is_ok());
        assert_eq!(config.samples_per_batch(), 1024);
        assert_eq!(config.views_per_batch(), 2048);
        assert!((config.peak_learning_rate() - 1.2).abs() < 1e-12);
        assert_eq!(config.total_steps(50_000), 400 * 195);
        assert_eq!(config.with_steps(Some(7)).total_steps(50_000), 7);
    }

    #[test]
    fn the_operations_of_a_run_grow_with_its_views() {
        let config = TrainConfig::fast(10).with_steps(Some(10));
        let forward = config.model.flop((32, 32)) as f64;
        assert_eq!(config.flop(50_000, (32, 32)), 3.0 * forward * 10.0 * 1024.0);
        // The paper's run on CIFAR-10: 400 epochs of 50,000 images in eight views.
        let paper = TrainConfig::new().flop(50_000, (32, 32));
        assert!((1e18..1.2e18).contains(&paper), "{paper}");
    }

    #[test]
    fn warm_up_takes_ten_epochs_but_no_more_than_a_third() {
        let warmup = |config: TrainConfig| config.schedule(50_000).warmup_steps;
        assert_eq!(warmup(TrainConfig::new()), 10 * 195);
        assert_eq!(warmup(TrainConfig::new().with_steps(Some(302))), 100);
        assert_eq!(warmup(TrainConfig::new().with_steps(Some(2))), 0);
        assert_eq!(warmup(TrainConfig::new().with_warmup_steps(Some(0))), 0);
    }

    #[test]
    fn each_setting_out_of_range_is_named() {
        let gray = MclModelConfig::new(ResNetConfig::new(ResNetDepth::ResNet18).with_in_channels(1));
        let cases = [
            (TrainConfig::new().with_images_per_batch(0), "images_per_batch"),
            (TrainConfig::new().with_epochs(0), "epochs"),
            (TrainConfig::new().with_steps(Some(0)), "steps"),
            (TrainConfig::new().with_learning_rate(Some(f64::NAN)), "learning_rate"),
            (TrainConfig::new().with_final_learning_rate(1.5), "final_learning_rate"),
            (TrainConfig::new().with_momentum(1.0), "momentum"),
            (TrainConfig::new().with_momentum(0.0), "nesterov"),
            (TrainConfig::new().with_weight_decay(-1.0), "weight_decay"),
            (TrainConfig::new().with_checkpoint_every(0), "checkpoint_every"),
            (TrainConfig::new().with_gradient_clip(Some(0.0)), "gradient_clip"),
            (TrainConfig::new().with_weight_average(Some(1.0)), "weight_average"),
            (
                TrainConfig::new().with_optimizer(Optimizer::AdamW {
                    beta_1: 1.0,
                    beta_2: 0.9,
                    epsilon: 1e-8,
                }),
                "optimizer.beta_1",
            ),
            (
                TrainConfig::new().with_optimizer(Optimizer::Muon {
                    momentum: 0.9,
                    newton_schulz_steps: 0,
                    others: 1.0,
                    normalize_filters: false,
                    scale: MuonScale::Shape,
                }),
                "optimizer.newton_schulz_steps",
            ),
            (TrainConfig::new().with_model(gray), "in_channels"),
        ];
        for (config, name) in cases {
            match config.validate() {
                Err(TrainError::Config { setting, .. }) => assert_eq!(setting, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_value_is_shown_as_it_was_given() {
        let error = TrainConfig::new().with_steps(Some(0)).validate().unwrap_err().to_string();
        assert!(error.contains("`steps` is 0, but"), "{error}");
    }

    #[test]
    fn json_keeps_every_setting() {
        let config = TrainConfig::new().with_seed(7).with_steps(Some(12)).with_learning_rate(Some(0.1));
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<TrainConfig>(&json).unwrap(), config);
    }
}
