//! How training takes the positives of SPA.

use burn::config::Config;

/// Whether training takes SPA (Eq. 9) in expectation or draws positives.
///
/// A loss is a function of its arguments and draws nothing by itself: this setting tells the training loop what to do.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attraction {
    /// The exact expectation over the draw, as [`MclLoss::forward`](crate::MclLoss::forward) has it.
    Expected,
    /// A draw at each step, by [`MclLoss::sample_positives`](crate::MclLoss::sample_positives) from a generator of the
    /// training loop, for [`MclLoss::forward_with_positives`](crate::MclLoss::forward_with_positives).
    Sampled,
}

// `derive(Config)` copies the attributes of the variants to where `#[default]` is unknown.
#[expect(clippy::derivable_impls)]
impl Default for Attraction {
    fn default() -> Self {
        Self::Expected
    }
}
