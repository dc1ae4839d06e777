//! The masked contrastive loss (MCL, Eq. 10): CCM with stochastic positive attraction.
//!
//! ```text
//! MCL = CCM + spa_weight * SPA
//! ```

use burn::{config::Config, module::Module, tensor::Tensor};

use crate::{
    batch::Batch,
    error::{LossError, check_temperature},
    formulation::Formulation,
    labels::MclLabels,
};

/// Configuration of an [`MclLoss`]; the defaults are the paper's.
///
/// Valid are `temperature > 0`, `0 < alpha < beta <= 1 / temperature` and `spa_weight >= 0`, all finite.
///
/// ```
/// use mcl_loss::{Formulation, MclLossConfig};
///
/// let loss = MclLossConfig::new().with_formulation(Formulation::Released).with_beta(2.0).try_init()?;
/// assert!(MclLossConfig::new().with_beta(7.5).try_init().is_err()); // above 1 / 0.2
/// # Ok::<(), mcl_loss::LossError>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct MclLossConfig {
    /// Divides the similarities of positives and of views of other classes.
    #[config(default = 0.2)]
    pub temperature: f64,
    /// Mask weight of views with the same class and auxiliary label (Eq. 4).
    #[config(default = 0.05)]
    pub alpha: f64,
    /// Mask weight of views with the same class and another auxiliary label (Eq. 11). Where all views are of one class,
    /// these alone repel, and only `1 / temperature` keeps the projections apart.
    #[config(default = 2.5)]
    pub beta: f64,
    /// Weight of SPA in the total (Eq. 10). At 0 the loss is CCM.
    #[config(default = 1.0)]
    pub spa_weight: f64,
    /// The published equations or the released code.
    #[config(default = "Formulation::Paper")]
    pub formulation: Formulation,
}

impl MclLossConfig {
    /// Checks the parameters and makes the loss.
    ///
    /// # Errors
    ///
    /// The first parameter out of range, see [`LossError`].
    pub fn try_init(&self) -> Result<MclLoss, LossError> {
        let Self { temperature, alpha, beta, spa_weight, formulation } = *self;
        check_temperature(temperature)?;
        let limit = temperature.recip();
        if !(beta.is_finite() && beta <= limit) {
            return Err(LossError::Beta { beta, temperature, limit });
        }
        if !(0.0 < alpha && alpha < beta) {
            return Err(LossError::Alpha { alpha, beta });
        }
        if !(spa_weight.is_finite() && spa_weight >= 0.0) {
            return Err(LossError::SpaWeight { spa_weight });
        }
        Ok(MclLoss { temperature, alpha, beta, spa_weight, formulation })
    }

    /// Makes the loss.
    ///
    /// # Panics
    ///
    /// With the message of [`try_init`](Self::try_init)'s error when a parameter is out of range.
    pub fn init(&self) -> MclLoss {
        self.try_init().unwrap_or_else(|error| panic!("{error}"))
    }
}

/// The masked contrastive loss, with or without auxiliary labels. Made by [`MclLossConfig`].
///
/// Everything is computed on the device of the projections, without loops over samples. Rows need not be
/// normalised: their scale, from 1e-37 to 1e38, does not change the loss. A row of zeros has similarity 0 to all and
/// gets no gradient. Rows with NaN or infinite values make the loss NaN. 16-bit projections are cast to
/// f32 first, and the loss is f32.
///
/// Small batches take one `[2N, 2N]` matrix of similarities through autodiff. From 2048 views on, blocks of rows give
/// the same loss and gradient in memory that grows as N; the gradient is then computed with the loss, in `forward`.
/// With the feature `flex`, f32 projections on Burn's CPU backend take loops of our own at any size, several times
/// faster and in memory that grows as N, unless the temperature is below 1/64 or SPA is the expectation of
/// [`Formulation::Released`].
///
/// ```
/// use burn::tensor::{Device, Distribution, Int, Tensor};
/// use mcl_loss::{MclLabels, MclLossConfig};
///
/// let device = Device::flex().autodiff();
/// let loss = MclLossConfig::new().init();
/// // Four images, two views each, in 16 dimensions.
/// let projections = Tensor::<3>::random([4, 2, 16], Distribution::Default, &device).require_grad();
/// let labels = MclLabels::new(Tensor::<1, Int>::from_ints([0, 0, 1, 1], &device));
/// let gradients = loss.forward(projections.clone(), &labels).backward();
/// assert_eq!(projections.grad(&gradients).unwrap().dims(), [4, 2, 16]);
/// ```
#[derive(Module, Debug)]
pub struct MclLoss {
    pub(crate) temperature: f64,
    pub(crate) alpha: f64,
    pub(crate) beta: f64,
    pub(crate) spa_weight: f64,
    #[module(skip)]
    pub(crate) formulation: Formulation,
}

/// An [`MclLoss`] and its parts, each of shape `[1]` and differentiable: `total = ccm + spa_weight * spa`.
#[derive(Debug, Clone)]
pub struct MclTerms {
    /// The class-conditional masked contrastive loss (Eq. 6).
    pub ccm: Tensor<1>,
    /// Stochastic positive attraction (Eq. 9), unweighted.
    pub spa: Tensor<1>,
    /// The masked contrastive loss (Eq. 10).
    pub total: Tensor<1>,
}

impl MclTerms {
    pub(crate) fn new(ccm: Tensor<1>, spa: Tensor<1>, spa_weight: f64) -> Self {
        let total = ccm.clone() + spa.clone().mul_scalar(spa_weight);
        Self { ccm, spa, total }
    }
}

impl MclLoss {
    /// The loss with the exact expectation of SPA over the draw of positives: no randomness.
    ///
    /// Under [`Formulation::Released`] that is the expectation over the released draw; it drops SPA from the loss
    /// of a batch in which an image has no partner.
    ///
    /// # Shapes
    ///
    /// - projections: `[images, views = 2, dim]`
    /// - labels: `[images]`, on the same device
    /// - output: `[1]`
    ///
    /// # Panics
    ///
    /// If there are no images, not two views of each, or not as many labels as images.
    pub fn forward(&self, projections: Tensor<3>, labels: &MclLabels) -> Tensor<1> {
        Batch::new(projections, labels, None).total(self)
    }

    /// The loss with SPA at given positives, usually drawn by
    /// [`sample_positives`](crate::sample_positives) or [`Formulation::sample_positives`].
    ///
    /// `positives[2 * image + view]` is the index, counted the same way, of the view that attracts this one, or
    /// `None`: then it adds 0 to SPA and still counts in the mean. That positives have the label of their view is
    /// up to the caller.
    ///
    /// # Shapes
    ///
    /// As in [`forward`](Self::forward), with `2 * images` positives.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward), and if there is not one entry per view, or an entry is no view or a view
    /// of the same image.
    pub fn forward_with_positives(
        &self,
        projections: Tensor<3>,
        labels: &MclLabels,
        positives: &[Option<usize>],
    ) -> Tensor<1> {
        Batch::new(projections, labels, Some(positives)).total(self)
    }

    /// The loss and its parts, for logging: with positives as
    /// [`forward_with_positives`](Self::forward_with_positives), without as [`forward`](Self::forward).
    ///
    /// # Panics
    ///
    /// As those.
    pub fn terms(
        &self,
        projections: Tensor<3>,
        labels: &MclLabels,
        positives: Option<&[Option<usize>]>,
    ) -> MclTerms {
        Batch::new(projections, labels, positives).terms(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NtXentLossConfig, blockwise, dense};
    use burn::tensor::{DType, Device, Int, Tensor, Tolerance};

    fn refused(config: &MclLossConfig, message: &str) -> LossError {
        let error = config.try_init().expect_err(message);
        assert!(error.to_string().contains(message), "{error}");
        error
    }

    #[test]
    fn parameters_out_of_range_are_refused_by_name() {
        let config = MclLossConfig::new;
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(matches!(config().with_temperature(bad).try_init(), Err(LossError::Temperature { .. })));
            assert!(matches!(config().with_alpha(bad).try_init(), Err(LossError::Alpha { .. })));
            assert!(config().with_beta(bad).try_init().is_err());
            assert!(matches!(config().with_spa_weight(bad).try_init(), Err(LossError::SpaWeight { .. })));
        }
        refused(&config().with_temperature(0.0), "temperature is 0");
        refused(&config().with_alpha(0.0), "alpha is 0 with beta 2.5");
        refused(&config().with_alpha(2.5), "0 < alpha < beta");
        refused(&config().with_alpha(-0.1), "alpha is -0.1");
        let error = refused(&config().with_beta(5.1), "beta is 5.1 with temperature 0.2");
        assert_eq!(error, LossError::Beta { beta: 5.1, temperature: 0.2, limit: 5.0 });
        refused(&config().with_spa_weight(-1.0), "spa_weight is -1");
    }

    #[test]
    fn parameters_at_the_limits_are_taken() {
        assert!(MclLossConfig::new().with_beta(5.0).with_spa_weight(0.0).try_init().is_ok());
        assert!(
            MclLossConfig::new().with_temperature(0.01).with_alpha(99.0).with_beta(100.0).try_init().is_ok()
        );
    }

    #[test]
    #[should_panic(expected = "beta is 6 with temperature 0.2")]
    fn init_panics_with_the_error() {
        MclLossConfig::new().with_beta(6.0).init();
    }

    #[test]
    fn configuration_survives_json() {
        let config = MclLossConfig::new().with_formulation(Formulation::Released).with_beta(2.0);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<MclLossConfig>(&json).unwrap(), config);
    }

    #[test]
    fn ccm_with_one_weight_for_all_pairs_is_nt_xent() {
        let device = Device::flex().autodiff();
        let projections = Tensor::<1, Int>::arange(0..60, &device).float().mul_scalar(1.3).sin();
        let projections = projections.reshape([6, 2, 5]).detach().require_grad();
        let class = Tensor::from_ints([0, 0, 1, 1, 0, 2], &device);
        let labels = MclLabels::new(class).with_aux(Tensor::from_ints([0, 1, 0, 0, 1, 0], &device));
        for temperature in [0.05, 0.2, 1.0] {
            // Not reachable through the configuration, which keeps alpha < beta.
            let weight = 1.0 / temperature;
            let loss = MclLoss {
                temperature,
                alpha: weight,
                beta: weight,
                spa_weight: 0.0,
                formulation: Formulation::Paper,
            };
            let nt_xent = NtXentLossConfig::new().with_temperature(temperature).init();
            let ccm = loss.terms(projections.clone(), &labels, None).ccm;
            let reference = nt_xent.forward(projections.clone());
            let gradients = [ccm.backward(), reference.backward()].map(|all| projections.grad(&all).unwrap());
            let tolerance = Tolerance::<f32>::rel_abs(1e-5, 1e-6);
            ccm.into_data().assert_approx_eq(&reference.into_data(), tolerance);
            let [gradient, reference] = gradients.map(|gradient| gradient.into_data());
            gradient.assert_approx_eq(&reference, tolerance);
        }
    }

    #[test]
    fn batches_large_enough_for_blocks_give_the_dense_loss() {
        let device = Device::flex();
        let images = blockwise::FROM_VIEWS / 2;
        // f64: in f32 this device has a way of its own.
        let projections = Tensor::<1, Int>::arange(0..images as i64 * 8, &device).float().cast(DType::F64);
        let projections = projections.mul_scalar(0.7).sin().reshape([images, 2, 4]);
        let labels = MclLabels::new(Tensor::arange(0..images as i64, &device).remainder_scalar(10));
        let loss = MclLossConfig::new().init();
        let dense = dense::terms(&loss, &Batch::new(projections.clone(), &labels, None)).total;
        let value = loss.forward(projections, &labels);
        value.into_data().assert_approx_eq(&dense.into_data(), Tolerance::<f64>::relative(1e-10));
    }
}
