//! Normalised temperature-scaled cross entropy (NT-Xent, Eq. 1-2), the loss of `SimCLR`: no labels.
//!
//! ```text
//! NT-Xent = mean_i -log( exp(sim(i, j) / temperature) / sum_{k != i} exp(sim(i, k) / temperature) )
//! ```
//!
//! over all 2N views `i`, where `j` is the other view of the image of `i`.

use burn::{config::Config, module::Module, tensor::Tensor};

use crate::{
    error::{LossError, check_temperature},
    log_sum_exp::SumExp,
    mask::same_view,
    similarity::Views,
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
        Ok(NtXentLoss { temperature: self.temperature })
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
/// Scale, zeros and 16-bit types are treated as in [`MclLoss`](crate::MclLoss). Unlike there, a batch of any size takes
/// matrices of all pairs of views, `[2N, 2N]`: memory grows as the square of the batch.
#[derive(Module, Debug)]
pub struct NtXentLoss {
    temperature: f64,
}

impl NtXentLoss {
    /// The mean over all views.
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
        let largest_logit = self.temperature.recip();
        let logits = views.all_pairs().mul_scalar(largest_logit);
        let itself = same_view(&logits);
        let log_sum = SumExp::new(logits, itself, largest_logit).log();
        (log_sum - views.siblings().mul_scalar(largest_logit)).mean()
    }
}
