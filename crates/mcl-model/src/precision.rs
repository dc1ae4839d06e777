//! The precision of products, as a setting.

use burn::serde::{Deserialize, Serialize};

/// Precision of the products in the convolutions of a network.
///
/// Weights, statistics, activations and gradients stay in f32. The setting acts on Burn's CPU backend with the feature
/// `flex`, on CPUs with the instructions AVX512-BF16. Anywhere else products are in f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(crate = "burn::serde")]
#[non_exhaustive]
pub enum Precision {
    /// Products of f32.
    #[default]
    F32,
    /// Products of bf16, which has 8 bits instead of 24 for the digits of a number: operands are rounded, products are
    /// summed in f32. Training takes about a third less time. The same bits come out on all CPUs that have the instructions, and
    /// others where products are in f32.
    Bf16,
}

impl Precision {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
