//! Supervised contrastive loss (`SupCon`, the `L_out` of Khosla et al. 2020), which the paper compares with.
//!
//! ```text
//! SupCon = mean_i 1 / |P(i)| sum_{p in P(i)} -log( exp(sim(i, p) / temperature) / sum_{k != i} exp(sim(i, k) / temperature) )
//! ```
//!
//! over all 2N views `i`, where `P(i)` are the other views of the class of `i`, its sibling among them. There
//! is no further factor of temperatures.

use core::ops::Range;

use burn::{
    config::Config,
    module::Module,
    tensor::{Int, Tensor},
};

use crate::{
    blockwise,
    error::{LossError, check_temperature},
    labels::{MclLabels, ViewLabels},
    mask::{PairLabels, same_view},
    pair_loss::PairLoss,
    pairs::{Pairs, Weights},
    similarity::{Block, Views},
    views::stack,
};

/// Configuration of a [`SupConLoss`].
#[derive(Config, Debug, PartialEq)]
pub struct SupConLossConfig {
    /// Divides the similarities; from 1e-6 to 1e6. Default: 0.2
    #[config(default = 0.2)]
    pub temperature: f64,
}

impl SupConLossConfig {
    /// Checks the temperature and makes the loss.
    ///
    /// # Errors
    ///
    /// [`LossError::Temperature`] when it is not between 1e-6 and 1e6.
    pub fn try_init(&self) -> Result<SupConLoss, LossError> {
        check_temperature(self.temperature)?;
        Ok(SupConLoss { temperature: self.temperature, rows_per_block: None })
    }

    /// Makes the loss.
    ///
    /// # Panics
    ///
    /// With the message of [`try_init`](Self::try_init)'s error when the temperature is out of range.
    pub fn init(&self) -> SupConLoss {
        self.try_init().unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Default for SupConLossConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// The supervised contrastive loss. Made by [`SupConLossConfig`].
///
/// Scale, zeros and 16-bit types are treated as in [`MclLoss`](crate::MclLoss), and so are large batches: in
/// blocks, in memory that grows as N.
#[derive(Module, Debug)]
pub struct SupConLoss {
    temperature: f64,
    #[module(skip)]
    rows_per_block: Option<usize>,
}

impl SupConLoss {
    /// The same loss in blocks of this many views; see
    /// [`MclLoss::with_rows_per_block`](crate::MclLoss::with_rows_per_block).
    pub fn with_rows_per_block(self, rows: usize) -> Self {
        Self { rows_per_block: Some(rows), ..self }
    }

    /// The mean over all views. From first and second views, make `projections` by `Tensor::stack([z1, z2],
    /// 1)`, never by `cat` and `reshape`, or take [`forward_views`](Self::forward_views).
    ///
    /// # Shapes
    ///
    /// - projections: `[images, views = 2, dim]`
    /// - class: `[images]`
    /// - output: `[1]`
    ///
    /// # Panics
    ///
    /// If there are no images, not two views of each, no dimensions, or not as many labels as images.
    pub fn forward(&self, projections: Tensor<3>, class: Tensor<1, Int>) -> Tensor<1> {
        let views = Views::new(projections);
        let device = views.unit().device();
        let labels = ViewLabels::new(&MclLabels::new(class), views.images(), &device);
        let loss = OfViews { views, labels, largest_logit: self.temperature.recip() };
        blockwise::mean(&loss, self.rows_per_block)
    }

    /// [`forward`](Self::forward) of first and second views, `[images, dim]` each: row `i` of both is the
    /// projection of image `i`.
    ///
    /// # Panics
    ///
    /// If the views differ in shape, and as [`forward`](Self::forward).
    pub fn forward_views(&self, first: Tensor<2>, second: Tensor<2>, class: Tensor<1, Int>) -> Tensor<1> {
        self.forward(stack(first, second), class)
    }

    /// Divides the similarities.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }
}

/// The loss of a batch.
struct OfViews {
    views: Views,
    labels: ViewLabels,
    largest_logit: f64,
}

impl PairLoss<1> for OfViews {
    fn views(&self) -> &Views {
        &self.views
    }

    fn partners(&self) -> Vec<Tensor<2>> {
        Vec::new()
    }

    fn pairs(&self, block: &Block) -> Pairs {
        let itself = same_view(block);
        let shared = PairLabels::between(&self.labels.narrow(&block.range), &self.labels);
        // The sibling is always among them.
        let positives = shared.same_label().bool_and(itself.clone().bool_not());
        let weights = Weights::Equal(self.largest_logit);
        Pairs::new(block.similarity(), weights, itself, self.largest_logit).with_candidates(positives)
    }

    fn terms(&self, _: &Range<usize>, pairs: &Pairs, _: &[Tensor<2>]) -> [Tensor<2>; 1] {
        let positives = pairs.candidates.as_ref().expect("positives of every view");
        [pairs.log_sum.clone() - positives.attraction.clone().mul_scalar(self.largest_logit)]
    }
}
