//! Errors of the loss configurations.

use core::ops::RangeInclusive;

/// A loss parameter outside the range in which the loss is defined.
///
/// Returned by `try_init` of the configurations; nothing is clamped silently.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// Logits or gradients of this temperature would leave the range of f32.
    #[error("temperature is {temperature}: it must lie between 1e-6 and 1e6 (the paper uses 0.2)")]
    Temperature {
        /// The value given.
        temperature: f64,
    },
    /// The weight of same-label pairs does not lie in `0 < alpha < beta`.
    #[error(
        "alpha is {alpha} with beta {beta}: it must be finite with 0 < alpha < beta, so that views of one \
         label repel each other least (the paper uses alpha 0.05, beta 2.5)"
    )]
    Alpha {
        /// The value given.
        alpha: f64,
        /// The `beta` given beside it.
        beta: f64,
    },
    /// The weight of same-class pairs with another auxiliary label exceeds that of other classes.
    #[error(
        "beta is {beta} with temperature {temperature}: it must be above alpha and at most 1 / temperature = \
         {limit}, the weight of views of other classes; without auxiliary labels beta has no effect, and any \
         value of that range will do"
    )]
    Beta {
        /// The value given.
        beta: f64,
        /// The temperature given beside it.
        temperature: f64,
        /// `1 / temperature`.
        limit: f64,
    },
    /// The weight of the SPA term is negative, or so large that the loss would leave the range of f32.
    #[error(
        "spa_weight is {spa_weight}: it must lie between 0 and 1e6 (0 leaves CCM alone, the paper uses 1)"
    )]
    SpaWeight {
        /// The value given.
        spa_weight: f64,
    },
}

/// Temperatures whose logits, at most `1 / temperature`, f32 tells apart from excluded ones
/// (`log_sum_exp.rs`), and whose gradients it does not lose.
const TEMPERATURES: RangeInclusive<f64> = 1e-6..=1e6;

/// Weights with which neither the loss nor its gradient overflows, whatever the temperature.
const SPA_WEIGHTS: RangeInclusive<f64> = 0.0..=1e6;

pub(crate) fn check_temperature(temperature: f64) -> Result<(), LossError> {
    if TEMPERATURES.contains(&temperature) { Ok(()) } else { Err(LossError::Temperature { temperature }) }
}

pub(crate) fn check_spa_weight(spa_weight: f64) -> Result<(), LossError> {
    if SPA_WEIGHTS.contains(&spa_weight) { Ok(()) } else { Err(LossError::SpaWeight { spa_weight }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_that_f32_does_not_carry_are_refused() {
        for bad in [0.0, -0.2, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.99e-6, 1.01e6, 1e-38, 1e50] {
            assert!(check_temperature(bad).is_err(), "{bad}");
        }
        for good in [1e-6, 0.01, 0.2, 1.0, 1e6] {
            assert_eq!(check_temperature(good), Ok(()));
        }
    }

    #[test]
    fn weights_of_spa_that_f32_does_not_carry_are_refused() {
        for bad in [-1.0, -f64::MIN_POSITIVE, f64::NAN, f64::INFINITY, 1.01e6, 1e39] {
            assert!(check_spa_weight(bad).is_err(), "{bad}");
        }
        for good in [0.0, -0.0, 1.0, 1e6] {
            assert_eq!(check_spa_weight(good), Ok(()));
        }
    }
}
