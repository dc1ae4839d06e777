//! Which reading of masked contrastive learning is computed.

use burn::config::Config;

/// The published equations, or the arithmetic of the code that was released with the paper.
///
/// The two differ, and give different detectors; a loss is one or the other throughout.
///
/// | | [`Paper`](Formulation::Paper) | [`Released`](Formulation::Released) |
/// |---|---|---|
/// | similarity | cosine | cosine, clamped from below at 1e-7 (no gradient through negative ones) |
/// | CCM denominator, the other view of the same image | weight `alpha`: it has the same label | weight `1 / temperature` |
/// | SPA denominator, the other view of the same image | left out | stays, as `exp(0)` |
/// | SPA denominator, the positive | weight `alpha` | weight `1 / temperature` |
/// | SPA sample | any view of any other image with the same label, drawn per view | one partner image per image: first view with first, second with second |
/// | an image whose label no other image in the batch has | adds 0 to SPA | drops the SPA term of the whole batch |
/// | `beta`, which this choice does not set | 2.5, the default | 2, set by [`MclLossConfig::released`](crate::MclLossConfig::released) |
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Formulation {
    /// The equations as published (IJCAI 2021).
    Paper,
    /// What the released code computes.
    Released,
}

// `derive(Config)` copies the attributes of the variants to where `#[default]` is unknown.
#[expect(clippy::derivable_impls)]
impl Default for Formulation {
    fn default() -> Self {
        Self::Paper
    }
}
