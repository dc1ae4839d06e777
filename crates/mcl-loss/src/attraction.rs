//! How training takes the positives of SPA.

use burn::config::Config;

/// Whether training takes SPA (Eq. 9) in expectation or draws positives.
///
/// A loss is a function of its arguments and draws nothing by itself: this setting tells the training loop
/// what to do.
///
/// ```
/// # use burn::tensor::{Device, Distribution, Int, Tensor};
/// # use mcl_loss::{Attraction, MclLabels, MclLossConfig};
/// # use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// # let device = Device::flex();
/// # let (seed, step) = (7, 12);
/// let loss = MclLossConfig::new().with_attraction(Attraction::Sampled).init();
/// # let projections = Tensor::<3>::random([3, 2, 16], Distribution::Default, &device);
/// let class = [0, 0, 9];
/// let labels = MclLabels::new(Tensor::<1, Int>::from_ints(class, &device));
/// // Each step has a stream of its own, so that a resumed run draws what the whole run would have drawn.
/// let mut rng = ChaCha8Rng::seed_from_u64(seed);
/// rng.set_stream(step);
/// let positives = match loss.attraction() {
///     Attraction::Sampled => Some(loss.sample_positives(&class, None, &mut rng)),
///     _ => None,
/// };
/// let terms = loss.forward_with_parts(projections, &labels, positives.as_deref());
/// # let _ = terms;
/// ```
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attraction {
    /// The exact expectation over the draw, as [`MclLoss::forward`](crate::MclLoss::forward) has it.
    Expected,
    /// A draw at each step, by [`MclLoss::sample_positives`](crate::MclLoss::sample_positives) from a
    /// generator of the training loop, for
    /// [`MclLoss::forward_with_positives`](crate::MclLoss::forward_with_positives).
    Sampled,
}

// `derive(Config)` copies the attributes of the variants to where `#[default]` is unknown.
#[expect(clippy::derivable_impls)]
impl Default for Attraction {
    fn default() -> Self {
        Self::Expected
    }
}
