//! Normalised temperature-scaled cross entropy (NT-Xent, Eq. 1-2), the loss of `SimCLR`: no labels.
//!
//! ```text
//! NT-Xent = mean_i -log( exp(sim(i, j) / temperature) / sum_{k != i} exp(sim(i, k) / temperature) )
//! ```
//!
//! over all 2N views `i`, where `j` is the other view of the image of `i`.

use core::ops::Range;

use burn::{config::Config, module::Module, tensor::Tensor};

use crate::{
    blockwise,
    error::{LossError, check_temperature},
    mask::same_view,
    pair_loss::PairLoss,
    pairs::{Pairs, Weights},
    similarity::{Block, Views},
    views::stack,
};

/// Configuration of an [`NtXentLoss`].
#[derive(Config, Debug, PartialEq)]
pub struct NtXentLossConfig {
    /// Divides the similarities; from 1e-6 to 1e6. Default: 0.2
    #[config(default = 0.2)]
    pub temperature: f64,
}

impl NtXentLossConfig {
    /// Checks the temperature and makes the loss.
    ///
    /// # Errors
    ///
    /// [`LossError::Temperature`] when it is not between 1e-6 and 1e6.
    pub fn try_init(&self) -> Result<NtXentLoss, LossError> {
        check_temperature(self.temperature)?;
        Ok(NtXentLoss { temperature: self.temperature, rows_per_block: None })
    }

    /// Makes the loss.
    ///
    /// # Panics
    ///
    /// With the message of [`try_init`](Self::try_init)'s error when the temperature is out of range.
    pub fn init(&self) -> NtXentLoss {
        self.try_init().unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Default for NtXentLossConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// The contrastive loss of `SimCLR`. Made by [`NtXentLossConfig`].
///
/// Scale, zeros and 16-bit types are treated as in [`MclLoss`](crate::MclLoss), and so are large batches: in
/// blocks, in memory that grows as N.
#[derive(Module, Debug)]
pub struct NtXentLoss {
    temperature: f64,
    #[module(skip)]
    rows_per_block: Option<usize>,
}

impl NtXentLoss {
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
    /// - output: `[1]`
    ///
    /// # Panics
    ///
    /// If there are no images, not two views of each, or no dimensions.
    pub fn forward(&self, projections: Tensor<3>) -> Tensor<1> {
        let views = Views::new(projections);
        blockwise::mean(&OfViews { views, largest_logit: self.temperature.recip() }, self.rows_per_block)
    }

    /// [`forward`](Self::forward) of first and second views, `[images, dim]` each: row `i` of both is the
    /// projection of image `i`.
    ///
    /// # Panics
    ///
    /// If the views differ in shape, and as [`forward`](Self::forward).
    pub fn forward_views(&self, first: Tensor<2>, second: Tensor<2>) -> Tensor<1> {
        self.forward(stack(first, second))
    }

    /// Divides the similarities.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }
}

/// The loss of a batch.
struct OfViews {
    views: Views,
    largest_logit: f64,
}

impl PairLoss<1> for OfViews {
    fn views(&self) -> &Views {
        &self.views
    }

    fn partners(&self) -> Vec<Tensor<2>> {
        vec![self.views.siblings()]
    }

    fn pairs(&self, block: &Block) -> Pairs {
        let weights = Weights::Equal(self.largest_logit);
        Pairs::new(block.similarity(), weights, same_view(block), self.largest_logit)
    }

    fn terms(&self, _: &Range<usize>, pairs: &Pairs, partners: &[Tensor<2>]) -> [Tensor<2>; 1] {
        [pairs.log_sum.clone() - partners[0].clone().mul_scalar(self.largest_logit)]
    }
}
