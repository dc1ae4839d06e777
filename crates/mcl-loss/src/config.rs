//! Parameters of the masked contrastive loss and their ranges.

use burn::config::Config;
use serde::{Deserialize, Serialize};

use crate::{
    attraction::Attraction,
    error::{LossError, check_spa_weight, check_temperature},
    formulation::Formulation,
    mcl::MclLoss,
    parameters::Parameters,
};

/// Configuration of an [`MclLoss`]; the defaults are the paper's.
///
/// `0 < alpha < beta <= 1 / temperature` must hold, with or without auxiliary labels. Until
/// [`with_beta`](Self::with_beta) sets it, `beta` follows the temperature.
///
/// ```
/// use mcl_loss::MclLossConfig;
///
/// let loss = MclLossConfig::new().with_temperature(0.5).try_init()?;
/// assert_eq!(loss.beta(), 1.0);
/// assert!(MclLossConfig::new().with_temperature(0.5).with_beta(2.5).try_init().is_err()); // 2.5 is above 1 / 0.5
/// # Ok::<(), mcl_loss::LossError>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct MclLossConfig {
    /// Divides the similarities of positives and of views of other classes; from 1e-6 to 1e6. Default: 0.2
    ///
    /// Set by [`with_temperature`](Self::with_temperature), which takes `beta` along.
    pub temperature: f64,
    /// Mask weight of views with the same class and auxiliary label (Eq. 4); above 0 and below `beta`.
    /// Default: 0.05
    pub alpha: f64,
    /// Mask weight of views with the same class and another auxiliary label (Eq. 11); above `alpha`, and at
    /// most `1 / temperature`. Default: half of `1 / temperature`, which is the paper's 2.5 at its
    /// temperature. Without auxiliary labels it has no effect. Where all views are of one class, these alone
    /// repel, and only `1 / temperature` keeps the projections apart.
    pub beta: f64,
    /// Weight of SPA in the total (Eq. 10); from 0 to 1e6. At 0 the loss is CCM. Default: 1
    pub spa_weight: f64,
    /// The published equations or the released code. Default: [`Formulation::Paper`]
    pub formulation: Formulation,
    /// Whether training takes SPA in expectation or draws positives. Default: [`Attraction::Expected`]
    // Files say so only where it differs: those of the default stay as they were before this setting.
    #[serde(skip_serializing_if = "is_default")]
    pub attraction: Attraction,
    /// Whether `beta` was set.
    #[serde(skip)]
    beta_is_set: bool,
}

impl MclLossConfig {
    /// The paper's parameters.
    pub fn new() -> Self {
        Stored::default().into()
    }

    /// The loss of the released code with its parameters: [`Formulation::Released`] and `beta` 2.
    pub fn released() -> Self {
        Self::new().with_formulation(Formulation::Released).with_beta(2.0)
    }

    /// Sets the temperature, and `beta` to half of its inverse if `beta` was not set.
    pub fn with_temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        if !self.beta_is_set {
            self.beta = default_beta(temperature);
        }
        self
    }

    /// Sets the mask weight of views with the same class and auxiliary label.
    pub fn with_alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// Sets the mask weight of views with the same class and another auxiliary label: it follows the
    /// temperature no longer.
    pub fn with_beta(mut self, beta: f64) -> Self {
        (self.beta, self.beta_is_set) = (beta, true);
        self
    }

    /// Sets the weight of SPA in the total.
    pub fn with_spa_weight(mut self, spa_weight: f64) -> Self {
        self.spa_weight = spa_weight;
        self
    }

    /// Takes the published equations or the released code.
    pub fn with_formulation(mut self, formulation: Formulation) -> Self {
        self.formulation = formulation;
        self
    }

    /// Sets whether training takes SPA in expectation or draws positives.
    pub fn with_attraction(mut self, attraction: Attraction) -> Self {
        self.attraction = attraction;
        self
    }

    /// Checks the parameters and makes the loss.
    ///
    /// # Errors
    ///
    /// The first parameter out of range, see [`LossError`].
    pub fn try_init(&self) -> Result<MclLoss, LossError> {
        let Self { temperature, alpha, beta, spa_weight, formulation, attraction, .. } = *self;
        check_temperature(temperature)?;
        let limit = temperature.recip();
        if !(beta.is_finite() && beta <= limit) {
            return Err(LossError::Beta { beta, temperature, limit });
        }
        if !(0.0 < alpha && alpha < beta) {
            return Err(LossError::Alpha { alpha, beta });
        }
        check_spa_weight(spa_weight)?;
        Ok(MclLoss::new(Parameters { temperature, alpha, beta, spa_weight, formulation }, attraction))
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

impl Config for MclLossConfig {}

impl Default for MclLossConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Equal losses are equal, whether `beta` was set or followed the temperature.
impl PartialEq for MclLossConfig {
    fn eq(&self, other: &Self) -> bool {
        let numbers = |config: &Self| [config.temperature, config.alpha, config.beta, config.spa_weight];
        let choices = |config: &Self| (config.formulation, config.attraction);
        numbers(self) == numbers(other) && choices(self) == choices(other)
    }
}

/// A configuration in a file, where what is missing has its default.
#[derive(Deserialize)]
#[serde(default)]
struct Stored {
    temperature: f64,
    alpha: f64,
    beta: Option<f64>,
    spa_weight: f64,
    formulation: Formulation,
    attraction: Attraction,
}

impl Default for Stored {
    fn default() -> Self {
        Self {
            temperature: 0.2,
            alpha: 0.05,
            beta: None,
            spa_weight: 1.0,
            formulation: Formulation::Paper,
            attraction: Attraction::Expected,
        }
    }
}

impl From<Stored> for MclLossConfig {
    fn from(stored: Stored) -> Self {
        let Stored { temperature, alpha, beta, spa_weight, formulation, attraction } = stored;
        let beta_is_set = beta.is_some();
        let beta = beta.unwrap_or_else(|| default_beta(temperature));
        Self { temperature, alpha, beta, spa_weight, formulation, attraction, beta_is_set }
    }
}

/// 2.5, the paper's, at the paper's temperature, 0.2.
fn default_beta(temperature: f64) -> f64 {
    0.5 / temperature
}

fn is_default(attraction: &Attraction) -> bool {
    *attraction == Attraction::default()
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
        let warm = config().with_beta(2.5).with_temperature(0.5);
        let error = refused(&warm, "above alpha and at most 1 / temperature = 2,");
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
    fn beta_follows_the_temperature_until_it_is_set() {
        let config = MclLossConfig::new;
        assert_eq!(config().beta, 2.5);
        for temperature in [0.01, 0.07, 0.2, 0.5, 1.0, 9.0] {
            let loss = config().with_temperature(temperature).init();
            assert_eq!((loss.temperature(), loss.beta()), (temperature, 0.5 / temperature));
        }
        assert_eq!(config().with_temperature(0.5).with_temperature(0.2), config());
        assert_eq!(config().with_beta(1.5).with_temperature(0.5).beta, 1.5);
        assert_eq!(config().with_temperature(0.5).with_beta(1.5).beta, 1.5);
    }

    #[test]
    fn configuration_survives_json() {
        let sampled = MclLossConfig::new().with_temperature(0.5).with_attraction(Attraction::Sampled);
        for config in [MclLossConfig::new(), MclLossConfig::released(), sampled] {
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<MclLossConfig>(&json).unwrap(), config);
        }
    }

    #[test]
    fn files_of_the_first_version_are_read_and_written() {
        let first = r#"{"temperature":0.2,"alpha":0.05,"beta":2.5,"spa_weight":1.0,"formulation":"Paper"}"#;
        assert_eq!(serde_json::from_str::<MclLossConfig>(first).unwrap(), MclLossConfig::new());
        assert_eq!(serde_json::to_string(&MclLossConfig::new()).unwrap(), first);
        let partial = serde_json::from_str::<MclLossConfig>(r#"{"temperature":0.5}"#).unwrap();
        assert_eq!(partial, MclLossConfig::new().with_temperature(0.5));
    }
}
