//! Settings of whole runs that are known to work.

use mcl_data::augment::SimClrAugmentConfig;
use mcl_data::batch::Rotations;
use mcl_loss::MclLossConfig;
use mcl_model::{FastNetConfig, MclModelConfig, Precision};

use super::{CrossEntropyConfig, Decay, MuonScale, Objective, Optimizer, TrainConfig};

impl TrainConfig {
    /// An hour on two CPU cores, for 50,000 small images of `classes` classes: the network for small images with a classifier,
    /// MCL beside a cross-entropy, upright images, mild augmentations, Muon, products in bf16 where the CPU has them.
    ///
    /// Fourteen epochs over CIFAR-10 are 1.4 million views in 1358 steps. The recipe has no rotations, because a short run
    /// learns more from upright images; [`DetectorConfig::suited_to`](crate::detector::DetectorConfig::suited_to) gives the
    /// settings of the detector. For a much shorter run set [`warmup_steps`](Self::warmup_steps) too.
    pub fn fast(classes: usize) -> Self {
        let objective = Objective::MclCrossEntropy {
            mcl: MclLossConfig::new(),
            cross_entropy: CrossEntropyConfig::new(),
            weight: 1.0,
        };
        let rotations = Rotations::None;
        let model = MclModelConfig::new(FastNetConfig::new().with_widths([128, 384, 384]))
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
            .with_epochs(14)
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

    /// Six hours on two CPU cores: [`fast`](Self::fast) with the wider network with shortcuts, and 45 epochs, which over
    /// CIFAR-10 are 4.5 million views in 4365 steps.
    pub fn strong(classes: usize) -> Self {
        let mut config = Self::fast(classes);
        config.model.encoder = FastNetConfig::new().with_widths([128, 384, 512]).with_residual(true).into();
        config.with_epochs(45).with_warmup_steps(Some(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipes_are_valid_and_their_classifiers_fit() {
        for classes in [1, 10] {
            for config in [TrainConfig::fast(classes), TrainConfig::strong(classes)] {
                config.validate().unwrap();
                assert_eq!(config.model.classifier, Some(classes * config.aux_classes()));
                config.model.init_seeded(0, &burn::tensor::Device::flex());
            }
        }
        assert_eq!(TrainConfig::fast(10).total_steps(50_000), 14 * 97);
        assert_eq!(TrainConfig::strong(10).total_steps(50_000), 45 * 97);
    }
}
