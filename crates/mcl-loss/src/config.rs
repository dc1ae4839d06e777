//! Parameters of the masked contrastive loss and their ranges.

use burn::config::Config;

use crate::{
    error::{LossError, check_spa_weight, check_temperature},
    formulation::Formulation,
    mcl::MclLoss,
};

/// Configuration of an [`MclLoss`]; the defaults are the paper's.
///
/// `0 < alpha < beta <= 1 / temperature` must hold, with or without auxiliary labels: at a temperature above 0.4 give
/// `beta` too, for the default is above the limit.
///
/// ```
/// use mcl_loss::MclLossConfig;
///
/// let loss = MclLossConfig::new().with_temperature(0.5).with_beta(1.0).try_init()?;
/// assert!(MclLossConfig::new().with_temperature(0.5).try_init().is_err()); // 2.5 is above 1 / 0.5
/// # Ok::<(), mcl_loss::LossError>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct MclLossConfig {
    /// Divides the similarities of positives and of views of other classes; from 1e-6 to 1e6. Default: 0.2
    #[config(default = 0.2)]
    pub temperature: f64,
    /// Mask weight of views with the same class and auxiliary label (Eq. 4); above 0 and below `beta`. Default: 0.05
    #[config(default = 0.05)]
    pub alpha: f64,
    /// Mask weight of views with the same class and another auxiliary label (Eq. 11); above `alpha`, and at most
    /// `1 / temperature`. Default: 2.5. Without auxiliary labels it has no effect. Where all views are of one class, these
    /// alone repel, and only `1 / temperature` keeps the projections apart.
    #[config(default = 2.5)]
    pub beta: f64,
    /// Weight of SPA in the total (Eq. 10); from 0 to 1e6. At 0 the loss is CCM. Default: 1
    #[config(default = 1.0)]
    pub spa_weight: f64,
    /// The published equations or the released code. Default: [`Formulation::Paper`]
    #[config(default = "Formulation::Paper")]
    pub formulation: Formulation,
}

impl MclLossConfig {
    /// The loss of the released code with its parameters: [`Formulation::Released`] and `beta` 2.
    pub fn released() -> Self {
        Self::new().with_formulation(Formulation::Released).with_beta(2.0)
    }

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
        check_spa_weight(spa_weight)?;
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

impl Default for MclLossConfig {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let error = refused(&config().with_temperature(0.5), "above alpha and at most 1 / temperature = 2,");
        assert!(error.to_string().contains("without auxiliary labels beta has no effect"), "{error}");
        refused(&config().with_spa_weight(-1.0), "spa_weight is -1");
    }

    #[test]
    fn parameters_at_the_limits_are_taken() {
        let config = MclLossConfig::new;
        assert!(config().with_beta(5.0).with_spa_weight(0.0).try_init().is_ok());
        assert!(config().with_temperature(1e-6).with_alpha(9e5).with_beta(1e6).try_init().is_ok());
        assert!(config().with_temperature(1e6).with_alpha(1e-9).with_beta(1e-6).try_init().is_ok());
    }

    #[test]
    #[should_panic(expected = "beta is 6 with temperature 0.2")]
    fn init_panics_with_the_error() {
        MclLossConfig::new().with_beta(6.0).init();
    }

    #[test]
    fn configuration_survives_json() {
        let config = MclLossConfig::released();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<MclLossConfig>(&json).unwrap(), config);
    }
}
