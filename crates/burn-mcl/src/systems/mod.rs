//! The systems that the paper compares, each as runs to train and ways to score: baselines, ablations of MCL, and MCL itself.

mod scoring;
mod stages;

pub use scoring::{Scoring, fit_scorings};
pub use stages::{Stage, SystemTraining};

/// A system of the paper's tables.
///
/// | system | training | published by |
/// |---|---|---|
/// | [`CrossEntropy`](Self::CrossEntropy) | cross-entropy over the classes | Hendrycks and Gimpel, ICLR 2017 |
/// | [`AuxiliaryRotation`](Self::AuxiliaryRotation) | a class head and a rotation head | Hendrycks et al., NeurIPS 2019 |
/// | [`OutlierExposure`](Self::OutlierExposure) | cross-entropy, and an even distribution for auxiliary images | Hendrycks et al., ICLR 2019 |
/// | [`SupCon`](Self::SupCon) | supervised contrastive learning | Khosla et al., NeurIPS 2020 |
/// | [`SupConLinear`](Self::SupConLinear) | the same, then a linear classifier on the frozen encoder | Khosla et al. |
/// | [`Csi`](Self::Csi) | SupCon over (class, rotation), then a linear classifier of both | Tack et al., NeurIPS 2020 |
/// | [`SimClrFineTuned`](Self::SimClrFineTuned) | NT-Xent, then cross-entropy for all layers | Winkens et al., 2020, in two stages |
/// | [`SimClrJoint`](Self::SimClrJoint) | NT-Xent and cross-entropy together | Winkens et al., 2020 |
/// | [`Mcl`](Self::Mcl) | masked contrastive learning with rotations as auxiliary labels | the paper |
/// | [`MclWithoutAttraction`](Self::MclWithoutAttraction) | the class-conditional mask alone, without SPA | the paper's ablation |
/// | [`MclUpright`](Self::MclUpright) | MCL without the auxiliary task | the paper's ablation |
/// | [`MclAugmented`](Self::MclAugmented) | MCL with rotations as data augmentation instead of the task | the paper's ablation |
/// | [`MclFineTuned`](Self::MclFineTuned) | MCL, then cross-entropy over (class, rotation) for all layers | the paper's ablation |
/// | [`MclCrossEntropy`](Self::MclCrossEntropy) | MCL and cross-entropy together, upright images | this library's `fast` |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the table above has a row for each")]
pub enum System {
    CrossEntropy,
    AuxiliaryRotation,
    OutlierExposure,
    SupCon,
    SupConLinear,
    Csi,
    SimClrFineTuned,
    SimClrJoint,
    Mcl,
    MclWithoutAttraction,
    MclUpright,
    MclAugmented,
    MclFineTuned,
    MclCrossEntropy,
}

impl System {
    /// All systems, the baselines first.
    pub const ALL: &[Self] = &[
        Self::CrossEntropy,
        Self::AuxiliaryRotation,
        Self::OutlierExposure,
        Self::SupCon,
        Self::SupConLinear,
        Self::Csi,
        Self::SimClrFineTuned,
        Self::SimClrJoint,
        Self::Mcl,
        Self::MclWithoutAttraction,
        Self::MclUpright,
        Self::MclAugmented,
        Self::MclFineTuned,
        Self::MclCrossEntropy,
    ];

    /// The name for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross-entropy",
            Self::AuxiliaryRotation => "auxiliary rotation",
            Self::OutlierExposure => "Outlier Exposure",
            Self::SupCon => "SupCon",
            Self::SupConLinear => "SupCon, linear head",
            Self::Csi => "CSI",
            Self::SimClrFineTuned => "SimCLR, fine-tuned with cross-entropy",
            Self::SimClrJoint => "SimCLR and cross-entropy",
            Self::Mcl => "MCL",
            Self::MclWithoutAttraction => "MCL without SPA",
            Self::MclUpright => "MCL without the auxiliary task",
            Self::MclAugmented => "MCL with rotations as augmentation",
            Self::MclFineTuned => "MCL, fine-tuned with cross-entropy",
            Self::MclCrossEntropy => "MCL and cross-entropy, upright",
        }
    }

    /// Whether the training needs auxiliary images.
    pub fn needs_outliers(self) -> bool {
        self == Self::OutlierExposure
    }
}
