//! How a system is trained: one run, or one run after another from its weights.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use mcl_data::ImageSet;
use mcl_data::batch::Rotations;
use mcl_loss::{MclLossConfig, NtXentLossConfig, SupConLossConfig};
use mcl_model::MclModel;

use super::System;
use crate::progress::Progress;
use crate::train::{
    ClassAndRotationConfig, CrossEntropyConfig, Objective, OutlierExposureConfig, StepReport, Term,
    TrainConfig, TrainError, Trainer,
};

/// The steps of the first stage are this many times those of a second stage.
const SECOND_STAGE: usize = 3;
/// Factor of the learning rate of a second stage that trains all layers.
const FINE_TUNING_RATE: f64 = 0.3;

/// A run of a system's training.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Stage {
    /// Names the run among all runs of all systems: systems with the same first stage share its run directory.
    pub name: String,
    /// The settings of the run.
    pub config: TrainConfig,
    /// Whether the encoder keeps its weights.
    pub frozen: bool,
    /// Whether the run is given the outliers.
    pub outliers: bool,
}

/// What all systems of a comparison share.
#[derive(Debug, Clone, PartialEq)]
pub struct SystemTraining {
    /// Network, optimizer, augmentation, length and seed of the runs. Objective, rotations and classifier are those of the system.
    pub base: TrainConfig,
    /// How the rotations of the auxiliary task are shown: [`Rotations::All`] as in the paper, or [`Rotations::Drawn`].
    pub rotations: Rotations,
}

impl SystemTraining {
    /// Returns the runs of a system on `images` images of `classes` classes, in order. Each goes on from the weights of the one
    /// before. A second stage takes a third of the steps of the first; where it trains all layers, at 0.3 times the learning rate.
    pub fn stages(&self, system: System, images: usize, classes: usize) -> Vec<Stage> {
        let (task, upright) = (self.rotations, Rotations::None);
        let cross_entropy = Objective::CrossEntropy(CrossEntropyConfig::new());
        let mcl = || Objective::Mcl(MclLossConfig::new());
        let sup_con = Objective::SupCon(SupConLossConfig::new());
        let nt_xent = Objective::NtXent(NtXentLossConfig::new());
        // The first stage; the classifier has an output for each pair of class and rotation, which a later stage may train.
        let (name, objective, rotations) = match system {
            System::CrossEntropy => ("cross-entropy", cross_entropy.clone(), upright),
            System::AuxiliaryRotation => {
                ("class-and-rotation", Objective::ClassAndRotation(ClassAndRotationConfig::new()), task)
            }
            System::OutlierExposure => {
                ("outlier-exposure", Objective::OutlierExposure(OutlierExposureConfig::new()), upright)
            }
            System::SupCon | System::SupConLinear => ("sup-con", sup_con, upright),
            System::Csi => ("sup-con-rotations", sup_con, task),
            System::SimClrFineTuned => ("nt-xent", nt_xent, upright),
            System::SimClrJoint => {
                let terms = vec![Term::new(1.0, nt_xent), Term::new(1.0, cross_entropy.clone())];
                ("nt-xent-cross-entropy", Objective::Sum(terms), upright)
            }
            System::Mcl | System::MclFineTuned => ("mcl", mcl(), task),
            System::MclWithoutAttraction => {
                ("mcl-without-spa", Objective::Mcl(MclLossConfig::new().with_spa_weight(0.0)), task)
            }
            System::MclUpright => ("mcl-upright", mcl(), upright),
            System::MclAugmented => ("mcl-augmented", mcl(), Rotations::Augmentation),
            System::MclCrossEntropy => {
                let (mcl, cross_entropy) = (MclLossConfig::new(), CrossEntropyConfig::new());
                ("mcl-cross-entropy", Objective::MclCrossEntropy { mcl, cross_entropy, weight: 1.0 }, upright)
            }
        };
        let aux_classes = rotations.aux_classes();
        let mut config = self.base.clone().with_objective(objective).with_rotations(rotations);
        config.model.classifier = Some(match system {
            System::AuxiliaryRotation => classes + aux_classes,
            _ => classes * aux_classes,
        });
        let second = |name: &str, frozen: bool| {
            let steps = config.total_steps(images).div_ceil(SECOND_STAGE);
            let mut config = config.clone().with_objective(cross_entropy.clone()).with_steps(Some(steps));
            config.warmup_steps = config.warmup_steps.map(|warmup| warmup.min(steps / 3));
            if !frozen {
                config.learning_rate = Some(FINE_TUNING_RATE * config.peak_learning_rate());
            }
            Stage { name: name.into(), config, frozen, outliers: false }
        };
        let more = match system {
            System::SupConLinear => Some(second("sup-con+linear", true)),
            System::Csi => Some(second("sup-con-rotations+linear", true)),
            System::SimClrFineTuned => Some(second("nt-xent+cross-entropy", false)),
            System::MclFineTuned => Some(second("mcl+cross-entropy", false)),
            _ => None,
        };
        let outliers = system.needs_outliers();
        let first = Stage { name: name.into(), config: config.clone(), frozen: false, outliers };
        std::iter::once(first).chain(more).collect()
    }

    /// Trains a system on `images`, each stage in its own folder of `runs`. A stage that is complete is read, and one that was
    /// stopped goes on. `outliers` are for the systems that [need them](System::needs_outliers). `observer` sees every step, and may
    /// stop the run.
    ///
    /// # Errors
    ///
    /// As [`Trainer::fit`].
    #[expect(clippy::too_many_arguments, reason = "each is another thing")]
    pub fn fit(
        &self,
        system: System,
        images: &ImageSet,
        outliers: Option<&ImageSet>,
        runs: &Path,
        device: &Device,
        progress: Progress,
        mut observer: impl FnMut(&StepReport) -> ControlFlow<()>,
    ) -> Result<MclModel, TrainError> {
        let mut model: Option<MclModel> = None;
        for stage in self.stages(system, images.len(), images.class_names().len()) {
            let mut trainer = Trainer::new(stage.config, device)?;
            if let Some(model) = model {
                let model = if stage.frozen { model.freeze_encoder() } else { model };
                trainer = trainer.start_from(&model)?;
            }
            if let Some(outliers) = outliers.filter(|_| stage.outliers) {
                trainer = trainer.outliers(outliers);
            }
            let trained = trainer
                .run_dir(runs.join(&stage.name))
                .progress(progress)
                .observer(&mut observer)
                .fit(images)?;
            model = Some(trained.unfreeze_encoder());
        }
        Ok(model.expect("every system has a stage"))
    }
}
