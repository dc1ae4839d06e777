//! Supervised contrastive loss (`SupCon`, the `L_out` of Khosla et al. 2020), which the paper compares with.
//!
//! ```text
//! SupCon = mean_i 1 / |P(i)| sum_{p in P(i)} -log( exp(sim(i, p) / temperature) / sum_{k != i} exp(sim(i, k) / temperature) )
//! ```
//!
//! over all 2N views `i`, where `P(i)` are the other views of the class of `i`, its sibling among them. There is no
//! further factor of temperatures.

use burn::{
    config::Config,
    module::Module,
    tensor::{Int, Tensor},
};

use crate::{
    error::{LossError, check_temperature},
    labels::{MclLabels, ViewLabels},
    log_sum_exp::SumExp,
    mask::{PairLabels, same_view},
    similarity::Views,
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
        Ok(SupConLoss { temperature: self.temperature })
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
/// Scale, zeros and 16-bit types are treated as in [`MclLoss`](crate::MclLoss). Unlike there, a batch of any size takes
/// matrices of all pairs of views, `[2N, 2N]`: memory grows as the square of the batch.
#[derive(Module, Debug)]
pub struct SupConLoss {
    temperature: f64,
}

impl SupConLoss {
    /// The mean over all views.
    ///
    /// # Shapes
    ///
    /// - projections: `[images, views = 2, dim]`
    /// - class: `[images]`, on the same device
    /// - output: `[1]`
    ///
    /// # Panics
    ///
    /// If there are no images, not two views of each, no dimensions, or not as many labels as images.
    pub fn forward(&self, projections: Tensor<3>, class: Tensor<1, Int>) -> Tensor<1> {
        let views = Views::new(projections);
        let largest_logit = self.temperature.recip();
        let labels = ViewLabels::new(&MclLabels::new(class), views.images());
        let similarity = views.all_pairs();
        let itself = same_view(&similarity);
        let positive = PairLabels::between(&labels, &labels).same_label().bool_and(itself.clone().bool_not());
        // The sibling is always a positive, so the count is never 0.
        let marks = similarity.clone().inner().zeros_like().mask_fill(positive, 1.0);
        let share = marks.clone() / marks.sum_dim(1);
        let attraction = (similarity.clone() * share).sum_dim(1);
        let logits = similarity.mul_scalar(largest_logit);
        let log_sum = SumExp::new(logits, itself, largest_logit).log();
        (log_sum - attraction.mul_scalar(largest_logit)).mean()
    }
}
