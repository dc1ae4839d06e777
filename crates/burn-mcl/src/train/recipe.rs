//! Settings of whole runs that are known to work.

use mcl_data::augment::SimClrAugmentConfig;
use mcl_data::batch::Rotations;
use mcl_loss::MclLossConfig;
use mcl_model::{FastNetConfig, MclModelConfig, Precision};

use super::{CrossEntropyConfig, Decay, MuonScale, Objective, Optimizer, TrainConfig};

impl TrainConfig {
    /// A short run on a CPU, for small images of `classes` classes: the network for small images with a classifier of (class,
    /// rotation), MCL beside a cross-entropy, one drawn rotation of each image, mild augmentations, Muon, products in bf16 where
    /// the CPU has them.
    ///
    /// Six epochs over CIFAR-10 are 600,000 views in 582 steps, of which 30 warm up. [`epochs`](Self::epochs) makes the run
    /// longer; for a much shorter run set [`warmup_steps`](Self::warmup_steps) too.
    pub fn fast(classes: usize) -> Self {
        let objective = Objective::MclCrossEntropy {
            mcl: MclLossConfig::new(),
            cross_entropy: CrossEntropyConfig::new(),
            weight: 1.0,
        };
        let rotations = Rotations::Drawn;
        let model = MclModelConfig::new(FastNetConfig::new())
            .with_hidden(512)
            .with_precision(Precision::Bf16)
            .with_classifier(classes * rotations.aux_classes());
        let augment = SimClrAugmentConfig::new()
            .with_shift(Some(4))
            .with_color_strength(0.25)
            .with_gray_probability(0.0);
        Self::new()
            .with_model(model)
            .with_objective(objective)
            .with_augment(augment)
            .with_rotations(rotations)
            .with_images_per_batch(512)
            .with_epochs(6)
            .with_optimizer(Optimizer::Muon {
                momentum: 0.6,
                newton_schulz_steps: 3,
                others: 0.1 / 0.12,
                normalize_filters: true,
                scale: MuonScale::Plain,
            })
            .with_learning_rate(Some(0.12))
            .with_momentum(0.85)
            .with_weight_decay(5e-4)
            .with_decay(Decay::Linear)
            .with_final_learning_rate(0.0)
            .with_warmup_steps(Some(30))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_run_is_valid_and_its_classifier_fits() {
        for classes in [1, 10] {
            let config = TrainConfig::fast(classes);
            config.validate().unwrap();
            assert_eq!(config.model.classifier, Some(4 * classes));
            config.model.init_seeded(0, &burn::tensor::Device::flex());
        }
        assert_eq!(TrainConfig::fast(10).total_steps(50_000), 6 * 97);
    }
}
